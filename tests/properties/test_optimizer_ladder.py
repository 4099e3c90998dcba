"""The ladder never raises, never goes below the floor, gives up no more than it must."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from optimizer.ladder import climb
from optimizer.solvers import make_solver
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
    "block", [0, *(pytest.param(b, marks=pytest.mark.slow) for b in range(1, 10))]
)
def test_each_of_many_states_climbs_without_an_exception_and_never_below_the_floor(
    block: int,
) -> None:
    rng = random.Random(block)
    for _ in range(1000 if block else 250):
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
        served = found.plan.promise.capacity_rps
        assert served >= (load_rps - found.shed_rps) * (1 - 1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_more_load_never_sheds_less_without_batches(seed: int) -> None:
    rng = random.Random(seed)
    asked, table = random_state(rng, batches=(1,))
    asked = replace(asked, objective=replace(asked.objective, accuracy_target=None))
    loads = sorted(rng.uniform(0.1, 1000.0) for _ in range(4))

    climbs = [climb(asked, table, load, solver=SOLVER) for load in loads]

    # The highest load that can be served is found to half a per cent.
    for (low, before), (_, after) in zip(
        zip(loads, climbs, strict=True), list(zip(loads, climbs, strict=True))[1:], strict=False
    ):
        assert after.shed_rps >= before.shed_rps - 0.01 * low
        assert len(after.given_up) >= len(before.given_up)


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
