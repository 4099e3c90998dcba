"""The words that every package of penstock shares.

It imports the standard library and a YAML and validation library, nothing else, and costs
milliseconds.
"""
