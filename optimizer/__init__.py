"""From load to plan: values in, values out.

Its only input is reading load and a forecaster's weights; it never touches a cluster. Opened in
the order load, forecast, problem, solvers, plan, decide, nobody turns back. It must not import
``serving`` or ``profiles``.
"""
