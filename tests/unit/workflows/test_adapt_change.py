"""What a tick remembers and says of change, and the band that it hands to an autoscaler."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from optimizer.forecast import Forecaster
from penstock.domain import Forecast, Load
from serving.cluster.memory import MemoryCluster
from serving.render import RenderSettings
from serving.state import State, read_state
from tests.builders import profile_table
from tests.ticks import SETTINGS, calm, ports, tick
from workflows.adapt import Ports, TickSettings, adapt
from workflows.audit import changes_s, resolved, same_plan
from workflows.recorded import Tick
from workflows.recording import (
    format_json,
    read_tick,
)


class Steady:
    """A load that has stood at one rate for the whole window."""

    def __init__(self, load_rps: float) -> None:
        self._load_rps = load_rps

    def window(self, now_s: float) -> Load:
        return Load(values_rps=(self._load_rps,) * 3, step_s=1.0, end_s=now_s)


def test_a_decision_is_made_again_with_what_ran() -> None:
    of = replace(calm(), max_cores=8.0)
    around = ports([260.0] * 3)
    tick(of, around)
    around.clock.sleep(60.0)
    fallen = replace(around, source=Steady(20.0))
    record = read_tick(format_json(tick(of, fallen)))
    table = profile_table(of)

    assert record.before is not None
    assert record.ruling_s == 60.0
    assert same_plan(resolved(record, of, table, fallen.solver).plan, record.plan)
    forgetful = replace(record, before=None)
    assert not same_plan(resolved(forgetful, of, table, fallen.solver).plan, record.plan)


def test_a_tick_says_its_lag_and_how_far_it_looked() -> None:
    of = calm()
    record = tick(of, ports([20.0] * 3))
    assert (record.lag_s, record.horizon_s, record.short_sighted) == (36.0, 96.0, "")


def test_a_change_that_took_longer_than_declared_is_told() -> None:
    around = ports([20.0] * 3)
    first = tick(calm(), around)
    assert first.decision.kind == "move"
    state = read_state(around.cluster, "digits", "default")
    slow = json.loads(state.decisions[-1])
    slow["durations_s"]["total"] = 95.0
    state = replace(state, decisions=(json.dumps(slow), "not a record", '{"decision": null}'))
    assert changes_s(state) == (95.0,)
    assert changes_s(State(pipeline="digits")) == ()


class Quantiles(Forecaster):
    """A forecast whose quantiles are shares of the newest rate."""

    name = "quantiles"

    def forecast(self, load: Load) -> Forecast:
        rates = {q: load.last_rps * share for q, share in ((0.5, 0.4), (0.9, 1.0), (0.99, 2.0))}
        return Forecast(
            load_rps=load.last_rps, horizon_s=2.0, forecaster=self.name, quantiles_rps=rates
        )


def run(around: Ports, autoscaling: str) -> Tick:
    render = RenderSettings(image="penstock:test", store_uri="s3://m", autoscaling=autoscaling)
    settings = TickSettings(**{**{f: getattr(SETTINGS, f) for f in _FIELDS}, "render": render})
    of = calm()
    return adapt(of, profile_table(of), around, settings)


_FIELDS = ("ready_timeout_s", "settle_s", "quarantine_s", "patience_s", "edits", "time_limit_s")


def bounds(cluster: MemoryCluster) -> list[tuple[int, int]]:
    found = cluster.list("InferenceService", "default", {})
    predictors = [m["spec"]["predictor"] for m in found]
    return [(p["minReplicas"], p.get("maxReplicas", math.inf)) for p in predictors]


def test_an_autoscaler_gets_the_forecasts_band_and_it_follows_the_forecast() -> None:
    around = ports([200.0] * 3, forecaster=Quantiles())
    first = run(around, "hpa")
    assert first.target is not None
    assert [o.band for o in first.target.stages] == bounds(around.cluster)
    changed_s = read_state(around.cluster, "digits", "default").last_change_s
    around.clock.sleep(60.0)

    again = run(replace(around, source=Steady(198.0)), "hpa")

    assert again.decision.kind == "keep"
    assert again.edits == ()
    assert again.target is not None
    assert [o.band for o in again.target.stages] == bounds(around.cluster)
    assert read_state(around.cluster, "digits", "default").last_change_s == changed_s


def test_without_an_autoscaler_nobody_gets_a_band() -> None:
    record = run(ports([200.0] * 3, forecaster=Quantiles()), "fixed")
    assert record.target is not None
    assert [o.band for o in record.target.stages] == [None, None]
