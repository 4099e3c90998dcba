"""Domain values refuse what makes no sense, when they are born."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest

import penstock.domain
from penstock.domain import Adaptation, Forecast, Load, Objective, ProfilePoint, ProfileTable, Slo
from penstock.errors import DomainError
from tests.builders import option, pipeline, plan, point, profile, stage, variant


@pytest.mark.parametrize(
    ("make", "fields", "says"),
    [
        (variant, {"batch_sizes": ()}, "no batch size"),
        (variant, {"batch_sizes": (0, 1)}, "at least 1"),
        (variant, {"batch_sizes": (2, 1)}, "rise without repeats"),
        (variant, {"batch_sizes": (1, 1)}, "rise without repeats"),
        (variant, {"cpu_cores": 0.0}, "cpu_cores must be finite and above 0, got 0.0"),
        (variant, {"cpu_cores": float("nan")}, "cpu_cores"),
        (variant, {"accuracy": 1.5}, "must lie in [0, 1], got 1.5"),
        (stage, {"variants": ()}, "has no variant"),
        (stage, {"variants": (variant("a"), variant("a"))}, "more than once: a"),
        (stage, {"min_replicas": 3, "max_replicas": 2}, "min_replicas <= max_replicas"),
        (stage, {"visit_ratio": 0.0}, "visit_ratio"),
        (pipeline, {"stages": ()}, "has no stage"),
        (pipeline, {"stages": (stage("a"), stage("a"))}, "more than once: a"),
        (pipeline, {"max_cores": -1.0}, "max_cores"),
        (profile, {"points": ()}, "has no point"),
        (profile, {"points": (point(1), point(1))}, "more than once"),
        (profile, {"accuracy": -0.1}, "must lie in [0, 1]"),
        (point, {"latency_s": -0.1, "throughput_rps": 1.0}, "latencies must be positive"),
        (Slo, {"latency_s": 1.0, "quantile": 1.0}, "quantile must lie in (0, 1)"),
        (Objective, {"cost_weight": -1.0}, "cost_weight must be finite and at least 0"),
        (Adaptation, {"headroom": float("inf")}, "headroom must be finite"),
        (Load, {"values_rps": (-1.0,), "step_s": 1.0, "end_s": 0.0}, "finite and at least 0"),
        (Forecast, {"load_rps": float("nan"), "horizon_s": 1.0, "forecaster": "x"}, "finite"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(
    make: Any, fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(DomainError) as caught:
        make(**fields)
    assert says in str(caught.value)


def test_every_domain_type_is_frozen_with_slots() -> None:
    types = [t for t in vars(penstock.domain).values() if dataclasses.is_dataclass(t)]
    assert len(types) > 10
    for one in types:
        assert one.__dataclass_params__.frozen, one
        assert "__slots__" in vars(one), one


def test_latencies_that_fall_with_the_quantile_are_refused() -> None:
    with pytest.raises(DomainError, match="rise with the quantile"):
        ProfilePoint(
            batch_size=1, cpu_cores=1.0, latency_s={0.5: 0.2, 0.99: 0.1}, throughput_rps=5.0
        )


@pytest.mark.parametrize(
    ("quantile", "expected"), [(0.5, 0.1), (0.6, 0.2), (0.99, 0.3), (0.999, 0.3)]
)
def test_a_quantile_between_two_takes_the_higher_one(quantile: float, expected: float) -> None:
    measured = ProfilePoint(
        batch_size=1,
        cpu_cores=1.0,
        latency_s={0.99: 0.3, 0.5: 0.1, 0.95: 0.2},
        throughput_rps=5.0,
    )
    assert measured.latency_at(quantile) == expected


def test_a_profile_table_finds_by_stage_and_variant() -> None:
    table = ProfileTable(profiles=(profile("locate", "s"), profile("classify", "s", accuracy=0.5)))
    assert table.find("classify", "s") is table.profiles[1]
    assert table.find("classify", "t") is None


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(DomainError, match="no stage 'track'; there are locate, classify"):
        pipeline().stage("track")
    with pytest.raises(DomainError, match="no variant 'huge'; there are small, large"):
        stage().variant("huge")


def test_mappings_inside_values_can_not_be_changed() -> None:
    table = ProfileTable(profiles=(profile(),), joint_accuracy={("a",): 0.5})
    with pytest.raises(TypeError):
        table.joint_accuracy[("b",)] = 0.1  # type: ignore[index]


def test_two_plans_are_the_same_choice_whatever_they_promise() -> None:
    one, other = plan(), plan(load_rps=99.0)
    assert one.same_choice(other)
    assert not one.same_choice(plan(stages=(option("locate", replicas=2), option("classify"))))
    assert one.variants == ("small", "small")
    assert one.stages[0].cost_cores == 1.0


def test_an_empty_load_has_a_last_rate_of_zero() -> None:
    assert Load(values_rps=(), step_s=1.0, end_s=0.0).last_rps == 0.0
    assert Load(values_rps=(1.0, 2.0), step_s=1.0, end_s=0.0).last_rps == 2.0


def test_a_forecast_looks_as_far_as_the_next_plan_is_in_force() -> None:
    known = {"interval_s": 5.0, "solve_s": 0.5, "start_s": 2.0, "rollout_s": 1.0}
    quick = Adaptation(step_s=2.0, horizon_steps=2, **known)
    assert quick.lag_s == 3.5
    assert (quick.steps_ahead, quick.horizon_s) == (5, 10.0)
    assert replace(quick, horizon_steps=7).horizon_s == 14.0
    assert replace(quick, rollout_s=2.5).steps_ahead == 5, "5 steps to the second"


@pytest.mark.parametrize(
    ("quantile", "rate"), [(0.5, 10.0), (0.6, 14.0), (0.9, 14.0), (0.99, 14.0)]
)
def test_a_forecast_between_quantiles_takes_the_higher_one(quantile: float, rate: float) -> None:
    quantiles = {0.9: 14.0, 0.5: 10.0}
    made = Forecast(load_rps=9.0, horizon_s=1.0, forecaster="x", quantiles_rps=quantiles)
    assert made.at(quantile) == rate


def test_a_forecast_without_quantiles_is_its_point() -> None:
    assert Forecast(load_rps=9.0, horizon_s=1.0, forecaster="x").at(0.99) == 9.0
