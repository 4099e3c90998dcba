from __future__ import annotations

import math
from dataclasses import replace

import pytest

from optimizer.plan import solve_plan
from optimizer.solvers import make_solver
from optimizer.verify import evaluate, verify
from penstock.domain import AccuracyMode, Adaptation, Objective, Pipeline, Plan, ProfileTable, Slo
from penstock.errors import DomainError, ProfileError
from tests.builders import pipeline, profile_table, stage, variant

PIPELINE = pipeline()
TABLE = profile_table(PIPELINE)


def made(asked: Pipeline = PIPELINE, load_rps: float = 100.0) -> Plan:
    outcome = solve_plan(asked, profile_table(asked), load_rps, solver=make_solver("exhaustive"))
    assert outcome.plan is not None
    return outcome.plan


PLAN = made()


def with_stage(plan: Plan, index: int, **fields: object) -> Plan:
    stages = list(plan.stages)
    stages[index] = replace(stages[index], **fields)  # type: ignore[arg-type]
    return replace(plan, stages=tuple(stages))


def faults(plan: Plan, asked: Pipeline = PIPELINE, table: ProfileTable = TABLE) -> tuple[str, ...]:
    return verify(plan, asked, table)


def test_a_plan_of_ours_breaks_nothing() -> None:
    assert faults(PLAN) == ()


def test_another_pipelines_plan_is_told_apart() -> None:
    assert faults(replace(PLAN, pipeline="other")) == ("pipeline: is 'other', should be 'digits'",)


def test_missing_stages_are_found() -> None:
    assert faults(replace(PLAN, stages=PLAN.stages[:1])) == (
        "stages: are locate; should be locate, classify",
    )


def test_an_unknown_variant_is_found() -> None:
    assert faults(with_stage(PLAN, 1, variant="huge")) == (
        "stages[1].variant: stage 'classify' has no variant 'huge'",
    )


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("batch_size", 3, "batch_size: is 3, variant 'small' allows 1, 2, 4"),
        ("cpu_cores", 2.0, "cpu_cores: is 2, variant 'small' has 1"),
        ("replicas", 9, "replicas: is 9, stage 'locate' allows 1 to 8"),
        ("replicas", 0, "replicas: is 0, stage 'locate' allows 1 to 8"),
    ],
)
def test_choices_outside_the_spec_are_found(field: str, value: float, fault: str) -> None:
    assert faults(with_stage(PLAN, 0, **{field: value})) == (f"stages[0].{fault}",)


def test_a_plan_without_its_profile_is_not_verified() -> None:
    bare = replace(TABLE, profiles=TABLE.profiles[:1])

    assert faults(PLAN, table=bare) == (
        "stages[1]: classify/small is not profiled at batch size 2 on 1 cores",
    )


def test_a_joint_accuracy_that_is_not_known_is_no_promise() -> None:
    joint = replace(PIPELINE, objective=Objective(mode=AccuracyMode.JOINT))

    assert faults(PLAN, joint) == ("promise.accuracy: no joint accuracy of small+small is known",)


@pytest.mark.parametrize(
    "field",
    ["latency_s", "capacity_rps", "cost_cores", "accuracy", "accuracy_product", "objective"],
)
def test_each_promised_number_is_recomputed(field: str) -> None:
    promised = getattr(PLAN.promise, field)
    tampered = replace(PLAN, promise=replace(PLAN.promise, **{field: promised * 1.01}))

    (fault,) = faults(tampered)

    assert fault.startswith(f"promise.{field}: promises {promised * 1.01:.6g}, is {promised:.6g}")


@pytest.mark.parametrize("field", ["latency_s", "capacity_rps", "accuracy", "max_wait_s"])
def test_each_number_of_a_stage_is_recomputed(field: str) -> None:
    right = getattr(PLAN.stages[1], field)

    (fault,) = faults(with_stage(PLAN, 1, **{field: right * 0.99}))

    assert fault.startswith(f"stages[1].{field}: promises")


