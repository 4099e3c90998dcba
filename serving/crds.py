"""Custom resource definitions in a folder, read as late and as seldom as can be.

One of KServe's is 2 MB of YAML. A folder is therefore looked through by the first lines of its
files, and the schemas of a kind are parsed when it is first asked for, once per process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from penstock.errors import ManifestError

_MARK = "kind: CustomResourceDefinition"
_BEFORE_SCHEMAS = "\n  versions:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crd:
    """One version of a custom resource: its names, its schema, and the state of its file.

    ``stamp_ns`` is the file's modification time: with ``path`` it says what was read.
    """

    group: str
    version: str
    kind: str
    plural: str
    schema: Mapping[str, Any]
    has_status: bool
    path: Path
    stamp_ns: int


def find_crd(folder: Path, group: str, kind: str) -> tuple[Crd, ...]:
    """Return the served versions of a kind, or nothing when the folder has no definition of it.

    Raises:
        ManifestError: the folder or a file in it can't be read.
    """
    path = names_in(folder).get((group, kind))
    return _versions(path, _stamp(path)) if path else ()


def names_in(folder: Path) -> Mapping[tuple[str, str], Path]:
    """Return the definitions of a folder (not of those below it) by group and kind.

    Raises:
        ManifestError: the folder is not there, or a file can't be read.
    """
    if not folder.is_dir():
        raise ManifestError(
            f"{folder} is no folder with CRD files; name one, or none to skip the schemas"
        )
    files = sorted(folder.glob("*.yaml"))
    return _names(tuple(files), tuple(_stamp(f) for f in files))


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns


@lru_cache(maxsize=16)
def _names(files: tuple[Path, ...], _stamps: tuple[int, ...]) -> dict[tuple[str, str], Path]:
    found: dict[tuple[str, str], Path] = {}
    for file in files:
        head = file.read_text(encoding="utf-8").split(_BEFORE_SCHEMAS, 1)[0]
        if _MARK in head:
            spec = _parse(head, file)["spec"]
            found[(spec["group"], spec["names"]["kind"])] = file
    return found


@lru_cache(maxsize=16)
def _versions(path: Path, stamp_ns: int) -> tuple[Crd, ...]:
    spec = _parse(path.read_text(encoding="utf-8"), path)["spec"]
    return tuple(
        Crd(
            group=spec["group"],
            version=version["name"],
            kind=spec["names"]["kind"],
            plural=spec["names"]["plural"],
            schema=(version.get("schema") or {}).get("openAPIV3Schema") or {},
            has_status="status" in (version.get("subresources") or {}),
            path=path,
            stamp_ns=stamp_ns,
        )
        for version in spec["versions"]
        if version.get("served", True)
    )


def _parse(text: str, file: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = next(
            d for d in yaml.load_all(text, Loader=yaml.CSafeLoader) if d is not None
        )
    except yaml.YAMLError as err:
        raise ManifestError(f"{file} is not YAML: {err}") from err
    return document
