"""The InferenceServices of a plan, and the ConfigMap their predictors read batching limits from.

Every field answers a way in which requests get lost or pods roll for nothing (KServe v0.20.0):
readiness is asked over HTTP because the default only opens a socket; a stopping pod sleeps first,
until no router sends to it; an update never takes a pod away before its successor is ready; no
annotation ever changes, because each is copied to the pods.
"""

from __future__ import annotations

import json
import math
from typing import Any

from penstock.domain import Option, Pipeline, Plan, Stage
from serving.autoscale import AUTOSCALER_CLASS, replica_fields
from serving.manifest import Manifest
from serving.names import (
    SERVICE_POD,
    STAGE,
    VARIANT,
    batch_key,
    batching_name,
    pipeline_labels,
    service_name,
)
from serving.pods import container_security, replaced_first, spread_over_nodes
from serving.settings import RenderSettings

DEPLOYMENT_MODE = "serving.kserve.io/deploymentMode"
CONTAINER = "kserve-container"  # the name KServe looks for when it injects the artifact
PORT = 8080
MODEL_FOLDER = "/mnt/models"  # where KServe's storage initializer leaves what STORAGE_URI names
BATCHING_FOLDER = "/etc/penstock/batching"


def inference_service(
    pipeline: Pipeline, stage: Stage, option: Option, settings: RenderSettings
) -> Manifest:
    """Return the InferenceService that runs one option of a stage.

    Raises:
        DomainError: the stage has no variant of the option's name.
    """
    variant = stage.variant(option.variant)
    name = service_name(pipeline.name, stage.name, variant.name)
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "namespace": pipeline.namespace,
            "labels": {
                **pipeline_labels(pipeline.name),
                STAGE: stage.name,
                VARIANT: variant.name,
            },
            "annotations": {
                DEPLOYMENT_MODE: "Standard",
                AUTOSCALER_CLASS: settings.autoscaling.kserve_class,
            },
        },
        "spec": {"predictor": _predictor(name, pipeline, stage, option, settings)},
    }


def batching(pipeline: Pipeline, plan: Plan) -> Manifest:
    """Return the ConfigMap with one batch file per running variant.

    The predictors follow the mounted file, so a new batch size changes this object and no pod.
    """
    limits = {
        batch_key(o.stage, o.variant): json.dumps(
            {"max_batch_size": o.batch_size, "max_wait_s": o.max_wait_s}, sort_keys=True
        )
        for o in plan.stages
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": batching_name(pipeline.name),
            "namespace": pipeline.namespace,
            "labels": pipeline_labels(pipeline.name),
        },
        "data": limits,
    }


def cpu_quantity(cores: float) -> str:
    """Return cores as Kubernetes writes them: whole ones plain, others in thousandths.

    A thousandth is the smallest share a container can be given; less is rounded up to it.
    """
    millicores = max(1, round(cores * 1000))
    return str(millicores // 1000) if millicores % 1000 == 0 else f"{millicores}m"


def memory_quantity(mib: int) -> str:
    """Return MiB as Kubernetes writes them canonically: whole GiB as such."""
    return f"{mib // 1024}Gi" if mib % 1024 == 0 else f"{mib}Mi"


def _predictor(
    name: str, pipeline: Pipeline, stage: Stage, option: Option, settings: RenderSettings
) -> dict[str, Any]:
    return {
        **replica_fields(pipeline, stage, option, settings),
        "automountServiceAccountToken": False,
        "containers": [_container(name, stage, option, settings)],
        "deploymentStrategy": replaced_first(),
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "serviceAccountName": settings.service_account,
        "terminationGracePeriodSeconds": _grace_s(pipeline, settings),
        "topologySpreadConstraints": [spread_over_nodes({SERVICE_POD: name})],
        "volumes": [
            {"name": "batching", "configMap": {"name": batching_name(pipeline.name)}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _container(name: str, stage: Stage, option: Option, settings: RenderSettings) -> dict[str, Any]:
    variant = stage.variant(option.variant)
    resources = {
        "cpu": cpu_quantity(option.cpu_cores),
        "memory": memory_quantity(variant.memory_mib),
    }
    return {
        "name": CONTAINER,
        "image": settings.image,
        "command": ["python", "-m", "serving.predictor"],
        "args": _arguments(name, batch_key(stage.name, variant.name), settings),
        "env": [
            {"name": "STORAGE_URI", "value": settings.artifact_uri(stage.name, variant)},
            {"name": "PROTOCOL", "value": "v2"},
        ],
        "ports": [{"containerPort": PORT, "protocol": "TCP"}],
        # Requests equal limits: the profile was taken on exactly this share of a core.
        "resources": {"limits": dict(resources), "requests": dict(resources)},
        "readinessProbe": {
            "httpGet": {"path": "/v2/health/ready", "port": PORT},
            "periodSeconds": 2,
            "timeoutSeconds": 1,
            "failureThreshold": 3,
        },
        # Not the sleep action: a server before 1.30 drops it, and refuses a hook that has none.
        # Not Python either: it would start an interpreter in the share of a pod that still serves.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(settings.pre_stop_s)]}}},
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "batching", "mountPath": BATCHING_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }


def _arguments(name: str, key: str, settings: RenderSettings) -> list[str]:
    # The graph's router asks for the service's own name as the model, since KServe finds no
    # --model_name among these arguments.
    given = {
        "--model-dir": MODEL_FOLDER,
        "--model-name": name,
        "--host": "0.0.0.0",
        "--port": str(PORT),
        "--batch-file": f"{BATCHING_FOLDER}/{key}",
        "--cpu-cores": "0",
        "--drain-s": str(settings.drain_s),
    }
    return [word for pair in given.items() for word in pair]


def _grace_s(pipeline: Pipeline, settings: RenderSettings) -> int:
    return settings.pre_stop_s + settings.drain_s + math.ceil(pipeline.slo.latency_s)