def test_an_invented_joint_accuracy_is_found() -> None:
    tampered = replace(PLAN, promise=replace(PLAN.promise, accuracy_joint=0.9))

    assert faults(tampered) == ("promise.accuracy_joint: promises 0.9, is None",)


def test_an_unknown_latency_model_is_found() -> None:
    tampered = replace(PLAN, promise=replace(PLAN.promise, latency_model="hope"))

    assert faults(tampered) == ("promise.latency_model: is 'hope', not 'sum-of-quantiles'",)


def test_a_limit_that_has_become_tighter_is_broken() -> None:
    tight = replace(PIPELINE, slo=Slo(latency_s=0.1), max_cores=1.5)

    assert faults(PLAN, tight) == (
        "latency: 0.18 s at 100 req/s, the SLO is 0.1 s",
        "cores: 2, max_cores is 1.5",
    )


def test_capacity_must_leave_the_headroom() -> None:
    roomy = replace(PIPELINE, adaptation=Adaptation(headroom=0.5))

    assert faults(PLAN, roomy) == (
        "capacity: 133.3 req/s, 100 req/s with a headroom of 0.5 need 150",
    )


def test_limits_are_checked_at_another_load_and_numbers_at_the_plans_own() -> None:
    broken = verify(PLAN, PIPELINE, TABLE, 200.0)

    assert broken == (
        "latency: inf s at 200 req/s, the SLO is 0.5 s",
        "capacity: 133.3 req/s, 200 req/s with a headroom of 0.1 need 220",
    )


def test_a_measurement_that_changed_shows() -> None:
    slower = replace(
        TABLE,
        profiles=tuple(
            replace(p, points=tuple(replace(q, latency_s={0.99: 0.2}) for q in p.points))
            for p in TABLE.profiles
        ),
    )

    assert any(fault.startswith("promise.latency_s") for fault in faults(PLAN, table=slower))


@pytest.mark.parametrize("mode", [m for m in AccuracyMode if m is not AccuracyMode.JOINT])
def test_every_mode_is_recomputed(mode: AccuracyMode) -> None:
    asked = replace(PIPELINE, objective=Objective(mode=mode))

    assert faults(made(asked), asked) == ()


def test_a_plan_is_repriced_at_the_present_load() -> None:
    now, then = (evaluate(PLAN, PIPELINE, TABLE, load) for load in (20.0, 120.0))

    assert now.latency_s < PLAN.promise.latency_s < then.latency_s
    assert now.capacity_rps == then.capacity_rps == PLAN.promise.capacity_rps
    assert evaluate(PLAN, PIPELINE, TABLE, PLAN.load_rps) == PLAN.promise


def test_a_load_beyond_the_capacity_has_no_latency() -> None:
    assert evaluate(PLAN, PIPELINE, TABLE, 1000.0).latency_s == math.inf


def test_a_declared_accuracy_reprices_the_plan() -> None:
    declared = stage("locate", variants=(variant("small", accuracy=0.1), variant("large")))
    asked = replace(PIPELINE, stages=(declared, PIPELINE.stages[1]))

    assert evaluate(PLAN, asked, TABLE, 1.0).accuracy_product == pytest.approx(0.08)


def test_a_plan_that_does_not_fit_cannot_be_priced() -> None:
    with pytest.raises(DomainError, match="no variant 'huge'"):
        evaluate(with_stage(PLAN, 0, variant="huge"), PIPELINE, TABLE, 1.0)
    with pytest.raises(ProfileError, match="not profiled"):
        evaluate(PLAN, PIPELINE, replace(TABLE, profiles=TABLE.profiles[:1]), 1.0)
    joint = replace(PIPELINE, objective=Objective(mode=AccuracyMode.JOINT))
    with pytest.raises(ProfileError, match="no joint accuracy"):
        evaluate(PLAN, joint, TABLE, 1.0)
