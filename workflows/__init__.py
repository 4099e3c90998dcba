"""What runs, when, and in which order; the only place that picks concrete classes.

``workflows.adapt`` tells the whole story of one tick, top to bottom. Changes when the order of
work changes.
"""
