"""On what and with what a profile was measured: strings that a person can compare."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from penstock.cores import count_cores
from penstock.domain import ProfilePoint
from profiles.fit import residuals
from profiles.measure import Samples

METHOD = (
    "closed loop over HTTP, one full batch in flight; quantiles by the inverse of the empirical "
    "distribution; throughput is batch size over mean cycle time"
)

_RUNTIME_PACKAGES = ("onnxruntime", "numpy", "aiohttp")
"""What decides the speed of the predictor; read from the environment that profiles it."""


def hardware() -> str:
    """Return CPU model, usable cores and architecture."""
    return f"{cpu_model()}, {count_cores()} cores, {platform.machine()}"


def runtime() -> str:
    """Return the versions of Python and of the packages that the predictor runs on."""
    return ", ".join([f"python {platform.python_version()}", *_versions()])


def how_measured(samples: Sequence[Samples], points: Sequence[ProfilePoint]) -> Mapping[str, str]:
    """Return by which method, why measuring stopped, and which points were only fitted."""
    fitted = [str(p.batch_size) for p in points if p.samples == 0]
    residual = [f"p{100 * q:g} {100 * share:.1f} %" for q, share in residuals(points).items()]
    return {
        "method": METHOD,
        "stopped_by": ", ".join(f"{s.batch_size}: {s.stop}" for s in samples),
        **({"fitted_batch_sizes": ", ".join(fitted)} if fitted else {}),
        **({"quadratic_fit_residual": ", ".join(residual)} if residual else {}),
    }


def _versions() -> Iterator[str]:
    for name in _RUNTIME_PACKAGES:
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue


def cpu_model(source: Path = Path("/proc/cpuinfo")) -> str:
    """Return the CPU's name as Linux tells it, else what the platform knows."""
    try:
        lines = source.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown CPU"
