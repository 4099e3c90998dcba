"""The metric that says how heavy a pipeline's load is.

The gateway exports it, the optimizer reads its rate, and so does whoever scales between two ticks:
all three take its name and its labels from here.
"""

from __future__ import annotations

from string import Template

ARRIVALS = "penstock_arrivals"
"""Name of the gateway's counter; as Prometheus has it, ``_total`` follows."""

ARRIVALS_SELECTOR = Template(f'{ARRIVALS}_total{{pipeline="$name",namespace="$namespace"}}')
"""The series of one pipeline; ``$name`` and ``$namespace`` come later. Two pipelines of one name in
two namespaces are not one load."""


def arrivals_query(pipeline: str, *, namespace: str, range_s: float) -> str:
    """Return the PromQL of the arrivals [req/s] at a pipeline's entry.

    ``range_s`` must span at least two scrapes.
    """
    named = {"name": quoted(pipeline), "namespace": quoted(namespace)}
    return rate_query(ARRIVALS_SELECTOR.substitute(named), range_s=range_s)


def rate_query(selector: str, *, range_s: float) -> str:
    """Return the PromQL of how fast the counters behind a selector grow together [1/s]."""
    return f"sum(rate({selector}[{round(range_s * 1000)}ms]))"


def quoted(text: str) -> str:
    """Return a text as it stands between the quotes of PromQL."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
