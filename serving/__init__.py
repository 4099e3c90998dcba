"""From plan to a running graph: rendering, linting, diff, apply; and the processes that serve.

Changes when KServe or the runtime changes. Only ``serving.apply`` and what it calls touch a
cluster. It must not import ``optimizer`` or ``profiles``: they meet through the values of
``penstock``.
"""
