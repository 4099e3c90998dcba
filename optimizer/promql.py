"""PromQL for the arrivals at a pipeline, in each place that may count them."""

from __future__ import annotations

from collections.abc import Mapping
from string import Template
from types import MappingProxyType

from penstock.errors import DomainError
from penstock.load_metric import ARRIVALS_SELECTOR, quoted, rate_query

SELECTORS: Mapping[str, Template] = MappingProxyType(
    {
        "gateway": ARRIVALS_SELECTOR,
        "kserve": Template(
            'request_predict_seconds_count{namespace="$namespace",pod=~"$name(-.*)?-predictor-.*"}'
        ),
        "knative": Template(
            'kn_serving_invocation_duration_seconds_count{k8s_namespace_name="$namespace",'
            'kn_service_name="$name"}'
        ),
        "knative-1.18": Template(
            'revision_request_count{namespace_name="$namespace",service_name="$name"}'
        ),
        "istio": Template(
            'istio_requests_total{reporter="destination",'
            'destination_service_namespace="$namespace",destination_service_name="$name"}'
        ),
    }
)
"""What counts the requests in each metric source; Knative renamed its metrics in 1.19."""


def preset_query(preset: str, *, name: str, namespace: str = "default", range_s: float) -> str:
    """Return the PromQL of a metric source.

    ``name`` is the pipeline (gateway), the entry stage's InferenceService without its variant
    (kserve), or the service in front of the graph (knative, istio). ``range_s`` must span at
    least two scrapes.

    Raises:
        DomainError: there is no such preset.
    """
    return rate_query(_selector(preset, name=name, namespace=namespace), range_s=range_s)


def missing_query(preset: str, *, name: str, namespace: str = "default", range_s: float) -> str:
    """Return the PromQL of how much is missing from the sum of ``preset_query``.

    A pod that is not scraped takes its requests out of a sum, which then looks like a lighter load.
    Counted are the series that there were within ``range_s`` and are not now, and for an hour the
    targets that had such a series and cannot be scraped. A pod that was removed is forgotten after
    ``range_s``, because then it is no target any more.

    Raises:
        DomainError: there is no such preset.
    """
    selector = _selector(preset, name=name, namespace=namespace)
    there = f"count(present_over_time({selector}[{round(range_s * 1000)}ms]))"
    down = f"count((up == 0) and on (job, instance) present_over_time({selector}[1h]))"
    return f"({there} - (count({selector}) or vector(0)) or vector(0)) + ({down} or vector(0))"


def _selector(preset: str, *, name: str, namespace: str) -> str:
    if preset not in SELECTORS:
        raise DomainError(f"no metric source {preset!r}; there are {', '.join(SELECTORS)}")
    return SELECTORS[preset].substitute(name=quoted(name), namespace=quoted(namespace))
