"""Make a cluster run what was rendered: at once, or as a switch that survives its own end.

More or fewer replicas and new batching limits are sent and followed by pods as they run. All else
is a *switch*: what is new comes up, its Deployments are complete, the graph moves, its router rolls
out and drains, what is old goes (``serving.journal`` has the phases). A switch that was killed
anywhere is finished by the next tick, or taken back when its time is over. What comes up too late,
or is refused, is quarantined.

An error of the cluster never leaves :func:`apply` or :func:`resume`: the report holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from penstock.errors import ConflictError, PenstockError
from serving.diff import Change
from serving.journal import WORKLOADS
from serving.manifest import key_of
from serving.state import State
from serving.switch import POLL_S, NotYetError, Run
from serving.target import KINDS, Hands, Pace, Target, digest_of, live_objects

__all__ = [
    "KINDS",
    "ApplyReport",
    "Hands",
    "Outcome",
    "Pace",
    "Target",
    "apply",
    "digest_of",
    "live_objects",
    "resume",
    "seen_ready",
]


class Outcome(StrEnum):
    """How an apply ended."""

    APPLIED = "applied"
    """All of it is done."""
    UNDER_WAY = "under-way"
    """The switch goes on: its time is not over. The next tick carries it on."""
    CONFLICT = "conflict"
    """Somebody else decides or switches; this one stopped."""
    NOT_READY = "not-ready"
    """A rollout did not become ready in its time; see ``rolled_back``."""
    FAILED = "failed"
    """The cluster refused a change or did not answer; see ``rolled_back``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyReport:
    """What an apply did.

    ``done`` are the changes carried out, ``rolled_back`` what took some of them back; ``error`` is
    empty when all went well; ``state`` is the state as it was last written.
    """

    outcome: Outcome
    state: State
    done: tuple[Change, ...] = ()
    rolled_back: tuple[Change, ...] = ()
    error: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the cluster now runs what was asked."""
        return self.outcome is Outcome.APPLIED


def apply(target: Target, changes: Sequence[Change], state: State, hands: Hands) -> ApplyReport:
    """Make the cluster run ``target``, from ``state``, by ``changes`` as ``diff`` ordered them.

    The state is written first, with the version that was read: of two at once only one gets past
    that line.
    """
    run = Run(hands=hands, target=target, state=state)
    return _reported(run, lambda: run.begin(changes))


def resume(target: Target | None, state: State, hands: Hands) -> ApplyReport:
    """Carry on the switch that ``state`` says is under way, unless its owner still does.

    ``target`` is what its plan is rendered to now; when it can't be any more (``None``), or comes
    out differently, the switch is taken back.
    """
    run = Run(hands=hands, target=target, state=state)
    return _reported(run, run.take_over)


def seen_ready(report: ApplyReport, target: Target, hands: Hands) -> ApplyReport:
    """Return the report after all that ``target`` has is ready, or with what is not in its time."""
    if not report.ok:
        return report
    began_s = hands.clock.now()
    waiting = [key_of(m) for m in target.manifests if m["kind"] in WORKLOADS]
    while waiting:
        states = {key: hands.cluster.ready(*key) for key in waiting}
        waiting = [key for key in waiting if not states[key].ready]
        if waiting and hands.clock.now() - began_s >= hands.pace.ready_timeout_s:
            error = f"not ready in time: {'; '.join(states[key].reason for key in waiting)}"
            return replace(report, outcome=Outcome.NOT_READY, error=error)
        if waiting:
            hands.on_progress(f"waiting for {states[waiting[0]].reason}")
            hands.clock.sleep(POLL_S)
    return replace(report, seconds=report.seconds + hands.clock.now() - began_s)


def _reported(run: Run, work: Callable[[], None]) -> ApplyReport:
    try:
        work()
        outcome, error = Outcome.APPLIED, run.error
        if error:
            outcome = Outcome.NOT_READY if run.late else Outcome.FAILED
    except NotYetError as err:
        outcome, error = Outcome.UNDER_WAY, str(err)
    except ConflictError as err:
        outcome, error = Outcome.CONFLICT, str(err)
    except PenstockError as err:
        outcome, error = Outcome.FAILED, "; ".join(filter(None, [run.error, str(err)]))
    return ApplyReport(
        outcome=outcome,
        state=run.state,
        done=tuple(run.done),
        rolled_back=tuple(run.rolled_back),
        error=error,
        seconds=run.hands.clock.now() - run.started_s,
    )
