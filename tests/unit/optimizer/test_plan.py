from __future__ import annotations

from dataclasses import replace

import pytest

from optimizer.plan import solve_plan, to_plan, verify
from optimizer.problem import Problem, build_problem
from optimizer.solvers import Solution, Status, make_solver
from penstock.domain import AccuracyMode, Objective, Pipeline, Slo
from penstock.errors import DomainError, ProfileError
from tests.builders import pipeline, profile_table, stage, variant
from tests.problems import options, problem

ORACLE = make_solver("exhaustive")


def plans(asked: Pipeline, load_rps: float, **fields: object):
    return solve_plan(asked, profile_table(asked, **fields), load_rps, solver=ORACLE)


class FailingSolver:
    """Finds nothing, in a way it is told."""

    name = "failing"

    def __init__(self, status: Status) -> None:
        self._status = status

    def solve(self, problem: Problem, *, time_limit_s: float) -> Solution:
        return Solution(status=self._status, solver=self.name, explanation="no luck")


def test_a_plan_has_one_option_per_stage_and_promises_that_hold() -> None:
    asked = pipeline()
    outcome = plans(asked, 100.0)

    assert outcome.status is Status.OPTIMAL
    assert outcome.plan is not None
    assert [o.stage for o in outcome.plan.stages] == ["locate", "classify"]
    assert verify(outcome.plan, asked, profile_table(asked)) == ()


def test_an_optimal_outcome_says_that_it_is_proven() -> None:
    outcome = plans(pipeline(), 100.0)

    assert outcome.explanation.startswith("the best there is, proven by exhaustive in ")
    assert (outcome.nearest, outcome.binding) == (None, ())


def test_promise_sums_up_the_chosen_options() -> None:
    rows = (
        {"latency_s": 0.1, "capacity_rps": 50.0, "accuracy": 0.5, "replicas": 2},
        {"latency_s": 0.2, "capacity_rps": 40.0, "accuracy": 0.8, "replicas": 3},
    )
    solved = problem(options("a", rows[0]), options("b", rows[1]))

    promise = to_plan(ORACLE.solve(solved, time_limit_s=1), solved).promise

    assert promise.latency_s == pytest.approx(0.3)
    assert promise.capacity_rps == 40.0
    assert promise.cost_cores == 5.0
    assert promise.accuracy == promise.accuracy_product == pytest.approx(0.4)
    assert promise.accuracy_joint is None
    assert promise.objective == pytest.approx(0.4)
    assert promise.latency_model == "sum-of-quantiles"


def test_both_accuracies_are_said_where_both_are_known() -> None:
    joint = {(a, b): 0.5 for a in ("small", "large") for b in ("small", "large")}
    outcome = plans(pipeline(), 1.0, joint_accuracy=joint)

    assert outcome.plan is not None
    assert outcome.plan.promise.accuracy_joint == 0.5
    assert outcome.plan.promise.accuracy == outcome.plan.promise.accuracy_product > 0.6


def test_joint_mode_promises_the_measured_accuracy() -> None:
    joint = {
        (a, b): 0.5 + 0.1 * (a == "small") for a in ("small", "large") for b in ("small", "large")
    }
    asked = pipeline(objective=Objective(mode=AccuracyMode.JOINT))
    outcome = plans(asked, 1.0, joint_accuracy=joint)

    assert outcome.plan is not None
    assert outcome.plan.variants[0] == "small"
    assert outcome.plan.promise.accuracy == pytest.approx(0.6)


def test_a_solution_without_choices_has_no_plan() -> None:
    with pytest.raises(DomainError, match="infeasible has no plan"):
        to_plan(Solution(status=Status.INFEASIBLE), problem(options("a", {})))


@pytest.mark.parametrize("status", [Status.TIMED_OUT, Status.FAILED])
def test_a_solver_that_finds_nothing_is_not_called_infeasible(status: Status) -> None:
    asked = pipeline()
    outcome = solve_plan(
        asked, profile_table(asked), 10.0, solver=FailingSolver(status), time_limit_s=3
    )

    assert (outcome.status, outcome.plan, outcome.nearest) == (status, None, None)
    assert outcome.explanation == (
        "failing found no plan for 10 req/s within 3 s (no luck); "
        "raise the time limit or use another solver"
    )


def test_a_feasible_outcome_says_what_is_not_proven() -> None:
    asked = pipeline()

    class Hasty(FailingSolver):
        def solve(self, problem: Problem, *, time_limit_s: float) -> Solution:
            best = ORACLE.solve(problem, time_limit_s=time_limit_s)
            return replace(best, status=Status.FEASIBLE, bound=9.5, solver="hasty")

    outcome = solve_plan(asked, profile_table(asked), 10.0, solver=Hasty(Status.FEASIBLE))

    assert outcome.plan is not None
    assert outcome.explanation.endswith("its objective is 6.225, no plan's is above 9.5")


