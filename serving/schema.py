"""Validate manifests against CRD schemas in a folder, more strictly than the server that has them.

A server prunes a misspelt field and says nothing an operator reads; here it is a fault. The
schemas come from the folder the caller names (``kubectl get crd -o yaml``, or a release's files);
none is shipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import ManifestError, SpecError
from serving.crds import Crd, find_crd
from serving.manifest import key_of

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_BUILT_IN = ("v1", "apps/v1", "policy/v1")
_TOP_LEVEL = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
_AS_IS = ("properties", "default", "enum", "example", "required")
_METADATA = {"type": "object", "required": ["name"]}


def schema_faults(manifests: Sequence[Mapping[str, Any]], folder: Path) -> tuple[str, ...]:
    """Return every fault of every manifest, each as ``<kind> <name>: <path>: what is wrong``.

    Manifests of built-in kinds have no definition and are not judged.

    Raises:
        ManifestError: the folder or a definition in it can't be read.
    """
    return tuple(f for manifest in manifests for f in _faults(manifest, folder))


def check_schemas(manifests: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Refuse manifests with any fault.

    Raises:
        SpecError: there are faults; all of them, with their paths.
        ManifestError: the folder or a definition in it can't be read.
    """
    faults = schema_faults(manifests, folder)
    if faults:
        raise SpecError(f"manifests against the schemas in {folder}", faults)


def strict(schema: Any) -> Any:
    """Return a structural schema as plain JSON Schema that knows no other fields.

    An object stays open only where the definition says so; ``int-or-string`` becomes both types,
    and the server's own extensions go.
    """
    if isinstance(schema, list):
        return [strict(s) for s in schema]
    if not isinstance(schema, Mapping):
        return schema
    plain = [k for k in schema if not k.startswith("x-kubernetes-") and k not in _AS_IS]
    result = {k: strict(schema[k]) for k in plain}
    result |= {k: schema[k] for k in _AS_IS if k in schema}
    if "properties" in schema:
        result["properties"] = {k: strict(v) for k, v in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            result.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
        result["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.get("nullable") and "type" in schema:
        result["type"] = [schema["type"], "null"]
    return result


def _faults(manifest: Mapping[str, Any], folder: Path) -> Iterator[str]:
    kind, _, name = key_of(manifest)
    subject = f"{kind} {name}"
    api_version = str(manifest.get("apiVersion", ""))
    if api_version in _BUILT_IN:
        return
    group, _, version = api_version.rpartition("/")
    served = find_crd(folder, group, kind)
    crd = next((c for c in served if c.version == version), None)
    if crd is None:
        there = ", ".join(f"{group}/{c.version}" for c in served) or f"no {kind} at all"
        yield f"{subject}: apiVersion: {folder} defines {there}, not {api_version!r}"
        return
    errors = _validator(_Known(crd)).iter_errors(manifest)
    for error in sorted(errors, key=lambda e: (list(map(str, e.absolute_path)), e.message)):
        yield f"{subject}: {_path(error.absolute_path)}: {_shortened(error.message)}"


class _Known:
    """A definition that equals another one when both were read from the same state of a file."""

    def __init__(self, crd: Crd) -> None:
        self.crd = crd
        self._identity = (crd.path, crd.stamp_ns, crd.version)

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Known) and self._identity == other._identity


@lru_cache(maxsize=16)
def _validator(known: _Known) -> Validator:
    # Imported here because it takes longer to load than everything else in this package.
    from jsonschema import Draft202012Validator

    crd = known.crd
    if not crd.schema:
        raise ManifestError(f"the definition of {crd.kind} in {crd.path} has no schema")
    document = strict(crd.schema)
    document["properties"] = {**document["properties"], **_TOP_LEVEL, "metadata": _METADATA}
    document["required"] = sorted({"apiVersion", "kind", "metadata", *document.get("required", ())})
    return Draft202012Validator(document)


def _path(parts: Any) -> str:
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts)
    return text.removeprefix(".") or "(the whole object)"


def _shortened(message: str, at_most: int = 300) -> str:
    return message if len(message) <= at_most else f"{message[:at_most]}…"
