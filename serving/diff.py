"""What has to change in a cluster, as values, in an order that never leaves a stage unserved.

Three steps, in this order:

1. *prepare*: batching limits, budgets, new services, services that grow or change in place;
2. *switch*: the graph moves to them;
3. *retire*: services that shrink, services the graph no longer names, limits and budgets of those.

A service the plan has dropped is deleted, not scaled to zero: an idle object would have to be kept
in step with every later image and setting, and would hide whether a stage is served. Creating it
again costs the same rollout as scaling it up from zero would.

Only fields that a desired manifest has are compared; status, defaults and whatever others added
stay as they are. The two maps that are ours as a whole (the data of the batching ConfigMap, the
nodes of the graph) lose the keys that are no longer wanted. Replicas that penstock writes itself
(``serving.scale``) are written when they are out of their band.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from penstock.errors import ManifestError
from serving.autoscale import AUTOSCALER_CLASS, BAND_FIELDS, class_change_fault, class_of
from serving.disruption import BUDGET
from serving.manifest import Key, Manifest, key_of, leaves, undo
from serving.names import MANAGED_BY, OURS, ROLE
from serving.scale import SCALE, is_in_band, least_of, most_of, replicas_of

_OWNED_MAPS = {"ConfigMap": ("data",), "InferenceGraph": ("spec", "nodes")}
_ORDER = ("ConfigMap", BUDGET, "InferenceService", SCALE, "InferenceGraph")
_DEFAULT_MIN_REPLICAS = 1  # KServe's own default for a service that does not say


class Action(StrEnum):
    """What is done to one object."""

    CREATE = "create"
    PATCH = "patch"
    REPLACE = "replace"
    DELETE = "delete"


class Step(IntEnum):
    """When a change is safe: see the three steps above."""

    PREPARE = 0
    SWITCH = 1
    RETIRE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing to do to one object.

    ``body`` is the manifest for a create or replace, a JSON merge patch for a patch, empty for a
    delete; ``before`` is the merge patch that undoes a patch, and the whole object for a delete.
    ``resource_version`` makes the change fail when somebody has written since; ``None`` does not
    ask. :func:`diff` leaves it out: a controller's status updates would make every second patch
    fail, and the fence between two ticks is the state ConfigMap.
    """

    action: Action
    kind: str
    namespace: str
    name: str
    body: Manifest = field(default_factory=dict)
    resource_version: str | None = None
    reason: str = ""
    step: Step = Step.PREPARE
    before: Manifest = field(default_factory=dict)


def diff(
    desired: Sequence[Mapping[str, Any]], live: Sequence[Mapping[str, Any]]
) -> tuple[Change, ...]:
    """Return the changes that make ``live`` what ``desired`` says, in a safe order.

    ``live`` are the objects of this pipeline that the cluster has; those among them that carry
    our label and are no longer desired are deleted. What has a role of its own (the state, the
    configuration, the gateway) is not the plan's and never touched.

    Raises:
        ManifestError: a manifest has no kind or no name, or a running service would get an
            autoscaler beside the one it has.
    """
    wanted = {key_of(m): m for m in desired}
    there = {key_of(m): m for m in live if not _has_role(m)}
    changes = [c for key, m in wanted.items() for c in _towards(key, m, there.get(key))]
    changes += [_removal(key, m) for key, m in there.items() if key not in wanted and _is_ours(m)]
    return tuple(sorted(changes, key=_order))


def describe(change: Change) -> tuple[str, ...]:
    """Return the change in lines for a person: what, why, and each field's before and after."""
    title = f"{change.action} {change.kind} {change.namespace}/{change.name}"
    lines = [f"{title}: {change.reason}" if change.reason else title]
    if change.action is Action.PATCH:
        lines += [f"  {p}: {_text(old)} -> {_text(new)}" for p, old, new in _compared(change)]
    return tuple(lines)


