from __future__ import annotations

import math

import pytest

from optimizer.solvers import Status
from optimizer.solvers.exhaustive import MAX_CHOICES, ExhaustiveSolver
from penstock.errors import DomainError
from tests.problems import hard_problem, options, problem


def test_absurd_sizes_are_refused_with_their_number() -> None:
    with pytest.raises(DomainError, match=r"would have to try 1\.27e\+30 choices"):
        ExhaustiveSolver().solve(hard_problem(), time_limit_s=1)


def test_ties_go_to_the_first() -> None:
    tied = problem(options("a", {"variant": "x"}, {"variant": "y"}))

    assert ExhaustiveSolver().solve(tied, time_limit_s=1).choices == (0,)


def test_the_time_limit_leaves_the_best_seen_so_far() -> None:
    large = hard_problem(stages=10)
    assert MAX_CHOICES > 4**10

    solution = ExhaustiveSolver().solve(large, time_limit_s=0.02)

    assert solution.status in (Status.FEASIBLE, Status.TIMED_OUT)
    assert solution.bound == math.inf
    assert solution.explanation == "stopped after 0.02 s"
    assert solution.seconds < 1


def test_the_time_limit_before_the_first_choice_is_timed_out() -> None:
    solution = ExhaustiveSolver().solve(problem(options("a", {})), time_limit_s=1e-12)

    assert solution.status is Status.TIMED_OUT
