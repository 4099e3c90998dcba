"""What a tick talks to in tests: a virtual clock, a trace, a cluster that notes what is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from optimizer.forecast.window import MaxForecaster
from optimizer.load import TraceLoad
from optimizer.solvers import make_solver
from penstock.clock import VirtualClock
from penstock.domain import Adaptation, Pipeline, ProfileTable
from serving.cluster import Change, Readiness
from serving.cluster.memory import MemoryCluster
from serving.render import RenderSettings
from tests.builders import pipeline, profile_table
from workflows.adapt import Ports, TickSettings, adapt
from workflows.recorded import Tick

SETTINGS = TickSettings(render=RenderSettings(image="penstock:test", store_uri="s3://models"))
QUICK = Adaptation(step_s=1.0, window_steps=3, horizon_steps=2, cooldown_s=0.0, min_gain=0.0)


def calm(**fields: Any) -> Pipeline:
    return pipeline(adaptation=replace(QUICK, **fields), max_cores=12.0)


class Writes(MemoryCluster):
    """A memory cluster that notes what is written to it, and where some services never start."""

    def __init__(self) -> None:
        super().__init__(readiness=self._start)
        self.written: list[Change] = []
        self.startable: set[str] | None = None

    @property
    def touched(self) -> list[Change]:
        """What was written to anything but the record of the ticks."""
        return [c for c in self.written if not c.name.startswith("penstock-")]

    def _start(self, manifest: dict[str, Any]) -> Readiness:
        name, kind = manifest["metadata"]["name"], manifest["kind"]
        if self.startable is None or kind != "InferenceService" or name in self.startable:
            return Readiness(ready=True)
        return Readiness(ready=False, reason="its pods crash")

    def apply(self, change: Change) -> dict[str, Any] | None:
        self.written.append(change)
        return super().apply(change)


def ports(loads_rps: Sequence[float], *, now_s: float = 0.0, **others: Any) -> Ports:
    known = {
        "source": TraceLoad(loads_rps, step_s=1.0, window_steps=3),
        "forecaster": MaxForecaster(horizon_s=2.0),
        "solver": make_solver("exhaustive"),
        "cluster": Writes(),
        "clock": VirtualClock(now_s or float(len(loads_rps))),
        "record": lambda tick: None,
    }
    return Ports(**{**known, **others})


def tick(of: Pipeline, around: Ports, table: ProfileTable | None = None) -> Tick:
    return adapt(of, table or profile_table(of), around, SETTINGS)


def services(cluster: MemoryCluster) -> set[str]:
    return {m["metadata"]["name"] for m in cluster.list("InferenceService", "default", {})}
