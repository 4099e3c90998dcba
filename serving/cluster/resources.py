"""The kinds the in-memory server knows, and the objects it says no with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.crds import Crd, find_crd, names_in
from serving.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind as the server serves it; ``schema`` is empty when nothing is known of its shape.

    ``subresource`` is set for a kind that is a part of others, as a Scale is of a Deployment.
    """

    group: str
    version: str
    kind: str
    plural: str
    custom: bool = False
    has_status: bool = False
    has_scale: bool = False
    subresource: str = ""
    counts_generations: bool = True
    schema: Mapping[str, Any] = field(default_factory=dict)

    @property
    def api_version(self) -> str:
        """What stands in a manifest's ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str, name: str = "") -> str:
        """Return the path of an object's URL, or that of all objects in a namespace."""
        root = f"apis/{self.group}" if self.group else "api"
        path = f"/{root}/{self.version}/namespaces/{namespace}/{self.plural}"
        path = f"{path}/{name}" if name else path
        return f"{path}/{self.subresource}" if name and self.subresource else path

    @property
    def qualified(self) -> str:
        """The plural as errors name it: with the group, if there is one."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """The kind as errors name it."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server says: HTTP status, body (an object, or text), and warning headers."""

    status: int
    body: Any
    warnings: tuple[str, ...] = ()


class Refusal(Exception):  # noqa: N818
    """An answer that ends a request at once; it never leaves the server."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(str(answer.body))


_RBAC = "rbac.authorization.k8s.io"
BUILT_IN = (
    Resource(
        group="", version="v1", kind="ConfigMap", plural="configmaps", counts_generations=False
    ),
    Resource(group="", version="v1", kind="Secret", plural="secrets", counts_generations=False),
    Resource(group="", version="v1", kind="Event", plural="events", counts_generations=False),
    Resource(
        group="apps",
        version="v1",
        kind="Deployment",
        plural="deployments",
        has_status=True,
        has_scale=True,
    ),
    Resource(
        group="policy",
        version="v1",
        kind="PodDisruptionBudget",
        plural="poddisruptionbudgets",
        has_status=True,
    ),
    Resource(group="", version="v1", kind="Service", plural="services", counts_generations=False),
    Resource(
        group="",
        version="v1",
        kind="ServiceAccount",
        plural="serviceaccounts",
        counts_generations=False,
    ),
    Resource(group=_RBAC, version="v1", kind="Role", plural="roles", counts_generations=False),
    Resource(
        group=_RBAC,
        version="v1",
        kind="RoleBinding",
        plural="rolebindings",
        counts_generations=False,
    ),
)
SCALE_OF_DEPLOYMENT = Resource(
    group="apps", version="v1", kind="Scale", plural="deployments", subresource="scale"
)
# What penstock writes, served without a schema when the caller names no folder of definitions.
_WITHOUT_SCHEMA = (
    ("serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices"),
    ("serving.kserve.io", "v1alpha1", "InferenceGraph", "inferencegraphs"),
    ("argoproj.io", "v1alpha1", "CronWorkflow", "cronworkflows"),
)


class Catalogue:
    """Finds a resource by its path or by its kind; schemas are read when first needed."""

    def __init__(self, *crd_folders: Path) -> None:
        self._folders = crd_folders
        self._known = {(r.group, r.version, r.plural): r for r in BUILT_IN}
        self._loaded: set[tuple[str, str]] = set()
        for group, version, kind, plural in _WITHOUT_SCHEMA:
            if not any((group, kind) in names_in(f) for f in crd_folders):
                self._add(_custom(group, version, kind, plural))

    def by_path(self, group: str, version: str, plural: str) -> Resource | None:
        """Return the resource behind a URL, or ``None``."""
        if (group, version, plural) not in self._known:
            self._load(lambda g, kind: g == group and plural.startswith(kind.lower()))
        return self._known.get((group, version, plural))

    def by_kind(self, kind: str) -> Resource | None:
        """Return the first resource of that kind, or ``None``."""
        if kind == SCALE_OF_DEPLOYMENT.kind:
            return SCALE_OF_DEPLOYMENT
        self._load(lambda _, k: k == kind)
        return next((r for r in self._known.values() if r.kind == kind), None)

    def of_group(self, group: str) -> tuple[Resource, ...]:
        """Return all resources of a group."""
        self._load(lambda g, _: g == group)
        return tuple(r for r in self._known.values() if r.group == group)

    def _load(self, wanted: Any) -> None:
        for folder in self._folders:
            for group, kind in names_in(folder):
                if (group, kind) not in self._loaded and wanted(group, kind):
                    self._loaded.add((group, kind))
                    for crd in find_crd(folder, group, kind):
                        self._add(_from_crd(crd))

    def _add(self, resource: Resource) -> None:
        self._known[(resource.group, resource.version, resource.plural)] = resource


def failure(code: int, reason: str, message: str, details: Manifest | None = None) -> Answer:
    """Return a failed answer with the Status object that a real server sends."""
    body: Manifest = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": details,
        "code": code,
    }
    if details is None:
        del body["details"]
    return Answer(status=code, body=body)


def details_of(resource: Resource, name: str = "") -> Manifest:
    """Return the details of an error about an object, without what is empty."""
    details = {"name": name, "group": resource.group, "kind": resource.plural}
    return {k: v for k, v in details.items() if v}


def not_found(resource: Resource, name: str) -> Answer:
    """Return the answer for an object that is not there."""
    message = f'{resource.qualified} "{name}" not found'
    return failure(404, "NotFound", message, details_of(resource, name))


def conflict(resource: Resource, name: str, why: str) -> Answer:
    """Return the answer to a write that came too late."""
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return failure(409, "Conflict", message, details_of(resource, name))


def bad_request(message: str) -> Answer:
    """Return the answer to a request that makes no sense."""
    return failure(400, "BadRequest", message)


def _custom(group: str, version: str, kind: str, plural: str) -> Resource:
    return Resource(
        group=group, version=version, kind=kind, plural=plural, custom=True, has_status=True
    )


def _from_crd(crd: Crd) -> Resource:
    return Resource(
        group=crd.group,
        version=crd.version,
        kind=crd.kind,
        plural=crd.plural,
        custom=True,
        has_status=crd.has_status,
        schema=crd.schema,
    )
