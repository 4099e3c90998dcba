"""A switch, phase after phase, as ``serving.journal`` has them; ``serving.apply`` starts it.

Each phase is written down before it begins and looks at what is there before it writes. So it does
not matter where the process before ended, nor how often a phase is begun.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from penstock.errors import (
    ConflictError,
    NotFoundError,
    NotReadyError,
    PenstockError,
    RetryLaterError,
    SpecError,
    UnreachableError,
)
from penstock.plan_json import plan_from_json
from serving.diff import Action, Change, Step, diff
from serving.journal import Journal, Phase, Quarantined, awaited, needs_journal, undoing
from serving.scale import SCALE
from serving.state import State, read_state, write_state
from serving.target import Hands, Target, live_objects

POLL_S = 0.1
_ATTEMPTS = 6
"""How often a phase is tried again when others write at the same time, or no answer comes."""


class NotYetError(RetryLaterError):
    """The time of this tick is over, not that of the switch."""


@dataclass(slots=True, kw_only=True)
class Run:
    """One apply under way in this process; ``state`` is what the ConfigMap holds."""

    hands: Hands
    target: Target | None
    state: State
    owner: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    started_s: float = field(init=False)
    done: list[Change] = field(default_factory=list)
    rolled_back: list[Change] = field(default_factory=list)
    error: str = ""
    late: bool = False
    refused: str = ""

    def __post_init__(self) -> None:
        self.started_s = self.hands.clock.now()

    def begin(self, changes: Sequence[Change]) -> None:
        """Claim the state, then send the changes, or start a switch and carry it out."""
        target, now_s = self._wanted(), self.hands.clock.now()
        if not needs_journal(changes):
            if self.state.plan_json != target.plan:
                self._write(replace(_with_plan(self.state, target.plan, now_s), applied=""))
            for change in changes:
                self._do(change)
            return
        journal = Journal(
            phase=Phase.PREPARE,
            plan_to=target.plan,
            digest=target.digest,
            owner=self.owner,
            held_until_s=now_s + self.hands.pace.lease_s,
            deadline_s=now_s + self.hands.pace.ready_timeout_s,
            awaits=awaited(changes),
            undo=undoing(changes),
            before=self.state.applied,
        )
        self._write(replace(self.state, journal=journal, applied=""))
        self._advance()

    def take_over(self) -> None:
        """Carry on the switch in the state, unless its owner still holds it."""
        journal, now_s = self._journal(), self.hands.clock.now()
        if journal.held_until_s > now_s:
            raise ConflictError(
                f"another tick is carrying out a switch (phase {journal.phase}) and holds it for "
                f"{journal.held_until_s - now_s:.0f} s more"
            )
        self._note(f"carrying on a switch in phase {journal.phase}")
        late = journal.phase in (Phase.PREPARE, Phase.SWITCH)
        self._enter(journal.phase, **({"deadline_s": journal.deadline_s} if late else {}))
        changed = late and self.target is not None and self.target.digest != journal.digest
        lost = self.target is None and journal.phase is not Phase.RETIRE
        if changed or (lost and journal.phase is not Phase.BACK):
            self._turn_back("the pipeline or its settings changed while it was under way", ())
        self._advance()

    def _advance(self) -> None:
        phases = {
            Phase.PREPARE: self._prepare,
            Phase.SWITCH: self._switch,
            Phase.DRAIN: self._drain,
            Phase.RETIRE: self._retire,
            Phase.BACK: self._back,
        }
        while self.state.journal is not None:
            journal = self.state.journal
            try:
                phases[journal.phase]()
            except (ConflictError, UnreachableError, NotYetError):
                raise
            except PenstockError as err:
                if journal.phase not in (Phase.PREPARE, Phase.SWITCH):
                    raise
                self.late = isinstance(err, NotReadyError)
                self._turn_back(str(err), self._culprits(journal, str(err)))

    def _prepare(self) -> None:
        services = [("InferenceService", name) for name in self._journal().awaits]
        self._perform(Step.PREPARE)
        self._wait(services)
        if any(m["kind"] == SCALE for m in self._wanted().manifests):
            # Only now are there Deployments of new services whose replicas can be written.
            self._perform(Step.PREPARE)
            self._wait(services)
        self._enter(Phase.SWITCH, moved=True)

    def _switch(self) -> None:
        self._perform(Step.SWITCH)
        self._wait([("InferenceGraph", g) for g in self._graphs()])
        settle_s = self.hands.pace.settle_s if self._todo(Step.RETIRE) else 0.0
        self._enter(Phase.DRAIN, drained_s=self.hands.clock.now() + settle_s)

    def _drain(self) -> None:
        self._sleep_until(self._journal().drained_s)
        target, now_s = self._wanted(), self.hands.clock.now()
        if self.state.plan_json != target.plan:
            self.state = _with_plan(self.state, target.plan, now_s)
        self._enter(Phase.RETIRE)

    def _retire(self) -> None:
        if self.target is not None:
            self._perform(Step.RETIRE)
        self._write(replace(self.state, journal=None))

    def _back(self) -> None:
        """Take back the graph, and when its router no longer needs it, all else."""
        journal = self._journal()
        self.error = self.error or journal.error
        undo = journal.undo_in(self.state.namespace)
        graphs = [c for c in undo if c.kind == "InferenceGraph" and journal.moved]
        for change in graphs:
            self._undo(change)
        if graphs:
            self._see_back([c.name for c in graphs if c.action is Action.PATCH])
            self._sleep_until(self.hands.clock.now() + self.hands.pace.settle_s)
        for change in undo:
            if change.kind != "InferenceGraph":
                self._undo(change)
        self._write(replace(self.state, journal=None))

    def _see_back(self, graphs: Sequence[str]) -> None:
        """Wait for the routers that went back, but not for ever.

        New ones that never came up have no requests, and old ones were not taken away for them.
        """
        try:
            self._wait([("InferenceGraph", name) for name in graphs])
        except NotReadyError as err:
            self._note(str(err))

    def _turn_back(self, error: str, culprits: Sequence[tuple[str, str]]) -> None:
        now_s, pace = self.hands.clock.now(), self.hands.pace
        names = {name for name, _ in culprits}
        kept = [q for q in self.state.quarantined(now_s) if q.service not in names]
        until_s = now_s + pace.quarantine_s
        new = [Quarantined(service=n, until_s=until_s, reason=why) for n, why in culprits]
        self.state = replace(self.state, quarantine=(*kept, *new))
        self.error = error
        self._note(f"taking it back: {error}")
        self._enter(Phase.BACK, error=error)

    def _culprits(self, journal: Journal, error: str) -> list[tuple[str, str]]:
        """Return the services not to be tried again for a while, and why.

        It is the one that was refused, or those that did not come up; when the graph itself did
        not take them, it is all that are new.
        """
        if self.refused in journal.awaits:
            return [(self.refused, error)]
        if journal.phase is Phase.SWITCH:
            return [(name, error) for name in journal.awaits]
        states = [
            (name, self.hands.cluster.ready("InferenceService", self.state.namespace, name))
            for name in journal.awaits
        ]
        return [(name, s.reason) for name, s in states if not s.ready]

    def _perform(self, step: Step) -> None:
        """Carry out what still differs in this step, against others who write at the same time."""
        trouble: RetryLaterError | None = None
        for _ in range(_ATTEMPTS):
            try:
                for change in self._todo(step):
                    self._hold()
                    self._do(change)
            except (ConflictError, NotFoundError, UnreachableError) as err:
                if self.state.journal is None or isinstance(err, LostError):
                    raise
                trouble = err
                self.hands.clock.sleep(POLL_S)
            else:
                return
        if trouble is not None:
            raise trouble

    def _todo(self, step: Step) -> list[Change]:
        state, target = self.state, self._wanted()
        live = live_objects(self.hands.cluster, state.pipeline, state.namespace)
        versions = {
            m["metadata"]["name"]: m["metadata"].get("resourceVersion")
            for m in live
            if m["kind"] == "InferenceGraph"
        }
        # A graph must not be moved by somebody whose switch was taken over meanwhile.
        return [
            replace(c, resource_version=versions.get(c.name))
            if c.kind == "InferenceGraph" and c.action is Action.PATCH
            else c
            for c in diff(target.manifests, live)
            if c.step is step
        ]

    def _do(self, change: Change) -> None:
        self._note(f"{change.action} {name_of(change)}: {change.reason}")
        self.refused = change.name
        if change.action is not Action.DELETE:
            self.hands.cluster.apply(change)
        elif not self.hands.cluster.delete(change.kind, change.namespace, change.name):
            self._note(f"{name_of(change)} was gone already")
        self.refused = ""
        self.done.append(change)

    def _undo(self, change: Change) -> None:
        self._hold()
        self._note(f"{change.action} {name_of(change)}: {change.reason}")
        try:
            if change.action is Action.DELETE:
                self.hands.cluster.delete(change.kind, change.namespace, change.name)
            else:
                self.hands.cluster.apply(change)
        except NotFoundError:
            self._note(f"{name_of(change)} was gone already")
        self.rolled_back.append(change)

    def _wait(self, objects: Sequence[tuple[str, str]]) -> None:
        for kind, name in objects:
            self._wait_for(kind, name)

    def _wait_for(self, kind: str, name: str) -> None:
        told = ""
        while True:
            try:
                state = self.hands.cluster.ready(kind, self.state.namespace, name)
            except UnreachableError as err:
                ready, reason = False, str(err)
            else:
                ready, reason = state.ready, state.reason
            if ready:
                return
            if reason != told:
                told = reason
                self._note(f"waiting for {kind} {name}: {told}")
            if self.hands.clock.now() >= self._journal().deadline_s:
                raise NotReadyError(
                    f"{kind} {self.state.namespace}/{name} was not ready within "
                    f"{self.hands.pace.ready_timeout_s:g} s: {reason}; look at its pods, or allow "
                    "more time"
                )
            self._pass(POLL_S, f"{kind} {name}: {reason}")

    def _sleep_until(self, end_s: float) -> None:
        left_s = end_s - self.hands.clock.now()
        if left_s > 0:
            self._note(f"draining for {left_s:g} s")
        while (left_s := end_s - self.hands.clock.now()) > 0:
            self._pass(min(left_s, self.hands.pace.lease_s / 4), "draining")

    def _pass(self, seconds: float, why: str) -> None:
        """Let time pass, unless this tick has waited long enough; then it lets go of the switch."""
        if self.hands.clock.now() - self.started_s >= self.hands.pace.patience_s:
            journal = replace(self._journal(), held_until_s=self.hands.clock.now())
            self._write(replace(self.state, journal=journal))
            raise NotYetError(f"phase {journal.phase} goes on: {why}")
        self.hands.clock.sleep(seconds)
        self._hold()

    def _hold(self) -> None:
        """Renew the hold on the switch before it ends; fails when somebody took it over."""
        journal, lease_s = self._journal(), self.hands.pace.lease_s
        if journal.held_until_s - self.hands.clock.now() < lease_s / 2:
            held = replace(journal, held_until_s=self.hands.clock.now() + lease_s)
            self._write(replace(self.state, journal=held))

    def _enter(self, phase: Phase, **fields: object) -> None:
        now_s, pace = self.hands.clock.now(), self.hands.pace
        times = {"held_until_s": now_s + pace.lease_s, "deadline_s": now_s + pace.ready_timeout_s}
        known = {**times, "owner": self.owner, "phase": phase, **fields}
        journal = replace(self._journal(), **known)  # type: ignore[arg-type]
        self._write(replace(self.state, journal=journal))

    def _write(self, state: State) -> None:
        """Write the state; when no answer came, look whether it was written after all."""
        try:
            self.state = write_state(self.hands.cluster, state)
        except ConflictError as err:
            self.state = self._written_beside(state, err)
        except UnreachableError:
            there = read_state(self.hands.cluster, state.pipeline, state.namespace)
            if replace(there, resource_version=None) != replace(state, resource_version=None):
                raise
            self.state = there

    def _written_beside(self, state: State, err: ConflictError) -> State:
        """Write once more if the switch is still ours: a pause or a record was written meanwhile.

        Raises:
            LostError: it is not.
        """
        there = read_state(self.hands.cluster, state.pipeline, state.namespace)
        if self.state.journal is None or there.journal != self.state.journal:
            raise LostError(f"another tick has written the state: {err}") from err
        kept = replace(
            state,
            paused=there.paused,
            decisions=there.decisions,
            resource_version=there.resource_version,
        )
        return write_state(self.hands.cluster, kept)

    def _graphs(self) -> list[str]:
        manifests = self._wanted().manifests
        return [m["metadata"]["name"] for m in manifests if m["kind"] == "InferenceGraph"]

    def _wanted(self) -> Target:
        assert self.target is not None, "only a switch that is taken back may lack its target"
        return self.target

    def _journal(self) -> Journal:
        assert self.state.journal is not None, "no switch is under way"
        return self.state.journal

    def _note(self, line: str) -> None:
        self.hands.on_progress(line)


class LostError(ConflictError):
    """The state was written by somebody else: whoever did decides now."""


def name_of(change: Change) -> str:
    """Return kind, namespace and name as errors and progress show them."""
    return f"{change.kind} {change.namespace}/{change.name}"


def _with_plan(state: State, plan: str, now_s: float) -> State:
    """Return the state with a plan; one that only has other bands is no change."""
    noted = state.with_plan(plan, now_s=now_s)
    try:
        is_same = plan_from_json(plan).same_choice(plan_from_json(state.plan_json))
    except SpecError:  # nothing ran, or what did was noted by another version
        return noted
    return replace(noted, last_change_s=state.last_change_s) if is_same else noted
