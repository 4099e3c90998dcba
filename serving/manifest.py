"""A manifest is a plain mapping; here is its text and the arithmetic of merge patches on it.

Plain mappings instead of a client library's classes, because those differ between client versions
(one of them writes snake_case with nulls) and because both a laptop and a cluster can read them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from penstock.errors import ManifestError
from penstock.files import write_whole

Manifest = dict[str, Any]
"""One Kubernetes object as it is written in YAML."""

Key = tuple[str, str, str]
"""Kind, namespace and name: what tells one object of a cluster from the next."""


class _Plain(yaml.SafeDumper):
    """Writes a value twice that occurs twice; an anchor reads as if it were one thing."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def key_of(manifest: Mapping[str, Any]) -> Key:
    """Return kind, namespace (``default`` when none is given) and name.

    Raises:
        ManifestError: the kind or the name is missing.
    """
    metadata = manifest.get("metadata") or {}
    if not manifest.get("kind") or not metadata.get("name"):
        raise ManifestError(
            f"a manifest needs a kind and a metadata.name, got kind {manifest.get('kind')!r} "
            f"and name {metadata.get('name')!r}"
        )
    return str(manifest["kind"]), str(metadata.get("namespace", "default")), str(metadata["name"])


def to_yaml(manifests: Sequence[Mapping[str, Any]]) -> str:
    """Return one YAML stream, byte-identical for equal manifests.

    Keys are sorted and the documents keep the order they are given in, so that two renderings
    differ exactly where their objects do.
    """
    return yaml.dump_all(
        [dict(m) for m in manifests],
        Dumper=_Plain,
        sort_keys=True,
        default_flow_style=False,
        explicit_start=True,
        allow_unicode=True,
        width=100,
    )


def from_yaml(text: str) -> tuple[Manifest, ...]:
    """Read the manifests of a YAML stream; empty documents are left out.

    Raises:
        ManifestError: the text is no YAML, or a document is no mapping.
    """
    try:
        documents = [d for d in yaml.load_all(text, Loader=yaml.CSafeLoader) if d is not None]
    except yaml.YAMLError as err:
        raise ManifestError(f"these manifests are not YAML: {err}") from err
    for document in documents:
        if not isinstance(document, dict):
            raise ManifestError(f"a manifest is a mapping, got {type(document).__name__}")
    return tuple(documents)


def write_tree(manifests: Sequence[Mapping[str, Any]], folder: Path) -> tuple[Path, ...]:
    """Write one file per object and the ``kustomization.yaml`` that lists them.

    Every file appears whole or not at all. Files of objects that an earlier tree in this folder
    listed and this one does not are removed; any other file is left alone.

    Returns:
        The paths written, the kustomization last.

    Raises:
        ManifestError: two objects have the same kind and name, or the folder can't be written.
    """
    names = [_file_name(m) for m in manifests]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ManifestError(f"more than one object for {', '.join(twice)}; rename one of them")
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(names),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stale = _listed(folder / "kustomization.yaml") - set(names)
        for name, manifest in zip(names, manifests, strict=True):
            write_whole(folder / name, to_yaml([manifest]))
        write_whole(folder / "kustomization.yaml", to_yaml([kustomization]))
        for name in stale:
            (folder / name).unlink(missing_ok=True)
    except OSError as err:
        raise ManifestError(
            f"the manifests can't be written to {folder}: {err.strerror}; name another folder"
        ) from err
    return (*(folder / n for n in names), folder / "kustomization.yaml")


def merge(target: Any, patch: Any) -> Any:
    """Return ``target`` with a JSON merge patch applied (RFC 7386); neither is changed."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = copy.deepcopy(dict(target)) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def undo(patch: Mapping[str, Any], before: Mapping[str, Any]) -> Manifest:
    """Return the merge patch that takes ``merge(before, patch)`` back to ``before``."""
    back: Manifest = {}
    for key, value in patch.items():
        old = before.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            back[key] = undo(value, old)
        else:
            back[key] = copy.deepcopy(old)
    return back


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each leaf with its dotted path; lists and empty mappings are leaves."""
    if isinstance(value, Mapping) and value:
        for key in value:
            yield from leaves(value[key], f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _file_name(manifest: Mapping[str, Any]) -> str:
    kind, _, name = key_of(manifest)
    return f"{kind.lower()}-{name}.yaml"


def _listed(kustomization: Path) -> set[str]:
    """Return the plain file names an earlier tree listed; none when it is absent or not ours."""
    if not kustomization.exists():
        return set()
    documents = from_yaml(kustomization.read_text(encoding="utf-8"))
    resources = documents[0].get("resources", []) if documents else []
    return {r for r in resources if isinstance(r, str) and Path(r).name == r}
