"""What a tick did, written down while it does it.

``TickLog`` takes note of each value that passes on the reading line and hands it on unchanged, so
that ``workflows.adapt`` reads as the line and the record still has everything, also of a tick that
stopped half-way.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from optimizer.ladder import LOAD, SLO
from optimizer.switching import horizon_fault
from penstock.domain import Forecast, Load, Mode, Pipeline
from penstock.errors import PenstockError, UnderWayError
from serving.apply import Outcome as ApplyOutcome
from serving.diff import describe
from workflows import recorded

if TYPE_CHECKING:
    from optimizer.decide import Decision
    from optimizer.ladder import Climb
    from optimizer.switching import Running
    from penstock.clock import Clock
    from penstock.domain import Plan
    from serving.apply import ApplyReport
    from serving.intent import Intent
    from serving.journal import Quarantined


logger = logging.getLogger(__name__)


class TickLog:
    """The record of one tick in the making; its time is the clock's."""

    def __init__(self, pipeline: Pipeline, clock: Clock) -> None:
        self._pipeline, self._clock = pipeline, clock
        self._fields: dict[str, Any] = {}
        self._seconds: dict[str, float] = {}
        self.started_s = clock.now()

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Note how long the block took, also when it fails."""
        began_s = self._clock.now()
        try:
            yield
        finally:
            self._seconds[part] = max(0.0, self._clock.now() - began_s)

    def mode(self, mode: Mode) -> Mode:
        """Note what this tick may do."""
        self._fields["mode"] = mode
        return mode

    def resumed(self, report: ApplyReport | None) -> None:
        """Note what became of a switch that an earlier tick had begun."""
        if report is not None:
            self._fields["resumed"] = report.error or report.outcome.value

    def offer(self, quarantined: Sequence[Quarantined], running: Iterable[str]) -> None:
        """Note which services were not offered, and why, and which are running."""
        self._fields["withheld"] = tuple(f"{q.service}: {q.reason}" for q in quarantined)
        self._fields["running"] = tuple(sorted(running))

    def inputs(self, inputs: str) -> None:
        """Note by what a replay knows that it has the same pipeline and profiles."""
        self._fields["inputs"] = inputs

    def load(self, load: Load) -> Load:
        """Note the load."""
        self._fields["load"] = load
        return load

    def forecast(self, forecast: Forecast) -> Forecast:
        """Note the forecast."""
        self._fields["forecast"] = forecast
        return forecast

    def running(self, running: Running | None) -> Running | None:
        """Note what ran before, and how long a plan in its place is expected to rule."""
        if running is not None:
            self._fields |= {"before": running.plan, "ruling_s": running.ruling_s}
        return running

    def lag(self, lag_s: float) -> float:
        """Note how long it takes until a plan is in force, and how far the forecast looks."""
        adaptation = self._pipeline.adaptation
        fault = horizon_fault(adaptation, lag_s)
        if fault:
            logger.warning("pipeline %s: %s", self._pipeline.name, fault)
        self._fields |= {"lag_s": lag_s, "horizon_s": adaptation.horizon_s, "short_sighted": fault}
        return lag_s

    def target(self, target: Plan | None) -> Plan | None:
        """Note the plan that is to run as it is rendered."""
        if self._fields.get("mode") is Mode.APPLY:
            self._fields["target"] = target
        return target

    def climb(self, climbed: Climb) -> Climb:
        """Note what the solver found, and what was given up for it."""
        self._fields |= {
            "plan": climbed.plan,
            "load_rps": climbed.load_rps,
            "status": climbed.status.value,
            "gap": climbed.found.solution.gap,
            "solver": climbed.found.solution.solver,
            "given_up": climbed.given_up,
            "shed_rps": None if climbed.plan is None else climbed.shed_rps,
        }
        return climbed

    def decision(self, decision: Decision, climbed: Climb) -> Decision:
        """Note the decision and its reason, and the plan that is to run."""
        writing = self._fields.get("mode") is Mode.APPLY
        self._fields["target"] = decision.target if writing else decision.running
        is_short = LOAD in climbed.given_up or SLO in climbed.given_up
        why = climbed.explanation if is_short else ""
        self._fields["decision"] = recorded.Decided(
            kind=decision.kind.value,
            reason="; ".join(t for t in (decision.reason, climbed.words, why) if t),
            gain=decision.gain,
            urgent=decision.urgent or is_short,
        )
        return decision

    def intent(self, intent: Intent) -> Intent:
        """Note what would change, one line of text each, and what others had changed."""
        self._fields["changes"] = tuple("\n".join(describe(c)) for c in intent.changes)
        self._fields["edits"] = intent.edits
        return intent

    def result(self, report: ApplyReport | None) -> None:
        """Note what was done; ``None`` when nothing was to be written."""
        if report is not None:
            message = report.error or report.outcome.value
            ok = report.ok or report.outcome is ApplyOutcome.UNDER_WAY
            self._fields["result"] = recorded.Outcome(ok=ok, message=message)

    def stand_still(self, err: PenstockError) -> None:
        """Note why the tick went no further: the running plan stays as it is."""
        self._fields.setdefault(
            "decision",
            recorded.Decided(
                kind="keep",
                reason=f"standing still: {err}",
                urgent=not isinstance(err, UnderWayError),
            ),
        )
        ok = isinstance(err, UnderWayError)
        self._fields["result"] = recorded.Outcome(ok=ok, message=str(err))

    def record(self) -> recorded.Tick:
        """Return the record; the tick ends here."""
        total_s = max(0.0, self._clock.now() - self.started_s)
        return recorded.Tick(
            id=uuid.uuid4().hex[:12],
            pipeline=self._pipeline.name,
            time_s=self.started_s,
            durations_s=recorded.Durations(total=total_s, **self._seconds),
            **{"mode": self._pipeline.adaptation.mode, **self._fields},
        )
