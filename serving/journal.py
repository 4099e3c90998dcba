"""What a switch under way writes down, so that whoever comes next can finish it or take it back.

The journal lies in the state ConfigMap and is written before each phase begins. Its owner holds it
for a while and renews that while it works; somebody else may take it over only when that time has
passed, and every write of the ConfigMap names the version that was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from serving.autoscale import BAND_FIELDS
from serving.diff import Action, Change, Step

WORKLOADS = ("InferenceService", "InferenceGraph")


class Phase(StrEnum):
    """Where a switch stands; each begins when the one before is over."""

    PREPARE = "prepare"
    """What is new comes up beside what runs."""
    SWITCH = "switch"
    """The graph moves, and its router rolls out."""
    DRAIN = "drain"
    """The old router still finishes what it has."""
    RETIRE = "retire"
    """What the graph has left goes. From here on nothing is taken back."""
    BACK = "back"
    """Everything is taken back, the graph first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """A switch under way from the state's plan to ``plan_to``.

    ``digest`` names what ``plan_to`` was rendered to. ``owner`` may go on until ``held_until_s``;
    the phase's rollouts have until ``deadline_s``, the drain ends at ``drained_s`` [s since the
    epoch]. ``awaits`` are the services that have to be ready before the graph moves; ``undo`` takes
    back what prepares and switches, in reverse order; ``moved`` says that the graph may have moved.
    ``error`` is why it is taken back. ``before`` is the digest of what had been applied whole when
    it began, empty if nothing was: edits are told from it.
    """

    phase: Phase
    plan_to: str
    digest: str
    owner: str
    held_until_s: float
    deadline_s: float
    drained_s: float = 0.0
    awaits: tuple[str, ...] = ()
    undo: tuple[Change, ...] = ()
    moved: bool = False
    error: str = ""
    before: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as what JSON can say."""
        plain = {f: getattr(self, f) for f in self.__slots__ if f not in ("undo", "phase")}
        undo = [_undo_to_json(change) for change in self.undo]
        return {**plain, "awaits": list(self.awaits), "phase": self.phase.value, "undo": undo}

    def undo_in(self, namespace: str) -> tuple[Change, ...]:
        """Return what takes the switch back, the last thing done first."""
        return tuple(replace(change, namespace=namespace) for change in reversed(self.undo))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A service that did not come up, and until when nobody tries again [s since the epoch]."""

    service: str
    until_s: float
    reason: str = ""


def journal_from(document: Mapping[str, Any]) -> Journal:
    """Read a journal back.

    Raises:
        KeyError, TypeError, ValueError: it is not one.
    """
    undo = tuple(_undo_from(one) for one in document["undo"])
    known = {**document, "phase": Phase(document["phase"]), "undo": undo}
    return Journal(**{**known, "awaits": tuple(document["awaits"])})


def undoing(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Return the inverse of each change that a switch may have to take back, in their order."""
    return tuple(_inverse(c) for c in changes if c.step is not Step.RETIRE)


def awaited(changes: Sequence[Change]) -> tuple[str, ...]:
    """Return the services that come up or change before the graph moves."""
    return tuple(c.name for c in changes if c.kind == "InferenceService" and c.step is Step.PREPARE)


def needs_journal(changes: Sequence[Change]) -> bool:
    """Whether the changes start or roll pods, or move the graph: what has to be waited for.

    More or fewer replicas and batching limits are followed by pods as they run; a graph that does
    not move gives no reason to wait before a service it does not name is removed.
    """
    return any(c.kind in WORKLOADS and not _is_quick(c) for c in changes)


def _is_quick(change: Change) -> bool:
    if change.kind == "InferenceGraph":
        return False
    if change.action is Action.DELETE:
        return True
    return change.action is Action.PATCH and only_replicas(change.body)


def only_replicas(patch: Mapping[str, Any]) -> bool:
    """Whether a merge patch of a service touches its replica bounds alone: no pod is made anew."""
    spec = patch.get("spec")
    predictor = spec.get("predictor") if isinstance(spec, Mapping) else None
    return (
        set(patch) == {"spec"}
        and isinstance(predictor, Mapping)
        and set(spec or ()) == {"predictor"}
        and set(predictor) <= set(BAND_FIELDS)
    )


def _inverse(change: Change) -> Change:
    created = change.action is Action.CREATE
    return Change(
        action=Action.DELETE if created else Action.PATCH,
        kind=change.kind,
        namespace="",
        name=change.name,
        body={} if created else change.before,
        reason="taken back",
        step=change.step,
    )


def _undo_to_json(change: Change) -> dict[str, Any]:
    named = {"action": change.action.value, "kind": change.kind, "name": change.name}
    return {**named, "body": change.body, "step": int(change.step)}


def _undo_from(document: Mapping[str, Any]) -> Change:
    return Change(
        action=Action(document["action"]),
        kind=document["kind"],
        namespace="",
        name=document["name"],
        body=document["body"],
        reason="taken back",
        step=Step(document["step"]),
    )
