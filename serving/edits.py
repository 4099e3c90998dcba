"""What somebody else changed by hand, or a GitOps tool, in fields that penstock writes.

An edit is a field that has another value than the running plan's, though the plan was applied whole
and is rendered today as it was then. Fields that penstock does not write are nobody's business
here. An edit is reverted by the next tick, or respected: then it stays for as long as the plan
would not change that field. What was deleted comes back either way, a graph can't do without it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from serving.cluster.managed import last_writer
from serving.diff import Action, Change, Step, diff
from serving.manifest import Key, Manifest, key_of

Path = tuple[str, ...]

_MISSING = object()


def edits(applied: Sequence[Manifest], live: Sequence[Manifest]) -> tuple[Change, ...]:
    """Return what would take the cluster back to what was applied."""
    return tuple(c for c in diff(applied, live) if not _is_leftover(c))


def told(found: Sequence[Change], live: Sequence[Manifest]) -> tuple[str, ...]:
    """Return one line for each field that was edited: what it is, what it should be, who did it."""
    there = {key_of(m): m for m in live}
    return tuple(line for change in found for line in _lines(change, there))


def respecting(
    wanted: Sequence[Manifest], applied: Sequence[Manifest], live: Sequence[Manifest]
) -> tuple[Manifest, ...]:
    """Return ``wanted`` with the edits of others in it, where it asks for what was applied.

    Services that an edited graph names are kept as they are.
    """
    there = {key_of(m): m for m in live}
    before = {key_of(m): m for m in applied}
    result = {key_of(m): copy.deepcopy(m) for m in wanted}
    for change in edits(applied, live):
        key = (change.kind, change.namespace, change.name)
        if change.action is Action.PATCH and key in result:
            for path, _ in _leaves(change.body):
                _take_over(result[key], before[key], there[key], path)
    return tuple(_with_named(result, there))


def _with_named(wanted: dict[Key, Manifest], there: Mapping[Key, Manifest]) -> Iterator[Manifest]:
    yield from wanted.values()
    for graph in [m for m in wanted.values() if m["kind"] == "InferenceGraph"]:
        for node in graph["spec"]["nodes"].values():
            for step in node.get("steps", ()):
                namespace = graph["metadata"].get("namespace", "default")
                key = ("InferenceService", namespace, str(step.get("serviceName")))
                if key in there and key not in wanted:
                    yield there[key]


def _take_over(wanted: Manifest, applied: Manifest, live: Manifest, path: Path) -> None:
    """Give ``wanted`` the live value at a path, if it asks there for what was applied."""
    if _at(wanted, path) != _at(applied, path):
        return
    value, holder = _at(live, path), _at(wanted, path[:-1])
    if not isinstance(holder, dict):
        return
    if value is _MISSING:
        holder.pop(path[-1], None)
    else:
        holder[path[-1]] = copy.deepcopy(value)


def _lines(change: Change, there: Mapping[Key, Manifest]) -> Iterator[str]:
    name = f"{change.kind} {change.namespace}/{change.name}"
    live = there.get((change.kind, change.namespace, change.name))
    if change.action is not Action.PATCH or live is None:
        yield f"{name}: deleted by somebody else"
        return
    for path, value in _leaves(change.body):
        found, who = _at(live, path), last_writer(live, path)
        by = f", last written by {who}" if who else ""
        shown = "not there" if found is _MISSING else json.dumps(found, ensure_ascii=False)
        yield f"{name}: {'.'.join(path)} is {shown}, the plan says {json.dumps(value)}{by}"


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    else:
        yield path, value


def _at(manifest: Any, path: Sequence[str]) -> Any:
    value = manifest
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            return _MISSING
        value = value[part]
    return value


def _is_leftover(change: Change) -> bool:
    return change.action is Action.DELETE and change.step is Step.RETIRE
