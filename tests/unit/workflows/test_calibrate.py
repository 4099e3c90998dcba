"""The demo's load: valleys that the heaviest variants hold, peaks that they do not."""

from __future__ import annotations

import pytest

from optimizer.plan import solve_plan
from optimizer.solvers import make_solver
from penstock.domain import Pipeline, ProfileTable, Slo
from penstock.errors import UserError
from tests.builders import pipeline, profile_table, stage, variant
from workflows.calibrate import Calibration, calibrate, most_carried, only, without_headroom

SOLVER = make_solver("exhaustive")


def three_rungs() -> tuple[Pipeline, ProfileTable]:
    rungs = tuple(variant(name, cpu_cores=0.5) for name in ("light", "middle", "heavy"))
    of = pipeline(stages=(stage("locate", variants=rungs),), max_cores=2.0)
    return of, profile_table(of)


def made(most_rps: float = 1e4) -> Calibration:
    return calibrate(*three_rungs(), SOLVER, most_rps=most_rps)


def test_each_end_of_the_ladder_is_found_by_what_a_request_costs() -> None:
    of, table = three_rungs()
    assert [v.name for v in only(of, table, heaviest=True).stages[0].variants] == ["heavy"]
    assert [v.name for v in only(of, table, heaviest=False).stages[0].variants] == ["light"]


def test_the_heaviest_hold_the_valleys_and_not_the_peaks() -> None:
    of, table = three_rungs()
    calibration = made()
    heavy = without_headroom(only(of, table, heaviest=True))
    assert solve_plan(heavy, table, calibration.valley_rps, solver=SOLVER).plan is not None
    assert solve_plan(heavy, table, calibration.peak_rps, solver=SOLVER).plan is None


def test_the_lightest_plan_holds_the_peaks() -> None:
    calibration = made()
    assert calibration.lightest.promise.capacity_rps >= calibration.peak_rps
    assert calibration.lightest.variants == ("light",)
    assert calibration.heaviest.variants == ("heavy",)


def test_no_peak_is_higher_than_the_client_stands() -> None:
    assert made(most_rps=30.0).peak_rps == 30.0


def test_a_curve_runs_from_valley_to_peak() -> None:
    calibration = made()
    assert calibration.curve([0.0, 1.0]) == (calibration.valley_rps, calibration.peak_rps)


def test_the_most_that_is_carried_can_not_be_carried_a_little_more() -> None:
    of, table = three_rungs()
    most = most_carried(of, table, SOLVER)
    assert solve_plan(of, table, most.load_rps * 1.02, solver=SOLVER).plan is None


def test_a_pipeline_that_carries_nothing_says_why() -> None:
    of, table = three_rungs()
    hopeless = pipeline(stages=of.stages, slo=Slo(latency_s=1e-6))
    with pytest.raises(UserError, match="SLO"):
        calibrate(hopeless, table, SOLVER, most_rps=100.0)


def test_a_variant_that_was_never_profiled_is_named() -> None:
    of, _ = three_rungs()
    with pytest.raises(UserError, match="locate/light was never profiled"):
        only(of, ProfileTable(profiles=()), heaviest=True)