def test_a_missing_profile_is_an_error_and_not_an_infeasible_load() -> None:
    with pytest.raises(ProfileError, match="missing from the profiles"):
        solve_plan(pipeline(), profile_table(pipeline(stages=(stage(),))), 1.0, solver=ORACLE)


def test_infeasible_slo_is_explained_with_the_nearest_and_what_binds() -> None:
    outcome = plans(pipeline(slo=Slo(latency_s=0.03)), 900.0)

    assert outcome.status is Status.INFEASIBLE
    assert outcome.plan is None
    assert outcome.binding == ("slo.latency_s",)
    assert outcome.explanation == (
        "no plan serves 900 req/s within 0.03 s; the nearest takes 0.19 s "
        "(stage 'locate' alone 0.0948 s); 21.1 req/s could be served; raise the SLO above 0.03 s"
    )


def test_nearest_plan_serves_the_highest_load_that_can_be_served() -> None:
    asked = pipeline()
    outcome = plans(asked, 4000.0)

    assert outcome.nearest is not None
    served_rps = outcome.nearest.load_rps
    assert verify(outcome.nearest, asked, profile_table(asked)) == ()
    assert plans(asked, served_rps * 1.02).plan is None


def test_infeasible_replicas_name_the_stages_that_need_more() -> None:
    few = stage("classify", max_replicas=1)
    outcome = plans(pipeline(stages=(stage("locate"), few)), 300.0)

    assert outcome.binding == ("stages[1].max_replicas",)
    assert "stage 'classify' cannot carry it: small at batch size 2 needs 3 replicas" in (
        outcome.explanation
    )
    assert outcome.explanation.endswith("raise max_replicas of stage 'classify' above 1")


def test_limits_that_must_give_way_together_are_joined_by_and() -> None:
    outcome = plans(pipeline(), 4000.0)

    assert outcome.binding == ("stages[0].max_replicas", "stages[1].max_replicas")
    assert outcome.explanation.endswith(
        "raise max_replicas of stage 'locate' above 8 and max_replicas of stage 'classify' above 8"
    )


def test_infeasible_cores_say_how_many_the_load_needs() -> None:
    outcome = plans(pipeline(max_cores=3.0), 300.0)

    assert outcome.binding == ("max_cores",)
    assert outcome.explanation.startswith(
        "no plan serves 300 req/s within 0.5 s and 3 cores; the load alone needs 6 cores; "
    )


def test_without_any_plan_in_time_the_nearest_is_the_fastest() -> None:
    asked = pipeline(slo=Slo(latency_s=0.012))
    outcome = plans(asked, 100.0)

    assert outcome.nearest is not None
    assert outcome.nearest.load_rps == 100.0
    assert outcome.nearest.promise.latency_s == pytest.approx(0.0489, abs=1e-4)
    assert verify(outcome.nearest, asked, profile_table(asked)) == (
        "latency: 0.0489 s at 100 req/s, the SLO is 0.012 s",
    )


def test_without_any_plan_for_the_load_the_fastest_is_that_for_none() -> None:
    outcome = plans(pipeline(slo=Slo(latency_s=0.012)), 1e6)

    assert outcome.nearest is not None
    assert outcome.nearest.load_rps == 0.0


def test_without_cores_for_a_single_replica_nothing_is_near() -> None:
    outcome = plans(pipeline(max_cores=1.0), 1.0)

    assert outcome.nearest is None
    assert outcome.binding == ("max_cores",)


def test_a_solver_that_fails_on_the_nearest_load_still_leaves_a_plan() -> None:
    class OnlyInfeasible(FailingSolver):
        def solve(self, problem: Problem, *, time_limit_s: float) -> Solution:
            status = Status.INFEASIBLE if problem.load_rps == 4000.0 else Status.TIMED_OUT
            return Solution(status=status, solver=self.name)

    asked = pipeline()
    outcome = solve_plan(asked, profile_table(asked), 4000.0, solver=OnlyInfeasible(Status.FAILED))

    assert outcome.nearest is not None
    assert outcome.nearest.solver == "fastest"
    assert verify(outcome.nearest, asked, profile_table(asked)) == ()


def test_max_wait_reaches_the_plan_and_not_the_load() -> None:
    asked = pipeline(
        stages=(stage("locate", variants=(variant("small", batch_sizes=(4,)),)),),
        slo=Slo(latency_s=9.0),
    )
    problems = [build_problem(asked, profile_table(asked), load) for load in (0.0, 100.0)]

    waits = {o.max_wait_s for p in problems for o in p.stages[0].options}

    assert len(waits) == 1
    assert waits.pop() == pytest.approx(0.025)
