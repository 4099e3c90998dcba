"""Every alert fires when it should and stays quiet when it should, by promtool's own clock."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring import alerts, groups, promtool

pytestmark = pytest.mark.slow

Series = Mapping[str, str]
"""Values per minute, in promtool's notation: ``0+60x20`` grows by 60 for 20 minutes."""

P = 'namespace="n",pipeline="p"'
S = f'{P},stage="s",variant="v"'
SLO = {
    f"penstock_slo_quantile_ratio{{{P}}}": "0.99x430",
    f"penstock_slo_latency_seconds{{{P}}}": "0.5x430",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Series that make an alert fire at a time, and others that do not; ``every`` evaluated."""

    at: str
    every: str = "1m"
    fires: Series
    quiet: Series


def requests(misses: int, *, quantile: float = 0.99) -> Series:
    """600 requests a minute, so many of them misses."""
    return {
        f"penstock_request_seconds_count{{{P}}}": "0+600x430",
        f"penstock_slo_misses_total{{{P}}}": f"0+{misses}x430",
        f"penstock_slo_quantile_ratio{{{P}}}": f"{quantile}x430",
    }


def answers(failed: int) -> Series:
    return {
        f'penstock_requests_total{{{P},code="200"}}': f"0+{600 - failed}x60",
        f'penstock_requests_total{{{P},code="500"}}': f"0+{failed}x60",
    }


def arrivals(per_minute: int, capacity_rps: float) -> Series:
    return {
        f"penstock_arrivals_total{{{P}}}": f"0+{per_minute}x430",
        f"penstock_plan_capacity_rps{{{P}}}": f"{capacity_rps}x430",
    }


def waits(slow: int) -> Series:
    """Of 60 requests a minute, so many wait between 0.25 and 0.5 s, the others next to nothing."""
    name = f"penstock_predictor_queue_seconds_bucket{{{S}"
    bounds = {"0.25": 60 - slow, "0.5": 60, "+Inf": 60}
    counts = {f'{name},le="{le}"}}': f"0+{n}x60" for le, n in bounds.items()}
    return {**SLO, **counts}


def replicas(ready: int | None) -> Series:
    planned = {f"penstock_plan_replicas{{{S}}}": "2x60"}
    if ready is None:
        return planned
    return {**planned, f'penstock_predictor_ready{{{S},pod="a"}}': f"{ready}x60"}


def gauge(name: str, value: str, minutes: int = 60) -> Series:
    return {f"{name}{{{P}}}": f"{value}x{minutes}"}


def ticks(last: str, success: str) -> Series:
    return {
        f"penstock_last_tick_timestamp_seconds{{{P}}}": last,
        f"penstock_last_success_timestamp_seconds{{{P}}}": success,
    }


def drift(misses: int, per_minute: int, ready: int) -> Series:
    return {**requests(misses), **arrivals(per_minute, 100.0), **replicas(ready)}


def dropped(code: str) -> Series:
    return {f'penstock_predictor_requests_total{{{S},code="{code}"}}': "0+6x60"}


def planned_for(rps: float, per_minute: int) -> Series:
    return {**arrivals(per_minute, 99.0), **gauge("penstock_forecast_rps", f"{rps}", 430)}


def accuracy(promised: float) -> Series:
    return {
        **gauge("penstock_plan_accuracy_ratio", f"{promised}"),
        **gauge("penstock_accuracy_floor_ratio", "0.7"),
    }


def short(capacity_rps: float) -> Series:
    return {
        **gauge("penstock_plan_capacity_rps", f"{capacity_rps}"),
        **gauge("penstock_forecast_rps", "50"),
    }


NEVER = "_x60"
HEALTHY = ticks("0+60x430", "0+60x430")
CASES = {
    "PenstockSloBurningFast": Case(at="70m", fires=requests(120), quiet=requests(60)),
    "PenstockSloBurningSlowly": Case(at="7h", every="5m", fires=requests(60), quiet=requests(12)),
    "PenstockErrors": Case(at="15m", fires=answers(12), quiet=answers(3)),
    "PenstockSaturated": Case(at="15m", fires=arrivals(600, 10.5), quiet=arrivals(600, 20.0)),
    "PenstockQueueGrowing": Case(at="15m", fires=waits(30), quiet=waits(1)),
    "PenstockRequestsDropped": Case(at="15m", fires=dropped("503"), quiet=dropped("400")),
    "PenstockReplicasMissing": Case(at="15m", fires=replicas(1), quiet=replicas(2)),
    "PenstockProfileDrift": Case(at="59m", fires=drift(60, 600, 2), quiet=drift(60, 6000, 2)),
    "PenstockBatchFileRefused": Case(
        at="20m",
        fires={f"penstock_predictor_batch_file_faults{{{S}}}": "0x10 1x20"},
        quiet={f"penstock_predictor_batch_file_faults{{{S}}}": "1x60"},
    ),
    "PenstockTargetDown": Case(
        at="10m",
        fires={'up{job="n/penstock-gateway",namespace="n",pod="a"}': "0x60"},
        quiet={
            'up{job="n/penstock-gateway",namespace="n",pod="a"}': "1x60",
            'up{job="other",namespace="n",pod="b"}': "0x60",
        },
    ),
    "PenstockTickMissing": Case(
        at="30m", fires=ticks("0+60x10 _x60", "0+60x10 _x60"), quiet=HEALTHY
    ),
    "PenstockTickFailing": Case(at="30m", fires=ticks("0+60x60", "0+60x5 300x60"), quiet=HEALTHY),
    "PenstockStandingStill": Case(
        at="30m",
        fires=gauge("penstock_tick_solved", "0"),
        quiet={f"penstock_tick_solved{{{P}}}": "0x5 1 0x5 1 0x5 1 0x5 1 0x5 1x9"},
    ),
    "PenstockNotApplying": Case(
        at="25h",
        every="30m",
        fires=gauge("penstock_mode", "1", 1500),
        quiet=gauge("penstock_mode", "2", 1500),
    ),
    "PenstockLoadDataBad": Case(
        at="15m", fires=gauge("penstock_load_faults", "1"), quiet=gauge("penstock_load_faults", "0")
    ),
    "PenstockForecastFallback": Case(
        at="40m",
        fires=gauge("penstock_forecast_fallback", "1"),
        quiet=gauge("penstock_forecast_fallback", "0"),
    ),
    "PenstockForecastTooLow": Case(at="90m", fires=planned_for(5, 600), quiet=planned_for(15, 600)),
    "PenstockPlanInfeasible": Case(
        at="15m",
        fires=gauge("penstock_solver_status", "2"),
        quiet=gauge("penstock_solver_status", "1"),
    ),
    "PenstockCapacityShort": Case(at="15m", fires=short(40.0), quiet=short(60.0)),
    "PenstockAccuracyBelowFloor": Case(at="15m", fires=accuracy(0.6), quiet=accuracy(0.8)),
    "PenstockVariantQuarantined": Case(
        at="5m",
        fires=gauge("penstock_quarantined_services", "1"),
        quiet=gauge("penstock_quarantined_services", "0"),
    ),
    "PenstockSolverStruggling": Case(
        at="15m",
        fires={**gauge("penstock_solver_status", "0"), **gauge("penstock_solver_gap_ratio", "0.1")},
        quiet={**gauge("penstock_solver_status", "0"), **gauge("penstock_solver_gap_ratio", "0")},
    ),
    "PenstockEditedByHand": Case(
        at="15m",
        fires=gauge("penstock_edited_fields", "2"),
        quiet=gauge("penstock_edited_fields", "0"),
    ),
}
MORE = {
    "a quantile of a half can burn": (
        "PenstockSloBurningFast",
        Case(at="70m", fires=requests(480, quantile=0.5), quiet=requests(400, quantile=0.5)),
    ),
    "few requests prove nothing": (
        "PenstockSloBurningFast",
        Case(
            at="70m",
            fires=requests(600),
            quiet={
                **SLO,
                f"penstock_request_seconds_count{{{P}}}": "0+1x430",
                f"penstock_slo_misses_total{{{P}}}": "0+1x430",
            },
        ),
    ),
    "a burn that is over is quiet": (
        "PenstockSloBurningFast",
        Case(
            at="70m",
            fires=requests(600),
            quiet={**requests(0), f"penstock_slo_misses_total{{{P}}}": "0+600x50 30000x60"},
        ),
    ),
    "no replica at all is missing too": (
        "PenstockReplicasMissing",
        Case(at="15m", fires=replicas(None), quiet=replicas(3)),
    ),
    "missing replicas are no drift": (
        "PenstockProfileDrift",
        Case(at="59m", fires=drift(60, 600, 2), quiet=drift(60, 600, 1)),
    ),
    "a solver that is not done": (
        "PenstockSolverStruggling",
        Case(
            at="15m",
            fires=gauge("penstock_solver_status", "3"),
            quiet=gauge("penstock_solver_status", "2"),
        ),
    ),
    "ticks that are gone are missing, not failing": (
        "PenstockTickFailing",
        Case(
            at="30m",
            fires=ticks("0+60x60", "0+60x5 300x60"),
            quiet=ticks("0+60x5 300x60", "0+60x5 300x60"),
        ),
    ),
    "a pipeline without a floor": (
        "PenstockAccuracyBelowFloor",
        Case(
            at="15m",
            fires=accuracy(0.6),
            quiet={
                **gauge("penstock_plan_accuracy_ratio", "0.6"),
                **gauge("penstock_accuracy_floor_ratio", "0"),
            },
        ),
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("rules")
    (made / "rules.yml").write_text(json.dumps({"groups": groups()}))
    return made


def unit_test(alert: str, series: Series, *, at: str, firing: bool) -> dict[str, Any]:
    query = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    samples = [{"value": 1}] if firing else []
    return {
        "name": f"{alert} {'fires' if firing else 'is quiet'}",
        "interval": "1m",
        "input_series": [{"series": k, "values": v} for k, v in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": at, "exp_samples": samples}],
    }


def run(folder: Path, alert: str, case: Case) -> None:
    tests = [
        unit_test(alert, case.fires, at=case.at, firing=True),
        unit_test(alert, case.quiet, at=case.at, firing=False),
    ]
    file = {"rule_files": ["rules.yml"], "evaluation_interval": case.every, "tests": tests}
    (folder / "test.yml").write_text(json.dumps(file))
    done = subprocess.run(
        [promtool(), "test", "rules", "test.yml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_rules(folder: Path) -> None:
    done = subprocess.run(
        [promtool(), "check", "rules", "--lint-fatal", "rules.yml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", sorted(alerts()))
def test_an_alert_fires_when_it_should_and_not_else(folder: Path, alert: str) -> None:
    run(folder, alert, CASES[alert])


@pytest.mark.parametrize("what", sorted(MORE))
def test_what_an_alert_is_told_apart_from(folder: Path, what: str) -> None:
    run(folder, *MORE[what])


def test_an_alert_says_what_is_wrong_in_numbers_a_person_reads(folder: Path) -> None:
    rule = alerts()["PenstockErrors"]
    said = {
        "summary": "Pipeline p fails 2% of its requests",
        "description": rule["annotations"]["description"]
        .replace("{{ $labels.namespace }}", "n")
        .replace("{{ $labels.pipeline }}", "p"),
        "runbook_url": rule["annotations"]["runbook_url"],
    }
    labels = {"namespace": "n", "pipeline": "p", "severity": "critical"}
    tests = unit_test("PenstockErrors", answers(12), at="15m", firing=True) | {
        "alert_rule_test": [
            {
                "eval_time": "15m",
                "alertname": "PenstockErrors",
                "exp_alerts": [{"exp_labels": labels, "exp_annotations": said}],
            }
        ]
    }
    file = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [tests]}
    (folder / "said.yml").write_text(json.dumps(file))
    done = subprocess.run(
        [promtool(), "test", "rules", "said.yml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
