"""The adaptation tick as an Argo CronWorkflow, authored with Hera, Argo's Python authoring library.

Neither Hera nor a CRD's schema knows all that the controller checks when it takes a CronWorkflow
up; ``check_cron`` does, so that a mistake shows here and not as a loop that never runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hera.workflows import (
    Artifact,
    Container,
    CronWorkflow,
    NoneArchiveStrategy,
    Parameter,
    models,
)

from optimizer.forecast.card import CARD_FILE, MODEL_FILE
from penstock.domain import Pipeline
from penstock.errors import DomainError, ManifestError
from penstock.settings import Settings, pod_environment
from serving.manifest import Manifest
from serving.manifest import to_yaml as _to_yaml
from serving.names import TICK, pipeline_labels, pod_labels, tick_account
from workflows.cron_metrics import metric_faults, output_parameters, template_metrics
from workflows.layout import Layout
from workflows.schedule import deadline_s, shortest_gap_s

EVERY_MINUTE = "* * * * *"
ENTRYPOINT = "tick"
CONFIG_FOLDER = "/etc/penstock"
RESULTS_FOLDER = "/tmp/penstock"  # all else is read-only in the pod
NUMBERS_FOLDER = f"{RESULTS_FOLDER}/numbers"
MAX_NAME = 52
"""Argo appends a dash and a time stamp of 10 digits to name a run, and a run's name is a label too,
of at most 63 characters."""
TEMPLATE_KINDS = (
    *("container", "containerSet", "dag", "data", "http", "plugin", "resource", "script"),
    *("steps", "suspend"),
)
POLICIES = ("Allow", "Forbid", "Replace")
STOP = "cronworkflow.failed >= 30 && cronworkflow.failed > cronworkflow.succeeded"
"""The counts are of the loop's whole life, so a plain bound would stop every loop some day; this
one stops a loop that fails more often than not, and the last plan stays up."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class CronSettings:
    """How the tick is run.

    ``starting_deadline_s`` is how late a missed tick is still worth running: a later one decides on
    newer load. Histories are numbers of runs kept. ``service_account`` is the one that may change
    what the tick changes, by default the pipeline's own; the serving pods' may not.
    """

    schedule: str = EVERY_MINUTE
    time_zone: str = "Etc/UTC"
    service_account: str = ""
    starting_deadline_s: int = 20
    successful_history: int = 3
    failed_history: int = 5
    cpu_request: str = "100m"
    cpu_limit: str = "1"
    memory_request: str = "256Mi"
    memory_limit: str = "512Mi"
    suspend: bool = False


DEFAULTS = CronSettings()


def make_cron(pipeline: Pipeline, settings: Settings, cron: CronSettings = DEFAULTS) -> Manifest:
    """Return the CronWorkflow that runs ``penstock adapt --once`` on a schedule.

    The pipeline document and its profiles are read from the ConfigMap that ``config_name`` names.
    A tick that fails is not repeated, the next one sees newer load; one whose pod was lost is,
    once.

    Raises:
        ManifestError: Argo would not run it; all that is wrong, each with its path.
    """
    try:
        deadline = deadline_s(shortest_gap_s(cron.schedule))
    except DomainError as err:
        raise ManifestError(f"spec.schedules[0]: {err}") from err
    workflow = CronWorkflow(
        name=cron_name(pipeline.name),
        namespace=pipeline.namespace,
        labels=pod_labels(pipeline.name, TICK),
        schedules=[cron.schedule],
        timezone=cron.time_zone,
        cron_suspend=cron.suspend,
        concurrency_policy="Forbid",
        starting_deadline_seconds=cron.starting_deadline_s,
        successful_jobs_history_limit=cron.successful_history,
        failed_jobs_history_limit=cron.failed_history,
        stop_strategy=models.StopStrategy(expression=STOP),
        workflow_metadata=models.ObjectMeta(labels=pipeline_labels(pipeline.name)),
        entrypoint=ENTRYPOINT,
        active_deadline_seconds=deadline,
        service_account_name=cron.service_account or tick_account(pipeline.name),
        pod_metadata=models.Metadata(labels=pod_labels(pipeline.name, TICK)),
        security_context=_pod_security(),
        volumes=_volumes(pipeline),
        templates=[_tick(pipeline, settings, cron)],
    )
    manifest: Manifest = workflow.to_dict()
    faults = check_cron(manifest)
    if faults:
        raise ManifestError(
            "\n".join(
                [f"CronWorkflow for pipeline {pipeline.name!r}:", *(f"  {f}" for f in faults)]
            )
        )
    return manifest


