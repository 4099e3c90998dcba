"""Carry out changes in their order, and wait where the order needs it.

The graph moves only when every service it is about to name is ready; what is retired goes only
when the graph's own rollout is over and a drain has passed. Whatever happens on the way ends in an
:class:`ApplyReport`: what was done, what was not and what was taken back. Once retiring has begun
nothing is taken back any more: the new plan serves, and the next tick tidies up the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from penstock.clock import Clock
from penstock.errors import ConflictError, NotReadyError, PenstockError
from serving.cluster import Cluster
from serving.diff import Action, Change, Step

_POLL_S = 0.1
_WORKLOADS = ("InferenceService", "InferenceGraph")

Progress = Callable[[str], None]
"""Is told in one line what happens."""


class Outcome(StrEnum):
    """How an apply ended."""

    APPLIED = "applied"
    """All of it is done."""
    CONFLICT = "conflict"
    """Somebody else wrote; nothing was taken back, the next tick sees what is there."""
    NOT_READY = "not-ready"
    """A rollout did not become ready in its time; see ``rolled_back``."""
    FAILED = "failed"
    """The cluster refused a change or did not answer; see ``rolled_back``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyReport:
    """What an apply did.

    ``done`` are the changes carried out, ``left`` those that were not, ``rolled_back`` those among
    ``done`` that were taken back; ``error`` is empty when all went well.
    """

    outcome: Outcome
    done: tuple[Change, ...]
    left: tuple[Change, ...] = ()
    rolled_back: tuple[Change, ...] = ()
    error: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the cluster now runs what was asked."""
        return self.outcome is Outcome.APPLIED


def apply(
    changes: Sequence[Change],
    cluster: Cluster,
    clock: Clock,
    *,
    ready_timeout_s: float = 120.0,
    settle_s: float = 0.0,
    on_progress: Progress = lambda line: None,
) -> ApplyReport:
    """Carry out ``changes`` as :func:`serving.diff.diff` ordered them.

    ``ready_timeout_s`` bounds each wait for a rollout. ``settle_s`` is the drain between the
    graph's rollout and the first service that is retired; it is spent only if there is one. An
    error of the cluster never leaves this function: the report holds it.
    """
    run = _Run(
        cluster=cluster,
        clock=clock,
        ready_timeout_s=ready_timeout_s,
        settle_s=settle_s,
        on_progress=on_progress,
    )
    started_s = clock.now()
    outcome, error = Outcome.APPLIED, ""
    rolled_back: tuple[Change, ...] = ()
    try:
        run.carry_out(changes)
    except ConflictError as err:
        outcome, error = Outcome.CONFLICT, str(err)
    except PenstockError as err:
        late = isinstance(err, NotReadyError)
        outcome, error = (Outcome.NOT_READY if late else Outcome.FAILED), str(err)
        if not run.retiring:
            rolled_back, trouble = run.roll_back()
            error = "; ".join([error, *trouble])
    return ApplyReport(
        outcome=outcome,
        done=tuple(run.done),
        left=tuple(changes[len(run.done) :]),
        rolled_back=rolled_back,
        error=error,
        seconds=clock.now() - started_s,
    )


@dataclass(slots=True, kw_only=True)
class _Run:
    """One apply under way: what is done so far, and which rollouts nobody has waited for yet."""

    cluster: Cluster
    clock: Clock
    ready_timeout_s: float
    settle_s: float
    on_progress: Progress
    done: list[Change] = field(default_factory=list)
    rolling: list[Change] = field(default_factory=list)
    retiring: bool = False

    def carry_out(self, changes: Sequence[Change]) -> None:
        step = Step.PREPARE
        for change in changes:
            if change.step is not step:
                self._wait()
                self._drain(change)
                step = change.step
                self.retiring = step is Step.RETIRE
            self._do(change)
            self.done.append(change)
            if change.kind in _WORKLOADS and change.action is not Action.DELETE:
                self.rolling.append(change)
        self._wait()

    def roll_back(self) -> tuple[tuple[Change, ...], list[str]]:
        """Take back what was done, last first; return that, and what could not be taken back."""
        undone: list[Change] = []
        trouble: list[str] = []
        self.rolling.clear()
        for change in reversed(self.done):
            if undone and undone[-1].step is Step.SWITCH and change.step is Step.PREPARE:
                self._sleep_settle()
            try:
                self._do(_inverse(change))
            except PenstockError as err:
                trouble.append(f"could not take back {_name(change)}: {err}")
            else:
                undone.append(change)
        return tuple(undone), trouble

    def _do(self, change: Change) -> None:
        self.on_progress(f"{change.action} {_name(change)}: {change.reason}")
        if change.action is not Action.DELETE:
            self.cluster.apply(change)
        elif not self.cluster.delete(change.kind, change.namespace, change.name):
            self.on_progress(f"{_name(change)} was gone already")

    def _wait(self) -> None:
        deadline_s = self.clock.now() + self.ready_timeout_s
        for change in self.rolling:
            self._wait_for(change, deadline_s)
        self.rolling.clear()

    def _wait_for(self, change: Change, deadline_s: float) -> None:
        told = ""
        while True:
            state = self.cluster.ready(change.kind, change.namespace, change.name)
            if state.ready:
                return
            if state.reason != told:
                told = state.reason
                self.on_progress(f"waiting for {_name(change)}: {told}")
            if self.clock.now() >= deadline_s:
                raise NotReadyError(
                    f"{_name(change)} was not ready within {self.ready_timeout_s:g} s: "
                    f"{state.reason}; look at its pods, or allow more time"
                )
            self.clock.sleep(_POLL_S)

    def _drain(self, change: Change) -> None:
        switched = any(c.step is Step.SWITCH for c in self.done)
        if change.step is Step.RETIRE and switched:
            self._sleep_settle()

    def _sleep_settle(self) -> None:
        if self.settle_s > 0:
            self.on_progress(f"draining for {self.settle_s:g} s")
            self.clock.sleep(self.settle_s)


def _inverse(change: Change) -> Change:
    created = change.action is Action.CREATE
    return Change(
        action=Action.DELETE if created else Action.PATCH,
        kind=change.kind,
        namespace=change.namespace,
        name=change.name,
        body={} if created else change.before,
        reason="taken back",
        step=change.step,
    )


def _name(change: Change) -> str:
    return f"{change.kind} {change.namespace}/{change.name}"
