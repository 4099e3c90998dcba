"""The ladder never raises, never goes below the floor, gives up no more than it must."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from optimizer.ladder import Climb, climb, describe_climb
from optimizer.solvers import Solution, Status, make_solver
from optimizer.verify import verify
from penstock.domain import Objective, Pipeline, Prices, ProfileTable, Slo
from tests.builders import pipeline, point, profile, stage, variant

SOLVER = make_solver("frontier")
PRICES = Prices(cpu_core_hour=0.05)


def random_state(rng: random.Random, *, batches: tuple[int, ...]) -> tuple[Pipeline, ProfileTable]:
    stages, profiles = [], []
    for s in range(rng.randint(1, 2)):
        names = [f"v{v}" for v in range(rng.randint(1, 2))]
        variants = tuple(variant(n, batch_sizes=batches) for n in names)
        stages.append(stage(f"s{s}", variants=variants, max_replicas=rng.randint(1, 4)))
        for v, name in enumerate(names):
            base_s = rng.uniform(0.005, 0.05) * (v + 1)
            points = tuple(point(b, base_s * (0.5 + 0.5 * b)) for b in batches)
            accuracy = rng.choice([0.0, 0.5, 0.7]) + 0.2 * v
            profiles.append(profile(f"s{s}", name, points=points, accuracy=accuracy))
    asked = pipeline(
        stages=tuple(stages),
        slo=Slo(latency_s=rng.uniform(0.003, 0.5)),
        max_cores=rng.choice([None, float(rng.randint(1, 8))]),
        prices=PRICES,
        max_cost_per_hour=rng.choice([None, rng.uniform(0.05, 0.4)]),
        objective=Objective(
            accuracy_floor=rng.choice([None, rng.uniform(0.0, 0.8)]),
            accuracy_target=rng.choice([None, rng.uniform(0.0, 1.0)]),
        ),
    )
    return asked, ProfileTable(profiles=tuple(profiles))


@pytest.mark.parametrize(
    "block", [0, *(pytest.param(b, marks=pytest.mark.slow) for b in range(1, 11))]
)
def test_each_of_10000_states_climbs_without_an_exception_and_never_below_the_floor(
    block: int,
) -> None:
    rng = random.Random(block)
    for _ in range(975 if block else 250):
        asked, table = random_state(rng, batches=rng.choice([(1,), (1, 2)]))
        load_rps = rng.choice([0.0, rng.uniform(0.1, 30.0), rng.uniform(30.0, 2000.0)])

        found = climb(asked, table, load_rps, solver=SOLVER)

        assert 0 <= found.shed_rps <= load_rps
        assert found.explanation
        if found.plan is None:
            continue
        floor = asked.objective.accuracy_floor or 0.0
        assert found.plan.promise.accuracy >= floor * (1 - 1e-6)
        if not found.given_up:
            assert verify(found.plan, asked, table) == ()
        assert verify(found.plan, found.asked, table, found.served_rps) == ()
        served = found.plan.promise.capacity_rps
        assert served >= (load_rps - found.shed_rps) * (1 - 1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_of_two_loads_the_higher_one_is_served_no_less(seed: int) -> None:
    rng = random.Random(seed)
    asked, table = random_state(rng, batches=rng.choice([(1,), (1, 2), (2, 4), (1, 4, 8)]))
    asked = replace(asked, objective=replace(asked.objective, accuracy_target=None))
    loads = sorted(rng.uniform(0.1, 1000.0) for _ in range(4))

    climbs = [climb(asked, table, load, solver=SOLVER) for load in loads]

    # The highest load that can be served is found to half a per cent.
    for before, after in pairwise(climbs):
        assert after.served_rps >= before.served_rps * 0.994


def test_the_rungs_are_taken_in_order() -> None:
    small, large = variant("small", batch_sizes=(1,)), variant("large", batch_sizes=(1,))
    asked = pipeline(
        stages=(stage("s", variants=(small, large), max_replicas=4),),
        slo=Slo(latency_s=1.0),
        prices=PRICES,
        max_cost_per_hour=0.1,
        objective=Objective(accuracy_floor=0.5, accuracy_target=0.9),
    )
    table = ProfileTable(
        profiles=(
            profile("s", "small", points=(point(1, 0.01),), accuracy=0.6),
            profile("s", "large", points=(point(1, 0.05),), accuracy=0.95),
        )
    )
    rungs = {load: climb(asked, table, load, solver=SOLVER) for load in (10.0, 100.0, 250.0, 600.0)}

    assert rungs[10.0].given_up == ()
    assert rungs[100.0].given_up == ("objective.accuracy_target",)
    assert rungs[250.0].given_up == ("objective.accuracy_target", "max_cost_per_hour")
    assert rungs[600.0].given_up[-1] == "load"
    assert rungs[600.0].shed_rps == pytest.approx(600 - 400 / 1.1, rel=0.02)


def one_stage(**fields: object) -> tuple[Pipeline, ProfileTable]:
    small = variant("small", batch_sizes=(1,))
    asked = pipeline(stages=(stage("s", variants=(small,), max_replicas=4),), **fields)
    table = ProfileTable(profiles=(profile("s", "small", points=(point(1, 0.01),), accuracy=0.6),))
    return asked, table


def test_a_load_that_is_too_high_gets_the_same_plan_however_high_it_is() -> None:
    asked, table = one_stage(max_cores=2.0)
    climbs = [climb(asked, table, load, solver=SOLVER) for load in (200.0, 211.3, 333.0, 9e3)]
    assert {c.served_rps for c in climbs} == {climbs[0].served_rps}
    assert all(c.plan is not None and c.plan.same_choice(climbs[0].plan) for c in climbs)


def test_without_time_nothing_is_given_up() -> None:
    class Slow:
        name = "slow"

        def solve(self, problem: object, *, time_limit_s: float) -> Solution:
            return Solution(status=Status.TIMED_OUT, solver=self.name, explanation="too slow")

    asked, table = one_stage(max_cores=2.0)
    found = climb(asked, table, 9e3, solver=Slow())
    assert (found.plan, found.given_up, found.status) == (None, (), Status.TIMED_OUT)
    assert "raise the time limit" in found.explanation


def test_no_time_to_look_for_what_can_be_served_is_no_reason_to_give_up_the_slo() -> None:
    asked, table = one_stage(max_cores=2.0)
    found = climb(asked, table, 9e3, solver=SOLVER, time_limit_s=1e-9)
    assert (found.plan, found.given_up, found.status) == (None, (), Status.TIMED_OUT)


def told(found: Climb) -> list[str]:
    return describe_climb(found).split("\n")


def test_the_rungs_read_as_lines() -> None:
    priced = {"prices": PRICES, "max_cost_per_hour": 0.06, "max_cores": 2.0}
    asked, table = one_stage(**priced, objective=Objective(accuracy_target=0.9))
    assert told(climb(asked, table, 9e3, solver=SOLVER))[:4] == [
        "the ladder:",
        "  as asked: no plan",
        "  without objective.accuracy_target: no plan",
        "  without max_cost_per_hour: no plan",
    ]
    assert told(climb(asked, table, 10.0, solver=SOLVER))[-1].startswith(
        "  without objective.accuracy_target: holds; given up: objective.accuracy_target"
    )
    plain, _ = one_stage()
    assert told(climb(plain, table, 10.0, solver=SOLVER)) == ["the ladder: as asked"]
    barred = replace(plain, objective=Objective(accuracy_floor=0.9))
    assert told(climb(barred, table, 10.0, solver=SOLVER))[-1] == "  no rung holds"
