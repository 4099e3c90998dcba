"""What a cluster must have before a pipeline is deployed there: all that is missing, at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.domain import Pipeline
from penstock.settings import Settings
from serving.cluster.discovery import Right
from workflows.deployment import DeploySettings, Loop

if TYPE_CHECKING:
    from serving.cluster.discovery import Discovery

OLDEST = (1, 27)
"""An older one drops ``unhealthyPodEvictionPolicy`` from disruption budgets: every tick would send
them again."""
_OLDEST = ".".join(map(str, OLDEST))
_KSERVE = (
    "install KServe 0.20 or later: helm install kserve-crd, then kserve (deployment mode Standard)"
)
_ARGO = "install Argo Workflows 4.0 or later, or deploy with --watch 10, which needs none"
_KEDA = "install KEDA, or set PENSTOCK_AUTOSCALING to another way"
_MONITORS = "needed with --monitoring only: install the Prometheus operator"
_RIGHTS = "ask the namespace's administrator: `kubectl auth can-i --list` shows what you may do"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked for; what is ``optional`` may be missing."""

    what: str
    holds: bool
    found: str
    hint: str = ""
    optional: bool = False

    @property
    def stops(self) -> bool:
        """Whether nothing can be deployed like this."""
        return not (self.holds or self.optional)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind that is written, in the version it is written in."""

    group: str
    version: str
    plural: str
    hint: str
    optional: bool = False


def check_cluster(
    discovery: Discovery, pipeline: Pipeline, settings: Settings, how: DeploySettings
) -> tuple[Check, ...]:
    """Return everything that was looked for, in the order in which it is needed.

    Raises:
        UnreachableError: the cluster does not answer.
        UserError: it does not let us in.
    """
    checks = [_version(discovery)]
    checks += [_kind(discovery, kind) for kind in _kinds(settings, how)]
    present = {c.what for c in checks if c.holds}
    checks += [
        _right(discovery, right)
        for right in _rights(pipeline, how)
        if "." not in right.group or right.group.endswith("k8s.io") or _name(right) in present
    ]
    return tuple(checks)


def _version(discovery: Discovery) -> Check:
    found = discovery.version()
    holds = found >= OLDEST
    return Check(
        what="Kubernetes",
        holds=holds,
        found=".".join(map(str, found)),
        hint="" if holds else f"needs {_OLDEST} or later: pods stop by a preStop of kind sleep",
    )


def _kinds(settings: Settings, how: DeploySettings) -> Iterator[Kind]:
    kserve = "serving.kserve.io"
    yield Kind(group=kserve, version="v1beta1", plural="inferenceservices", hint=_KSERVE)
    yield Kind(group=kserve, version="v1alpha1", plural="inferencegraphs", hint=_KSERVE)
    if how.loop is Loop.CRON:
        yield Kind(group="argoproj.io", version="v1alpha1", plural="cronworkflows", hint=_ARGO)
    if settings.autoscaling == "keda":
        yield Kind(group="keda.sh", version="v1alpha1", plural="scaledobjects", hint=_KEDA)
    yield Kind(
        group="monitoring.coreos.com",
        version="v1",
        plural="podmonitors",
        hint=_MONITORS,
        optional=not how.monitoring,
    )


def _kind(discovery: Discovery, kind: Kind) -> Check:
    served = kind.plural in discovery.resources(kind.group, kind.version)
    found = kind.version
    if not served:
        others = discovery.versions(kind.group)
        found = f"{kind.group} has {', '.join(others)}" if others else "not installed"
    return Check(
        what=f"{kind.plural}.{kind.group}",
        holds=served,
        found=found,
        hint="" if served else kind.hint,
        optional=kind.optional,
    )


def _rights(pipeline: Pipeline, how: DeploySettings) -> Iterator[Right]:
    """Yield what applying the tree and taking it away again needs."""
    kinds = [
        *(("", plural) for plural in ("configmaps", "services", "serviceaccounts")),
        ("apps", "deployments"),
        ("networking.k8s.io", "networkpolicies"),
        ("policy", "poddisruptionbudgets"),
        *(("rbac.authorization.k8s.io", plural) for plural in ("roles", "rolebindings")),
        *([("argoproj.io", "cronworkflows")] if how.loop is Loop.CRON else []),
    ]
    for group, plural in kinds:
        for verb in ("create", "patch", "delete"):
            yield Right(verb=verb, group=group, plural=plural, namespace=pipeline.namespace)
    for plural in ("inferenceservices", "inferencegraphs"):
        for verb in ("list", "delete"):
            yield Right(
                verb=verb, group="serving.kserve.io", plural=plural, namespace=pipeline.namespace
            )


def _right(discovery: Discovery, right: Right) -> Check:
    allowed = discovery.may(right)
    return Check(
        what=f"may {right}",
        holds=allowed,
        found=f"in namespace {right.namespace}" if allowed else "not allowed",
        hint="" if allowed else _RIGHTS,
    )


def _name(right: Right) -> str:
    return f"{right.plural}.{right.group}"
