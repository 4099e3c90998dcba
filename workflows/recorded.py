"""What a run leaves behind, as values: requests, ticks, samples of the stages, and the run itself.

Every time is in seconds from the run's start. The shapes and their bounds are declared here once;
``workflows.recording`` writes and reads them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from penstock.domain import Forecast, Load, Mode, Plan

Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of the load.

    ``latency_s`` runs from the *scheduled* time to the full answer, so that a client that falls
    behind can't hide a queue; ``None`` when no full answer came. ``status`` is the HTTP code, 0
    when there was none. ``correct`` of ``total`` items were found right; ``None`` when not scored.
    """

    scheduled_s: NotNegative
    latency_s: NotNegative | None = None
    status: Annotated[int, Field(ge=0, le=999)]
    index: Count
    correct: Count | None = None
    total: Count | None = None

    @property
    def lost(self) -> bool:
        """Whether no full, successful answer came."""
        return self.latency_s is None or not 200 <= self.status < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What the tick decided, and why."""

    kind: Literal["keep", "move"]
    reason: str
    gain: Finite | None = None
    urgent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the changes."""

    ok: bool
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Seconds that the parts of a tick took; ``total`` is all of it, what lies between included."""

    resume: NotNegative = 0.0
    load: NotNegative = 0.0
    forecast: NotNegative = 0.0
    solve: NotNegative = 0.0
    apply: NotNegative = 0.0
    total: NotNegative


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One adaptation cycle as it was recorded: the audit trail of a decision.

    What an outage kept from being known is ``None`` (``load``, ``forecast``, ``plan``, ``result``).
    ``status`` is the solver's, ``gap`` the relative distance to its bound; ``changes`` has one
    line of text per change of the cluster, ``edits`` one per field that somebody else changed.
    ``resumed`` says what became of a switch that an earlier tick had begun, ``withheld`` which
    services were not offered because they did not come up, ``running`` those of the running plan.
    ``load_rps`` is the load that was planned for, ``target`` the plan that is to run from now on,
    which is the running one when nothing moves or nothing may be written; ``inputs`` names the
    pipeline and the profiles that a replay of the decision must find again. ``given_up`` names the
    limits that ``plan`` does not keep (paths in the spec, and ``load``), ``shed_rps`` the load that
    it does not serve; ``status`` is that of the solve for all of the load. ``before`` is the plan
    that ran, ``ruling_s`` how long one in its place was expected to rule. ``lag_s`` is how long it
    takes until a plan is in force, by what was measured or declared, and ``horizon_s`` how far the
    forecast looks; ``short_sighted`` says what to do when that is not far enough.
    """

    id: str
    pipeline: str
    time_s: Finite
    load: Load | None = None
    forecast: Forecast | None = None
    plan: Plan | None = None
    target: Plan | None = None
    status: str = ""
    gap: Finite | None = None
    solver: str = ""
    decision: Decided
    mode: Mode = Mode.APPLY
    changes: tuple[str, ...] = ()
    edits: tuple[str, ...] = ()
    resumed: str = ""
    withheld: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    load_rps: NotNegative | None = None
    inputs: str = ""
    given_up: tuple[str, ...] = ()
    shed_rps: NotNegative | None = None
    result: Outcome | None = None
    before: Plan | None = None
    ruling_s: Positive | None = None
    lag_s: NotNegative | None = None
    horizon_s: Positive | None = None
    short_sighted: str = ""
    durations_s: Durations

    def __post_init__(self) -> None:
        # A solver without a choice or a bound has an infinite gap, which JSON can't say.
        if self.gap is not None and not math.isfinite(self.gap):
            object.__setattr__(self, "gap", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    """What one stage runs: the variant that answers, its replicas, and how many are ready."""

    variant: str
    replicas: Count
    ready: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What runs at one moment.

    ``cost_cores`` counts every replica that exists, those on their way out in a switch included.
    """

    time_s: Finite
    stages: Mapping[str, StageState]
    cost_cores: NotNegative

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", MappingProxyType(dict(self.stages)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What was run: under which objective, against which load, for how long.

    ``duration_s`` is the length of the load, ``wall_seconds`` the whole run with its start and its
    drain; ``load_curve_rps[i]`` is the offered rate in second ``i``.
    """

    run: str
    pipeline: str
    slo_s: Positive
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.99
    duration_s: Positive
    wall_seconds: NotNegative
    solver: str = ""
    load_curve_rps: tuple[NotNegative, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One run, whole; each part in the order of time."""

    info: RunInfo
    requests: tuple[Request, ...]
    timeline: tuple[Sample, ...]
    ticks: tuple[Tick, ...] = ()
