"""JSON Patch (RFC 6902) on plain values; merge patches are :func:`serving.manifest.merge`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

_APPEND = "-"


class PatchError(ValueError):
    """The patch is malformed, a path leads nowhere, or a test failed."""


def json_patch(document: Any, operations: Sequence[Mapping[str, Any]]) -> Any:
    """Return ``document`` with the operations applied in order; it is not changed itself.

    Raises:
        PatchError: one of them can't be applied; then none of them is.
    """
    result = copy.deepcopy(document)
    for operation in operations:
        result = _apply(result, operation)
    return result


def _apply(document: Any, operation: Mapping[str, Any]) -> Any:
    name, path = _member(operation, "op"), _pointer(_member(operation, "path"))
    if name == "add":
        return _add(document, path, copy.deepcopy(_member(operation, "value")))
    if name == "remove":
        return _remove(document, path)
    if name == "replace":
        return _replace(document, path, copy.deepcopy(_member(operation, "value")))
    if name == "test":
        if not _equal(_get(document, path), _member(operation, "value")):
            raise PatchError(f"test failed at {operation['path']}")
        return document
    if name in ("move", "copy"):
        return _transfer(document, operation, path, keep=name == "copy")
    raise PatchError(f"unknown operation {name!r}")


def _transfer(document: Any, operation: Mapping[str, Any], path: list[str], *, keep: bool) -> Any:
    source = _pointer(_member(operation, "from"))
    if not keep and len(source) < len(path) and path[: len(source)] == source:
        raise PatchError(f"{operation['from']} can't be moved into itself")
    value = copy.deepcopy(_get(document, source))
    return _add(document if keep else _remove(document, source), path, value)


def _pointer(text: Any) -> list[str]:
    """Return the parts of a JSON pointer (RFC 6901)."""
    if text == "":
        return []
    if not isinstance(text, str) or not text.startswith("/"):
        raise PatchError(f"{text!r} is no JSON pointer")
    return [p.replace("~1", "/").replace("~0", "~") for p in text[1:].split("/")]


def _get(document: Any, path: Sequence[str]) -> Any:
    for part in path:
        document = document[_existing(document, part)]
    return document


def _add(document: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, list):
        at = len(parent) if path[-1] == _APPEND else _index(path[-1], len(parent))
        parent.insert(at, value)
    elif isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        raise PatchError(f"nothing can be added at /{'/'.join(path)}")
    return document


def _remove(document: Any, path: Sequence[str]) -> Any:
    if not path:
        return None
    parent = _get(document, path[:-1])
    del parent[_existing(parent, path[-1])]
    return document


def _replace(document: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    parent[_existing(parent, path[-1])] = value
    return document


def _existing(parent: Any, part: str) -> Any:
    if isinstance(parent, dict) and part in parent:
        return part
    if isinstance(parent, list):
        return _index(part, len(parent) - 1)
    raise PatchError(f"there is no {part!r}")


def _index(part: str, last: int) -> int:
    if not part.isdecimal() or (part != "0" and part.startswith("0")) or int(part) > last:
        raise PatchError(f"there is no item {part!r}")
    return int(part)


def _member(operation: Any, name: str) -> Any:
    if not isinstance(operation, Mapping) or name not in operation:
        raise PatchError(f"an operation needs {name!r}, got {operation!r}")
    return operation[name]


def _equal(one: Any, other: Any) -> bool:
    """Compare as JSON does: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(v, other[k]) for k, v in one.items())
    return bool(one == other)
