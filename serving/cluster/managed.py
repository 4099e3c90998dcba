"""Who owns which field of an object: ``metadata.managedFields`` and server-side apply.

A field is a path of keys; a list is one field, as it is in a custom resource whose schema does not
say otherwise. Lists that a schema declares as maps are taken as one field here too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from serving.manifest import Manifest

Path = tuple[str, ...]
Fields = frozenset[Path]

_NOT_OWNED = ("apiVersion", "kind")
_OWNED_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")
_ITSELF = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Who writes, how (``Update`` or ``Apply``), through which subresource, in which version."""

    manager: str
    operation: str
    api_version: str
    time: str
    subresource: str = ""


def after_update(old: Manifest, new: Manifest, writer: Writer) -> list[Manifest]:
    """Return the entries after ``writer`` made ``new`` of ``old``: who changes a field owns it."""
    before, now = _values(old), _values(new)
    changed = frozenset(p for p, v in now.items() if p not in before or before[p] != v)
    gone = frozenset(before) - frozenset(now)
    entries = _entries(old)
    kept = {who: fields - changed - gone for who, fields in _owners(entries).items()}
    me = _identity(writer)
    kept[me] = kept.get(me, frozenset()) | changed
    return _written(entries, kept, writer, touched=bool(changed or gone))


def conflicts(live: Manifest, applied: Manifest, writer: Writer) -> list[tuple[Path, Manifest]]:
    """Return the fields that an apply would change though another manager owns them.

    Each comes with the entry of its owner.
    """
    have, want = _values(live), _values(applied)
    changed = [p for p, v in want.items() if p in have and have[p] != v]
    found = []
    for entry in _entries(live):
        if _identity_of(entry) != _identity(writer) and entry["manager"] != writer.manager:
            owned = _decode(entry["fieldsV1"])
            found += [(p, entry) for p in changed if p in owned]
    return sorted(found, key=lambda f: (f[1]["manager"], f[0]))


def apply_fields(live: Manifest, applied: Manifest, writer: Writer) -> Manifest:
    """Return ``live`` with the applied fields set, and without those this manager gives up.

    A field that was applied earlier, is not any more and belongs to nobody else, is removed.
    """
    owners = _owners(_entries(live))
    mine = owners.get(_identity(writer), frozenset())
    others = frozenset(p for who, f in owners.items() if who != _identity(writer) for p in f)
    want = _values(applied)
    result = copy.deepcopy(live)
    for path in mine - frozenset(want) - others:
        _remove(result, path)
    for path, value in want.items():
        _put(result, path, value)
    return result


def after_apply(live: Manifest, new: Manifest, applied: Manifest, writer: Writer) -> list[Manifest]:
    """Return the entries after an apply: the manager owns all it applied, shared or alone."""
    entries = _entries(live)
    before, want = _values(live), _values(applied)
    taken = frozenset(p for p, v in want.items() if before.get(p) != v)
    gone = frozenset(before) - frozenset(_values(new))
    kept = {who: fields - taken - gone for who, fields in _owners(entries).items()}
    kept[_identity(writer)] = frozenset(want)
    return _written(entries, kept, writer, touched=True)


def last_writer(live: Mapping[str, Any], path: Path) -> str:
    """Return the manager that owns a field, the latest of several; empty when nobody does."""
    owners = [
        e
        for e in _entries(live)
        if any(p[: len(path)] == path or path[: len(p)] == p for p in _decode(e["fieldsV1"]))
    ]
    return str(max(owners, key=lambda e: str(e.get("time", "")))["manager"]) if owners else ""


def _values(manifest: Mapping[str, Any]) -> dict[Path, Any]:
    """Return the leaves that somebody can own, by path."""
    metadata = {k: v for k, v in manifest.get("metadata", {}).items() if k in _OWNED_METADATA}
    body = {k: v for k, v in manifest.items() if k not in (*_NOT_OWNED, "metadata")}
    return dict(_leaves({**body, **({"metadata": metadata} if metadata else {})}, ()))


def _leaves(value: Any, path: Path) -> Iterable[tuple[Path, Any]]:
    if isinstance(value, Mapping) and (value or not path):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    else:
        yield path, value


def _entries(manifest: Mapping[str, Any]) -> list[Manifest]:
    return list(manifest.get("metadata", {}).get("managedFields", ()))


def _identity(writer: Writer) -> Path:
    return (writer.manager, writer.operation, writer.subresource)


def _identity_of(entry: Mapping[str, Any]) -> Path:
    return (entry["manager"], entry["operation"], entry.get("subresource", ""))


def _owners(entries: Iterable[Mapping[str, Any]]) -> dict[Path, Fields]:
    return {_identity_of(e): _decode(e["fieldsV1"]) for e in entries}


def _written(
    entries: list[Manifest], fields: Mapping[Path, Fields], writer: Writer, *, touched: bool
) -> list[Manifest]:
    known = {_identity_of(e): e for e in entries}
    result = []
    for who, owned in fields.items():
        if not owned:
            continue
        mine = who == _identity(writer) and touched
        entry = {
            "manager": who[0],
            "operation": who[1],
            "apiVersion": writer.api_version if mine else known[who]["apiVersion"],
            "time": writer.time if mine else known[who]["time"],
            "fieldsType": "FieldsV1",
            "fieldsV1": _encode(owned),
        }
        result.append({**entry, "subresource": who[2]} if who[2] else entry)
    return result


def _encode(fields: Fields) -> Manifest:
    tree: Manifest = {}
    for path in sorted(fields):
        at = tree
        for part in path:
            at = at.setdefault(f"f:{part}", {})
        at[_ITSELF] = {}
    return _thin(tree)


def _thin(tree: Manifest) -> Manifest:
    """Write a field without owned fields below it as ``{}``, as the API does."""
    if list(tree) == [_ITSELF]:
        return {}
    return {k: _thin(v) if k != _ITSELF else {} for k, v in tree.items()}


def _decode(tree: Mapping[str, Any], path: Path = ()) -> Fields:
    found: set[Path] = set()
    for key, inner in tree.items():
        if key == _ITSELF:
            found.add(path)
        elif inner:
            found |= _decode(inner, (*path, key.removeprefix("f:")))
        else:
            found.add((*path, key.removeprefix("f:")))
    return frozenset(found)


def _put(manifest: Manifest, path: Path, value: Any) -> None:
    at = manifest
    for part in path[:-1]:
        if not isinstance(at.get(part), dict):
            at[part] = {}
        at = at[part]
    if value != {} or not isinstance(at.get(path[-1]), dict):
        at[path[-1]] = copy.deepcopy(value)


def _remove(manifest: Manifest, path: Path) -> None:
    above: list[tuple[Manifest, str]] = []
    at: Any = manifest
    for part in path[:-1]:
        above.append((at, part))
        at = at.get(part) if isinstance(at, dict) else None
    # What was given up as an empty map may hold fields of others by now.
    if isinstance(at, dict) and not (isinstance(at.get(path[-1]), dict) and at[path[-1]]):
        at.pop(path[-1], None)
    for parent, part in reversed(above):
        if parent.get(part) == {}:
            del parent[part]
