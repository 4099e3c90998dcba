"""What one replica of a variant can do: measuring it, fitting that, and keeping tables of it.

Changes when measuring changes. It speaks to a predictor over HTTP as any client would and must not
import ``serving``.
"""
