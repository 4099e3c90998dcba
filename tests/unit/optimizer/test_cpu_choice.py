from __future__ import annotations

import pytest

from optimizer.base_allocation import with_base_allocation
from optimizer.plan import solve_plan
from optimizer.solvers import make_solver
from optimizer.verify import verify
from penstock.domain import Goal, Objective, Pipeline, ProfileTable, Slo
from penstock.errors import DomainError, ProfileError
from penstock.spec import format_pipeline, parse_pipeline
from tests.builders import pipeline, point, profile, stage, variant


def yolo() -> tuple[Pipeline, ProfileTable]:
    """Two variants on 1, 2 and 4 cores; four times the cores are three times as fast."""
    names = {"n": 0.1, "x": 0.4}
    made = [variant(n, batch_sizes=(1,), cpu_cores=1.0, cpu_choices=(2.0, 4.0)) for n in names]
    profiles = tuple(
        profile(
            "s",
            name,
            accuracy=0.5 + base_s,
            points=tuple(
                point(1, base_s / speed, cpu_cores=cores)
                for cores, speed in ((1.0, 1.0), (2.0, 1.8), (4.0, 3.0))
            ),
        )
        for name, base_s in names.items()
    )
    asked = pipeline(
        stages=(stage("s", variants=tuple(made)),),
        slo=Slo(latency_s=0.5),
        objective=Objective(goal=Goal.ACCURACY_FIRST),
    )
    return asked, ProfileTable(profiles=profiles)


def test_a_plan_chooses_the_cores_that_keep_the_slo() -> None:
    asked, table = yolo()

    plan = solve_plan(asked, table, 3.0, solver=make_solver()).plan

    assert plan is not None
    assert plan.variants == ("x",)
    assert plan.stages[0].cpu_cores > 1.0
    assert verify(plan, asked, table) == ()


def test_cores_that_were_not_profiled_are_missed() -> None:
    asked, table = yolo()
    fewer = ProfileTable(
        profiles=tuple(profile("s", n, points=(point(1, 0.1),)) for n in ("n", "x"))
    )

    with pytest.raises(ProfileError, match="n is not profiled at batch size 1 on 2 cores"):
        solve_plan(asked, fewer, 3.0, solver=make_solver())
    assert table


def test_the_base_allocation_is_the_fewest_cores_that_carry_the_threshold() -> None:
    asked, table = yolo()

    based = with_base_allocation(asked, table, threshold_rps=5.0, stage_slo_s={"s": 0.5})

    # n: 10 req/s on 1 core; x: 2.5, 4.5 and 7.5 req/s on 1, 2 and 4.
    assert [v.cpu_allocations for v in based.stages[0].variants] == [(1.0,), (4.0,)]


def test_a_base_allocation_that_does_not_exist_is_refused_by_name() -> None:
    asked, table = yolo()

    with pytest.raises(ProfileError, match="s/x: no profiled cores carry 9 req/s"):
        with_base_allocation(asked, table, threshold_rps=9.0, stage_slo_s={"s": 0.5})


def test_the_document_carries_the_choices() -> None:
    asked, _ = yolo()

    assert parse_pipeline(format_pipeline(asked)) == asked
    with pytest.raises(DomainError, match="cpu_choices must rise"):
        variant(cpu_choices=(2.0, 1.0))
