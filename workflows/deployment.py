"""What runs a pipeline on Kubernetes, as one kustomize tree: `penstock deployment` writes it.

``pipeline/`` holds what is this pipeline's own: its configuration, the tick and its rights, the
gateway. ``manifests/`` is a copy of the overlay it stands on, so that the tree needs no checkout.
The InferenceServices and the graph are not in it: they are the tick's, which the plan changes.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from optimizer.forecast.card import CARD_FILE, MODEL_FILE
from penstock.domain import Pipeline
from penstock.errors import DomainError, UserError
from penstock.files import write_whole
from penstock.settings import IMAGE, Settings
from serving.autoscale import Autoscaling
from serving.manifest import Manifest, to_yaml
from serving.names import (
    CONFIG,
    TICK,
    check_names,
    pod_labels,
    tick_account,
)
from workflows.cron import config_name, cron_name, forecaster_name, make_cron
from workflows.gateway_manifests import gateway
from workflows.rights import tick_rights

OVERLAYS = ("standard", "knative", "dev")
OWN = "pipeline"
MONITORING = "manifests/monitoring"
METRICS_PORT = 9102
MAX_CONFIG_BYTES = 1_000_000  # of a ConfigMap; a little less than the API's 1 MiB
_DEV = {
    "store": "s3://penstock",
    "prometheus_url": "http://penstock-prometheus:9090",
}


class Loop(StrEnum):
    """What starts the tick."""

    CRON = "cron"
    WATCH = "watch"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploySettings:
    """How a pipeline is deployed.

    With ``loop`` ``watch`` a Deployment ticks every ``watch_s`` seconds; Argo's shortest is a
    minute. ``monitoring`` adds what the Prometheus operator and Grafana take up.
    """

    overlay: str = "standard"
    loop: Loop = Loop.CRON
    watch_s: float = 10.0
    gateway_replicas: int = 2
    monitoring: bool = False

    def __post_init__(self) -> None:
        faults = []
        if self.overlay not in OVERLAYS:
            faults.append(f"overlay must be one of {', '.join(OVERLAYS)}, got {self.overlay!r}")
        if not (math.isfinite(self.watch_s) and self.watch_s >= 1):
            faults.append(f"watch_s must be at least 1, got {self.watch_s:g}")
        if self.gateway_replicas < 1:
            faults.append(f"gateway_replicas must be at least 1, got {self.gateway_replicas}")
        if faults:
            raise DomainError("; ".join(faults))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the tick needs to decide: texts by file name, and the load predictor's files, if any."""

    texts: Mapping[str, str]
    forecaster: Mapping[str, bytes] = field(default_factory=dict)


def settled(settings: Settings, how: DeploySettings) -> Mapping[str, Any]:
    """Return the settings that the overlay answers by itself, where the user has said nothing."""
    known = _DEV if how.overlay == "dev" else {}
    return {name: value for name, value in known.items() if not getattr(settings, name)}


def deployment_files(
    pipeline: Pipeline,
    inputs: Inputs,
    settings: Settings,
    how: DeploySettings,
) -> dict[str, str]:
    """Return the tree without the overlay: texts by path; equal inputs give equal bytes.

    Raises:
        ManifestError: the pipeline's objects could not be created.
        UserError: a pod could not do with these settings; all faults at once.
    """
    check_names(pipeline)
    _check(pipeline, inputs, settings)
    own = {
        "config.yaml": to_yaml(list(_config(pipeline, inputs))),
        f"{how.loop}.yaml": to_yaml([_loop(pipeline, settings, how)]),
        "gateway.yaml": to_yaml(gateway(pipeline, settings, replicas=how.gateway_replicas)),
        "rights.yaml": to_yaml(
            tick_rights(
                pipeline,
                argo=how.loop is Loop.CRON,
                scales=Autoscaling(settings.autoscaling) is Autoscaling.EXTERNAL,
            )
        ),
    }
    below = {f"{OWN}/{name}": text for name, text in own.items()}
    shared = [f"manifests/overlays/{how.overlay}", *([MONITORING] if how.monitoring else [])]
    whole = {"resources": [*shared, OWN], **_images(settings)}
    return {
        "kustomization.yaml": _kustomization(pipeline, whole),
        f"{OWN}/kustomization.yaml": _kustomization(pipeline, {"resources": sorted(own)}),
        **below,
    }