def _towards(key: Key, desired: Mapping[str, Any], live: Mapping[str, Any] | None) -> list[Change]:
    kind, namespace, name = key
    if kind == SCALE:
        return _scaling(key, desired, live)
    if live is None:
        step = Step.SWITCH if kind == "InferenceGraph" else Step.PREPARE
        body = copy.deepcopy(dict(desired))
        return [
            Change(
                action=Action.CREATE,
                kind=kind,
                namespace=namespace,
                name=name,
                body=body,
                reason="not there yet",
                step=step,
            )
        ]
    if kind == "InferenceService":
        _check_class(name, desired, live)
    patch = _minimal(desired, live)
    _drop_leftover_autoscaling(kind, desired, live, patch)
    surplus = _surplus(kind, desired, live)
    if kind != "ConfigMap":
        patch, surplus = _merged(patch, surplus), {}
    parts = [(patch, _step(kind, desired, live)), (surplus, Step.RETIRE)]
    return [_patch(key, body, live, step) for body, step in parts if body]


def _scaling(key: Key, wanted: Mapping[str, Any], live: Mapping[str, Any] | None) -> list[Change]:
    """Return the patch that brings replicas to the nearer end of their band, if they are out of it.

    There is nothing to scale before KServe has made the Deployment.
    """
    if live is None or is_in_band(wanted, live):
        return []
    found = replicas_of(live)
    is_short = found < least_of(wanted)
    kind, namespace, name = key
    return [
        Change(
            action=Action.PATCH,
            kind=kind,
            namespace=namespace,
            name=name,
            body={"spec": {"replicas": least_of(wanted) if is_short else most_of(wanted)}},
            reason="more replicas" if is_short else "fewer replicas",
            step=Step.PREPARE if is_short else Step.RETIRE,
            before={"spec": {"replicas": found}},
        )
    ]


def _check_class(name: str, desired: Mapping[str, Any], live: Mapping[str, Any]) -> None:
    fault = class_change_fault(name, class_of(live), class_of(desired))
    if fault:
        raise ManifestError(fault)


def _patch(key: Key, body: Manifest, live: Mapping[str, Any], step: Step) -> Change:
    kind, namespace, name = key
    return Change(
        action=Action.PATCH,
        kind=kind,
        namespace=namespace,
        name=name,
        body=body,
        reason=_why(kind, body, step),
        step=step,
        before=undo(body, live),
    )


def _removal(key: Key, live: Mapping[str, Any]) -> Change:
    kind, namespace, name = key
    return Change(
        action=Action.DELETE,
        kind=kind,
        namespace=namespace,
        name=name,
        reason="the plan no longer has it",
        step=Step.SWITCH if kind == "InferenceGraph" else Step.RETIRE,
        before=copy.deepcopy(dict(live)),
    )


def _minimal(desired: Mapping[str, Any], live: Mapping[str, Any]) -> Manifest:
    """Return the smallest merge patch that gives ``live`` every field of ``desired``."""
    patch: Manifest = {}
    for key, want in desired.items():
        have = live.get(key)
        if isinstance(want, Mapping) and isinstance(have, Mapping):
            inner = _minimal(want, have)
            if inner:
                patch[key] = inner
        elif not _covers(have, want) and not (want == {} and isinstance(have, Mapping)):
            patch[key] = copy.deepcopy(want)
    return patch


def _covers(have: Any, want: Any) -> bool:
    """Whether ``have`` says all that ``want`` says; defaults in list items don't count."""
    if isinstance(want, Mapping):
        return isinstance(have, Mapping) and all(_covers(have.get(k), v) for k, v in want.items())
    if isinstance(want, list):
        return (
            isinstance(have, list)
            and len(have) == len(want)
            and all(_covers(h, w) for h, w in zip(have, want, strict=True))
        )
    return bool(have == want) and isinstance(have, bool) == isinstance(want, bool)


def _surplus(kind: str, desired: Mapping[str, Any], live: Mapping[str, Any]) -> Manifest:
    """Return the merge patch that empties a map of ours from keys no longer wanted."""
    path = _OWNED_MAPS.get(kind, ())
    want, have = _at(desired, path), _at(live, path)
    extra: Manifest = {k: None for k in have if k not in want}
    if not path or not extra:
        return {}
    for part in reversed(path):
        extra = {part: extra}
    return extra


