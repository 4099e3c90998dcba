"""The Solver port: a problem in, a solution with a status, a bound and a report out.

One file per back-end, one contract suite (``tests/contracts/test_solver.py``) over all of them. An
infeasible problem is a
*status*; a solver that is not installed is an *exception*. Pyomo is imported in this package only,
and only when a back-end is made, so that ``import optimizer`` costs milliseconds.
"""
