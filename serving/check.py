"""Whether a cluster would take manifests, and whether they would then work: all faults at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.errors import ManifestError
from serving.lint import lint
from serving.schema import schema_faults


def check(manifests: Sequence[Mapping[str, Any]], *, schemas: Path | None = None) -> None:
    """Hold manifests against KServe's admission rules, ours, and the CRDs in a folder if named.

    Raises:
        ManifestError: with every fault and its path.
    """
    faults = [str(finding) for finding in lint(manifests)]
    if schemas is not None:
        faults += schema_faults(manifests, schemas)
    if faults:
        raise ManifestError("these manifests would not work:\n  " + "\n  ".join(faults))
