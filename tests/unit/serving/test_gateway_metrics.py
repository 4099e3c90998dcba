from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.domain import Slo
from serving import gateway
from serving.gateway_metrics import GatewayMetrics


def value(metrics: GatewayMetrics, name: str) -> float | None:
    families = text_string_to_metric_families(metrics.render().decode())
    found = [s.value for family in families for s in family.samples if s.name == name]
    return found[0] if found else None


def test_what_is_slow_or_failed_misses_the_slo() -> None:
    metrics = GatewayMetrics("p", "n")
    metrics.hold_to(Slo(latency_s=0.37, quantile=0.95))
    for status, seconds in ((200, 0.36), (200, 0.37), (200, 0.38), (503, 0.01), (400, 0.01)):
        metrics.answered(status, seconds)
    assert value(metrics, "penstock_slo_misses_total") == 2
    assert value(metrics, "penstock_slo_latency_seconds") == 0.37
    assert value(metrics, "penstock_slo_quantile_ratio") == 0.95


def test_without_an_slo_nothing_is_said_of_one() -> None:
    metrics = GatewayMetrics("p", "n")
    metrics.hold_to(None)
    metrics.answered(500, 9.0)
    assert value(metrics, "penstock_slo_misses_total") is None
    assert value(metrics, "penstock_requests_total") == 1


def test_an_slo_that_makes_no_sense_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--pipeline", "p", "--upstream", "http://127.0.0.1:9", "--port", "0"]
    assert gateway.main([*asked, "--slo-s", "0.5", "--slo-quantile", "99"]) == 2
    assert "--slo-s and --slo-quantile" in capsys.readouterr().err