def to_yaml(manifest: Mapping[str, Any]) -> str:
    """Return the manifest as YAML; the same manifest gives the same bytes."""
    return _to_yaml([manifest])


def cron_name(pipeline: str) -> str:
    """Return the name of a pipeline's CronWorkflow."""
    return f"penstock-adapt-{pipeline}"


def config_name(pipeline: str) -> str:
    """Return the name of the ConfigMap with ``pipeline.yaml`` and ``profiles.json``."""
    return f"penstock-config-{pipeline}"


def forecaster_name(pipeline: str) -> str:
    """Return the name of the ConfigMap with the trained load predictor, which may be missing."""
    return f"penstock-forecaster-{pipeline}"


def check_cron(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what Argo's controller would refuse and no schema catches, each with its path.

    What a schema does catch may be missed here or come twice; shapes are taken as a schema has
    them, and a field of another shape is left to it.
    """
    return (*_name_faults(manifest), *_spec_faults(_mapping(manifest, "spec")))


def _name_faults(manifest: Mapping[str, Any]) -> Iterator[str]:
    name = _mapping(manifest, "metadata").get("name")
    if not isinstance(name, str) or not name:
        yield "metadata.name: is missing"
        return
    if len(name) > MAX_NAME:
        yield (
            f"metadata.name: must be at most {MAX_NAME} characters, got {len(name)} ({name!r}); "
            f"shorten the pipeline's name by {len(name) - MAX_NAME}"
        )
    if not _NAME.fullmatch(name):
        yield f"metadata.name: only lower case letters, digits, '-' and '.', got {name!r}"


def _spec_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    if "schedule" in spec:
        yield "spec.schedule: no longer known since Argo 4.0; use spec.schedules, a list"
    schedules = spec.get("schedules")
    if not isinstance(schedules, list) or not schedules:
        yield "spec.schedules: must be a list of at least one schedule"
    for i, schedule in enumerate(schedules if isinstance(schedules, list) else ()):
        try:
            shortest_gap_s(str(schedule))
        except DomainError as err:
            yield f"spec.schedules[{i}]: {err}"
    yield from _zone_faults(spec.get("timezone", ""))
    policy = spec.get("concurrencyPolicy", "Allow")
    if policy not in POLICIES:
        yield f"spec.concurrencyPolicy: must be one of {', '.join(POLICIES)}, got {policy!r}"
    for key in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        value = spec.get(key, 0)
        if isinstance(value, int) and value < 0:
            yield f"spec.{key}: must be at least 0, got {value}"
    yield from _workflow_faults(_mapping(spec, "workflowSpec"))


def _zone_faults(zone: object) -> Iterator[str]:
    if zone == "":
        return  # the controller's own zone
    try:
        ZoneInfo(str(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield f"spec.timezone: must be an IANA time zone such as Europe/Berlin, got {zone!r}"


def _workflow_faults(workflow: Mapping[str, Any]) -> Iterator[str]:
    path = "spec.workflowSpec"
    if workflow.get("workflowTemplateRef"):
        return  # the template it names is not at hand
    templates = workflow.get("templates")
    templates = templates if isinstance(templates, list) else []
    names = [t.get("name") for t in templates if isinstance(t, Mapping)]
    entrypoint = workflow.get("entrypoint")
    if not entrypoint:
        yield f"{path}.entrypoint: is missing"
    elif entrypoint not in names:
        known = ", ".join(map(str, names)) or "none"
        yield f"{path}.entrypoint: no template is named {entrypoint!r}; there are: {known}"
    for i, template in enumerate(templates):
        if isinstance(template, Mapping):
            yield from _template_faults(f"{path}.templates[{i}]", template)


def _template_faults(path: str, template: Mapping[str, Any]) -> Iterator[str]:
    kinds = [kind for kind in TEMPLATE_KINDS if kind in template]
    if len(kinds) != 1:
        got = ", ".join(kinds) or "none"
        yield f"{path}: must have one kind of work ({', '.join(TEMPLATE_KINDS)}), got {got}"
    for kind in ("container", "script"):
        if kind in template and not _mapping(template, kind).get("image"):
            yield f"{path}.{kind}.image: is missing"
    yield from metric_faults(path, template)


def _mapping(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = of.get(key)
    return value if isinstance(value, Mapping) else {}


def _tick(pipeline: Pipeline, settings: Settings, cron: CronSettings) -> Container:
    return Container(
        name=ENTRYPOINT,
        image=settings.image,
        image_pull_policy="IfNotPresent",
        command=["penstock"],
        args=[
            *("adapt", f"{CONFIG_FOLDER}/pipeline.yaml", "--once"),
            *("--cluster", "kubernetes", "--out", RESULTS_FOLDER),
        ],
        env=_environment(replace(settings, metrics_folder=NUMBERS_FOLDER)),
        outputs=[
            *(Parameter(**one) for one in output_parameters(pipeline, NUMBERS_FOLDER)),
            *([_decision()] if settings.argo_artifacts else []),
        ],
        metrics=[models.Prometheus(**one) for one in template_metrics(pipeline)],
        resources=models.ResourceRequirements(
            requests={"cpu": cron.cpu_request, "memory": cron.memory_request},
            limits={"cpu": cron.cpu_limit, "memory": cron.memory_limit},
        ),
        security_context=_container_security(),
        volume_mounts=[
            models.VolumeMount(name="config", mount_path=CONFIG_FOLDER, read_only=True),
            models.VolumeMount(name="tmp", mount_path="/tmp"),
        ],
        retry_strategy=models.RetryStrategy(
            limit="1",
            retry_policy="OnError",
            backoff=models.Backoff(duration="2s"),
        ),
    )


def _decision() -> Artifact:
    """Return the tick's decision as Argo keeps it; a tick that failed early has none."""
    return Artifact(
        name="decision-record",
        path=str(Layout(root=Path(RESULTS_FOLDER), spec=Path()).decision),
        archive=NoneArchiveStrategy(),
        optional=True,
    )


def _environment(settings: Settings) -> list[models.EnvVar]:
    return [models.EnvVar(name=k, value=v) for k, v in pod_environment(settings).items()]


def _volumes(pipeline: Pipeline) -> list[models.Volume]:
    config = models.ConfigMapProjection(name=config_name(pipeline.name))
    return [
        models.Volume(
            name="config",
            projected=models.ProjectedVolumeSource(
                sources=[
                    models.VolumeProjection(config_map=config),
                    models.VolumeProjection(config_map=_forecaster(pipeline)),
                ]
            ),
        ),
        models.Volume(name="tmp", empty_dir=models.EmptyDirVolumeSource(size_limit="64Mi")),
    ]


def _forecaster(pipeline: Pipeline) -> models.ConfigMapProjection:
    """Return the load predictor's files, in the folder where a document's own is looked for.

    Without one the tick forecasts the window's maximum, so the ConfigMap may be missing.
    """
    return models.ConfigMapProjection(
        name=forecaster_name(pipeline.name),
        optional=True,
        items=[
            models.KeyToPath(key=name, path=f"forecaster/{name}")
            for name in (CARD_FILE, MODEL_FILE)
        ],
    )


def _pod_security() -> models.PodSecurityContext:
    return models.PodSecurityContext(
        run_as_non_root=True,
        run_as_user=65532,
        run_as_group=65532,
        fs_group=65532,
        seccomp_profile=models.SeccompProfile(type="RuntimeDefault"),
    )


def _container_security() -> models.SecurityContext:
    return models.SecurityContext(
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        run_as_non_root=True,
        capabilities=models.Capabilities(drop=["ALL"]),
        seccomp_profile=models.SeccompProfile(type="RuntimeDefault"),
    )