def write_deployment(files: Mapping[str, str], manifests: Path, folder: Path) -> tuple[Path, ...]:
    """Write the tree with a copy of ``manifests``; what an earlier one left there goes.

    Returns:
        The paths of the files that are the pipeline's own.

    Raises:
        UserError: there are no manifests to copy, or the folder can't be written.
    """
    if not (manifests / "base" / "kustomization.yaml").exists():
        raise UserError(
            f"{manifests} does not hold the overlays; name the folder manifests of a checkout with "
            "--manifests"
        )
    copied = {
        f"manifests/{path.relative_to(manifests).as_posix()}": path.read_text(encoding="utf-8")
        for path in sorted(manifests.rglob("*"))
        if path.is_file() and path.suffix in (".yaml", ".yml", ".json")
    }
    wanted = {**files, **copied}
    try:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.relative_to(folder).as_posix() not in wanted:
                path.unlink()
        for name, text in wanted.items():
            write_whole(folder / name, text)
    except OSError as err:
        raise UserError(
            f"{folder} can't be written: {err.strerror}; name another folder with --out"
        ) from err
    return tuple(folder / name for name in files)


def _check(pipeline: Pipeline, inputs: Inputs, settings: Settings) -> None:
    faults = []
    if "://" not in settings.store or settings.store.startswith("file:"):
        faults.append(
            f"no pod can read the artifact store {settings.store or 'of this folder'!r}: set "
            "PENSTOCK_STORE, such as s3://bucket/prefix"
        )
    if not settings.prometheus_url:
        faults.append("the tick reads the load from Prometheus: set PENSTOCK_PROMETHEUS_URL")
    size = sum(len(text.encode()) for text in inputs.texts.values())
    if size > MAX_CONFIG_BYTES:
        faults.append(f"document and profiles have {size} bytes, a ConfigMap holds less than 1 MiB")
    if faults:
        raise UserError("\n".join([f"pipeline {pipeline.name!r} can't be deployed:", *faults]))


def _config(pipeline: Pipeline, inputs: Inputs) -> Iterator[Manifest]:
    yield {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(pipeline, config_name(pipeline.name), role=CONFIG),
        "data": dict(inputs.texts),
    }
    if inputs.forecaster:
        yield {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": _metadata(pipeline, forecaster_name(pipeline.name), role=CONFIG),
            "binaryData": {
                name: base64.b64encode(inputs.forecaster[name]).decode()
                for name in (CARD_FILE, MODEL_FILE)
            },
        }


def _loop(pipeline: Pipeline, settings: Settings, how: DeploySettings) -> Manifest:
    cron = make_cron(pipeline, settings)
    if how.loop is Loop.CRON:
        return cron
    return _watch(pipeline, cron["spec"]["workflowSpec"], how)


def _watch(pipeline: Pipeline, workflow: Mapping[str, Any], how: DeploySettings) -> Manifest:
    """Return the Deployment that ticks for ever in the pod that the cron's tick runs in.

    Never two at once: they would not harm each other, but each would solve for nothing.
    """
    once = workflow["templates"][0]["container"]
    args = [*(a for a in once["args"] if a != "--once"), "--watch", f"{how.watch_s:g}"]
    container = {
        "name": TICK,
        **once,
        "args": args,
        "env": [*once["env"], {"name": "PENSTOCK_METRICS_PORT", "value": str(METRICS_PORT)}],
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/metrics", "port": "metrics"}, "periodSeconds": 10},
        "livenessProbe": {
            "httpGet": {"path": "/metrics", "port": "metrics"},
            "periodSeconds": 20,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "startupProbe": {
            "httpGet": {"path": "/metrics", "port": "metrics"},
            "periodSeconds": 2,
            "failureThreshold": 30,
        },
    }
    spec = {
        "containers": [container],
        "enableServiceLinks": False,
        "securityContext": workflow["securityContext"],
        "serviceAccountName": tick_account(pipeline.name),
        "terminationGracePeriodSeconds": 30,
        "volumes": workflow["volumes"],
    }
    labels = pod_labels(pipeline.name, TICK)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(pipeline, cron_name(pipeline.name), role=TICK),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def _images(settings: Settings) -> dict[str, Any]:
    """Return what makes the overlay run the same image as the rest."""
    if settings.image == IMAGE:
        return {}
    name, _, digest = settings.image.partition("@")
    repository, tag = name, ""
    if ":" in name.rpartition("/")[2]:
        repository, _, tag = name.rpartition(":")
    version = {"digest": digest} if digest else {"newTag": tag} if tag else {}
    return {"images": [{"name": IMAGE.rpartition(":")[0], "newName": repository, **version}]}


def _metadata(pipeline: Pipeline, name: str, *, role: str) -> dict[str, Any]:
    labels = pod_labels(pipeline.name, role)
    return {"name": name, "namespace": pipeline.namespace, "labels": labels}


def _kustomization(pipeline: Pipeline, fields: Mapping[str, Any]) -> str:
    return to_yaml(
        [
            {
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "namespace": pipeline.namespace,
                **fields,
            }
        ]
    )
