"""The replicas between which an autoscaler may choose."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.band import with_band
from optimizer.plan import plan_from_json, plan_to_json, solve_plan
from optimizer.solvers import make_solver
from optimizer.verify import verify
from penstock.domain import Forecast, Pipeline, Plan, Prices
from tests import builders as make


def best(of: Pipeline, load_rps: float) -> Plan:
    plan = solve_plan(of, make.profile_table(of), load_rps, solver=make_solver("exhaustive")).plan
    assert plan is not None
    return plan


def forecast(*rates: float) -> Forecast:
    quantiles = dict(zip((0.5, 0.9, 0.99), rates, strict=False))
    return Forecast(load_rps=1.0, horizon_s=60.0, forecaster="x", quantiles_rps=quantiles)


def bands(of: Pipeline, plan: Plan, *rates: float, trusted: bool = True) -> list[tuple[int, int]]:
    banded = with_band(plan, forecast(*rates), of, make.profile_table(of), trusted=trusted)
    assert verify(banded, of, make.profile_table(of)) == ()
    return [o.band for o in banded.stages if o.band is not None]


def test_the_band_is_what_its_quantiles_need() -> None:
    # A replica of batch 1 serves 100 req/s, and headroom takes a tenth.
    of = make.pipeline(stages=(make.stage(variants=(make.variant(batch_sizes=(1,)),)),))
    plan = best(of, 250.0)
    assert [o.replicas for o in plan.stages] == [3]
    assert bands(of, plan, 150.0, 250.0, 500.0) == [(2, 6)]
    assert bands(of, plan, 80.0, 250.0, 5000.0) == [(1, 8)], "within max_replicas"


def test_without_quantiles_there_is_no_band() -> None:
    of = make.pipeline()
    banded = with_band(best(of, 100.0), forecast(), of, make.profile_table(of))
    assert [o.band for o in banded.stages] == [None, None]


def test_data_that_are_not_trusted_never_scale_in() -> None:
    of = make.pipeline()
    plan = best(of, 300.0)
    found = bands(of, plan, 1.0, 2.0, 3.0, trusted=False)
    assert found == [(o.replicas, o.replicas) for o in plan.stages]


@pytest.mark.parametrize(
    "limits", [{"max_cores": 9.0}, {"prices": Prices(cpu_core_hour=1.0), "max_cost_per_hour": 9.0}]
)
def test_all_upper_ends_together_keep_the_limits(limits: dict[str, object]) -> None:
    of = make.pipeline(**limits)
    plan = best(of, 300.0)
    found = bands(of, plan, 300.0, 300.0, 5000.0)
    assert sum(high for _, high in found) <= 9
    assert any(high > o.replicas for (_, high), o in zip(found, plan.stages, strict=True))


RATES = st.lists(st.floats(0.0, 900.0), min_size=3, max_size=3).map(sorted)


@settings(max_examples=150, deadline=None)
@given(first=RATES, more=RATES)
def test_a_band_holds_the_plan_and_rises_with_its_quantiles(
    first: list[float], more: list[float]
) -> None:
    of = make.pipeline(stages=(make.stage("locate", max_replicas=30), make.stage("classify")))
    plan = PLANS.setdefault(math.ceil(first[1] / 100), None) or best(
        of, math.ceil(first[1] / 100) * 100.0
    )
    PLANS[math.ceil(first[1] / 100)] = plan
    higher = [a + b for a, b in zip(first, more, strict=True)]
    low, high = bands(of, plan, *first), bands(of, plan, *higher)
    for option, before, after in zip(plan.stages, low, high, strict=True):
        assert before[0] <= option.replicas <= before[1]
        assert before[1] <= after[1]


PLANS: dict[int, Plan | None] = {}


def test_the_lower_end_is_as_fast_as_the_plan_and_carries_its_load() -> None:
    of = make.pipeline()
    plan = best(of, 300.0)
    for rate in (10.0, 100.0, 200.0, 299.0):
        found = bands(of, plan, rate, 300.0, 300.0)
        stages = tuple(
            replace(o, replicas=low) for o, (low, _) in zip(plan.stages, found, strict=True)
        )
        lowest = replace(plan, stages=stages)
        faults = verify(lowest, of, make.profile_table(of), rate)
        assert not [f for f in faults if f.startswith(("capacity", "latency"))]


def test_a_band_survives_the_round_trip() -> None:
    of = make.pipeline()
    banded = with_band(best(of, 300.0), forecast(1.0, 2.0, 500.0), of, make.profile_table(of))
    assert banded.stages[0].band is not None
    assert plan_from_json(plan_to_json(banded)) == banded


@pytest.mark.parametrize(
    ("band", "fault"),
    [
        ((2, 5), "stages[0].band: is 2 to 5, must hold the plan's 1"),
        ((1, 9), "stages[0].band: is 1 to 9, must hold the plan's 1"),
        ((0, 1), "stages[0].band: is 0 to 1, must hold the plan's 1"),
    ],
)
def test_verify_finds_a_band_that_cannot_be(band: tuple[int, int], fault: str) -> None:
    of = make.pipeline()
    plan = best(of, 10.0)
    first, second = plan.stages
    assert first.replicas == 1
    wrong = replace(plan, stages=(replace(first, band=band), replace(second, band=(1, 1))))
    assert verify(wrong, of, make.profile_table(of))[0].startswith(fault)


def test_verify_finds_bands_that_break_a_limit_together() -> None:
    of = make.pipeline(max_cores=4.0)
    plan = best(of, 10.0)
    wide = replace(plan, stages=tuple(replace(o, band=(1, 3)) for o in plan.stages))
    assert verify(wide, of, make.profile_table(of)) == (
        "stages: bands go up to 6 cores, max_cores is 4",
    )
    half = replace(plan, stages=(wide.stages[0], plan.stages[1]))
    assert verify(half, of, make.profile_table(of)) == ("stages: some have a band and others none",)
