"""What surrounds a pipeline: where things are, which images run, how long to wait.

A pipeline document says what a pipeline *is* and is the same everywhere; settings say where it
runs. They come from the environment (``PENSTOCK_…``), so that a pod, a laptop and CI set them
alike. Secrets are not settings: a back-end reads them itself, from the variables its module names,
and never shows them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from penstock.errors import SpecError

IMAGE = "ghcr.io/penstock/penstock:0.1.0"
PREDICTOR_IMAGE = "ghcr.io/penstock/penstock-predictor:0.1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where a pipeline runs."""

    image: str = IMAGE
    """The control image, for the tick and the components. The tag is the version of this
    checkout."""
    predictor_image: str = PREDICTOR_IMAGE
    """The image of the serving pods and the gateway; the smaller one, since a new replica waits
    until its node has it."""
    store: str = ""
    """Artifact store: a folder or ``s3://bucket/prefix``; empty is ``<out>/store``, which needs
    nothing installed."""
    schemas: Path | None = None
    """Folder of CRD files (KServe, Argo) that manifests are held against; none skips that check
    off a cluster."""
    prometheus_url: str = ""
    """Where load is read on a cluster; the local cluster's own gateway needs none."""
    solver: str = "auto"
    """``frontier``, ``mip`` (GLPK where ``glpsol`` is, else HiGHS), ``glpk``, ``highs`` or
    ``exhaustive``; ``auto`` takes what is fastest and exact for the problem's size."""
    solver_time_limit_s: float = 10.0
    """A tick must end before the next one; plans of ten stages take a fraction of a second."""
    ready_timeout_s: float = 120.0
    """How long a new variant may take to become ready before the switch is taken back."""
    settle_s: float | None = None
    """How long a router that was replaced still finishes what it has, before a service it named
    goes; empty takes what the cluster's routers need: 35 s with KServe, none on this machine."""
    quarantine_s: float = 600.0
    """For how long a variant that did not come up is not tried again."""
    edits: str = "revert"
    """``revert`` what somebody else changed in fields of the plan, or ``respect`` it for as long as
    the plan does not change that field."""
    metrics_port: int = 0
    """Where `penstock adapt` serves its own ``/metrics``; 0 for not at all."""
    metrics_folder: str = ""
    """Where a tick leaves its numbers, one file each, when it serves none: Argo takes them up."""
    argo_artifacts: bool = False
    """``on``: Argo keeps each tick's decision as an output artifact. It needs the artifact
    repository that an installation with Kubeflow has; without one every tick would fail."""
    autoscaling: str = "fixed"
    """Who owns the replicas between two ticks. ``fixed`` (or ``none``, the older word): the plan
    alone; ``hpa``: KServe's HPA within the plan's band, by CPU; ``keda``: KEDA within that band, by
    the arrivals that ``prometheus_url`` tells; ``external``: penstock, on the Deployments, and
    whoever else within that band."""
    service_account: str = "penstock"
    """Service account of the serving pods: it is the one that may read the artifact store's
    secret."""
    shared: Path | None = None
    """Folder of public data sets (load trace, Fashion-MNIST); without it the project's generators
    serve."""


VARIABLES: Mapping[str, str] = {f.name: f"PENSTOCK_{f.name.upper()}" for f in fields(Settings)}


_NOT_IN_PODS = ("schemas", "shared", "metrics_port", "argo_artifacts")


def pod_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that set in a pod what means something there; none is a secret."""
    found = {f.name: getattr(settings, f.name) for f in fields(settings)}
    return {
        VARIABLES[name]: str(value)
        for name, value in found.items()
        if name not in _NOT_IN_PODS and value is not None and str(value)
    }


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read settings from environment variables.

    Raises:
        SpecError: with every variable that can't be used.
    """
    found: dict[str, Any] = {}
    faults: list[str] = []
    for name, variable in VARIABLES.items():
        text = environment.get(variable, "").strip()
        if not text:
            continue
        try:
            found[name] = _READERS.get(name, str)(text)
        except ValueError as err:
            faults.append(f"{variable}: {err}")
    if faults:
        raise SpecError("environment", faults)
    return Settings(**found)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 86_400:
        raise ValueError(f"must be seconds above 0 and below a day, got {text}")
    return value


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 65_536):
        raise ValueError(f"must be a port from 0 to 65535, got {text!r}")
    return int(text)


def _switch(text: str) -> bool:
    known = {"on": True, "off": False}
    if text not in known:
        raise ValueError(f"must be one of {', '.join(known)}, got {text!r}")
    return known[text]


def _one_of(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"must be one of {', '.join(known)}, got {text!r}")
        return text

    return read


def _autoscaling(text: str) -> str:
    known = _one_of("fixed", "none", "hpa", "keda", "external")(text)
    return "fixed" if known == "none" else known


def _folder(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_dir():
        raise ValueError(f"must be a folder, and {text!r} is none")
    return path


_READERS: Mapping[str, Callable[[str], Any]] = {
    "schemas": _folder,
    "shared": _folder,
    "solver": _one_of("auto", "frontier", "mip", "glpk", "highs", "exhaustive"),
    "argo_artifacts": _switch,
    "autoscaling": _autoscaling,
    "solver_time_limit_s": _seconds,
    "ready_timeout_s": _seconds,
    "settle_s": _seconds,
    "quarantine_s": _seconds,
    "metrics_port": _port,
    "edits": _one_of("revert", "respect"),
}
