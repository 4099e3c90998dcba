"""Numbers of a step, as the metrics artifact that the Kubeflow UI shows."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kfp import dsl


def record(scores: Mapping[str, float], metrics: "dsl.Metrics") -> None:
    """Log every score, and write them to the artifact's file.

    The file is not decoration: kfp's local runner never caches a task one of whose artifacts has no
    file.
    """
    for name in sorted(scores):
        metrics.log_metric(name, float(scores[name]))
    path = Path(metrics.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(scores), indent=2, sort_keys=True) + "\n", encoding="utf-8")