def _drop_leftover_autoscaling(
    kind: str, desired: Mapping[str, Any], live: Mapping[str, Any], patch: Manifest
) -> None:
    """Clear the band when the autoscaler's class changes; otherwise it isn't ours to judge."""
    if kind != "InferenceService" or class_of(desired) == class_of(live):
        return
    want, have = (_at(m, ("spec", "predictor")) for m in (desired, live))
    leftover = {k: None for k in BAND_FIELDS if k in have and k not in want}
    if leftover:
        patch.setdefault("spec", {}).setdefault("predictor", {}).update(leftover)


def _step(kind: str, desired: Mapping[str, Any], live: Mapping[str, Any]) -> Step:
    if kind == "InferenceGraph":
        return Step.SWITCH
    is_service = kind == "InferenceService"
    # Another class rolls the pods, which has to be waited for whatever becomes of the replicas.
    if is_service and class_of(desired) == class_of(live) and _replicas(desired) < _replicas(live):
        return Step.RETIRE
    return Step.PREPARE


def _why(kind: str, body: Manifest, step: Step) -> str:
    if kind == "ConfigMap":
        return "batching limits no service reads any more" if step is Step.RETIRE else "batching"
    if kind == "InferenceGraph":
        return "the graph's steps or timeouts differ"
    if kind == BUDGET:
        return "the budget for drains differs"
    chosen = _at(body, ("metadata", "annotations")).get(AUTOSCALER_CLASS)
    if chosen:
        return f"autoscaler class {chosen} from now on, for which its pods are replaced"
    if "spec.predictor.minReplicas" in (fields := dict(leaves(body))) and _only_band(fields):
        return "fewer replicas" if step is Step.RETIRE else "more replicas"
    return "the service differs"


def _only_band(fields: Mapping[str, Any]) -> bool:
    return all(path.split(".")[:3][-1] in BAND_FIELDS for path in fields)


def _order(change: Change) -> tuple[int, int, str]:
    rank = _ORDER.index(change.kind) if change.kind in _ORDER else len(_ORDER)
    return (change.step, -rank if change.step is Step.RETIRE else rank, change.name)


def _has_role(manifest: Mapping[str, Any]) -> bool:
    """Whether it is the state, the configuration or the gateway's: the plan's objects have none."""
    return ROLE in _at(manifest, ("metadata", "labels"))


def _is_ours(manifest: Mapping[str, Any]) -> bool:
    return _at(manifest, ("metadata", "labels")).get(MANAGED_BY) == OURS


def _replicas(manifest: Mapping[str, Any]) -> int:
    return int(_at(manifest, ("spec", "predictor")).get("minReplicas", _DEFAULT_MIN_REPLICAS))


def _at(manifest: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any]:
    value: Any = manifest
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _merged(one: Manifest, other: Manifest) -> Manifest:
    """Return both merge patches as one; nulls are kept, unlike in applying one to the other."""
    result = dict(one)
    for key, value in other.items():
        mine = result.get(key)
        both = isinstance(value, dict) and isinstance(mine, dict)
        result[key] = _merged(mine, value) if both else value  # type: ignore[arg-type]
    return result


def _compared(change: Change) -> Iterator[tuple[str, Any, Any]]:
    """Yield each field that a patch sets or removes, with its value before and after."""
    todo: list[tuple[str, Any, Any]] = [("", change.before, change.body)]
    while todo:
        path, old, new = todo.pop(0)
        if not isinstance(new, Mapping) or not new:
            yield path, old, new
            continue
        before = old if isinstance(old, Mapping) else {}
        prefix = f"{path}." if path else ""
        todo[:0] = [(f"{prefix}{k}", before.get(k), new[k]) for k in new]


def _text(value: Any) -> str:
    return "(none)" if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)
