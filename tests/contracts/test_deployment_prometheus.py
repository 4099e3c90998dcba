"""The scrape configuration of the dev overlay on a real Prometheus, with a real gateway behind it.

Which pods there are is told by hand, with the labels that Kubernetes' discovery would give.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from optimizer.promql import preset_query
from tests.prometheus import prometheus

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "manifests" / "overlays" / "dev" / "prometheus.yml"
META = "__meta_kubernetes_"
WAIT_S = 20.0


def pod(address: str, name: str, *, container: str, port: int, **labels: str) -> dict[str, Any]:
    """Return what discovery says of one port of a pod; ``labels`` are the pod's own."""
    known = {
        f"{META}namespace": "shop",
        f"{META}pod_name": name,
        f"{META}pod_phase": "Running",
        f"{META}pod_container_name": container,
        f"{META}pod_container_port_number": str(port),
        f"{META}pod_label_app_kubernetes_io_managed_by": "penstock",
    }
    return {"targets": [address], "labels": known | {META + k: v for k, v in labels.items()}}


@contextmanager
def gateway() -> Iterator[str]:
    command = [sys.executable, "-m", "serving.gateway", "--pipeline", "digits", "--port", "0"]
    command += ["--namespace", "shop", "--upstream", "http://127.0.0.1:9/"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield f"127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        finally:
            process.terminate()


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.loads(answer.read())["data"]


def test_the_load_is_found_where_the_dev_overlay_scrapes_it(tmp_path: Path) -> None:
    config = yaml.safe_load(CONFIG.read_text())
    with gateway() as address:
        found = [
            pod(
                address, "gw", container="gateway", port=8080, pod_label_penstock_dev_role="gateway"
            ),
            pod(
                address,
                "gw2",
                container="gateway",
                port=9999,
                pod_label_penstock_dev_role="gateway",
            ),
            pod(address, "new", container="gateway", port=8080, pod_phase="Pending"),
            pod(
                address,
                "digits-locate-small-predictor-1",
                container="kserve-container",
                port=8080,
                pod_label_serving_kserve_io_inferenceservice="digits-locate-small",
            ),
            pod(address, "adapt", container="tick", port=9102, pod_label_penstock_dev_role="tick"),
            pod(
                address,
                "stranger",
                container="gateway",
                port=8080,
                pod_label_penstock_dev_role="gateway",
                pod_label_app_kubernetes_io_managed_by="somebody",
            ),
        ]
        for job in config["scrape_configs"]:
            assert job.pop("kubernetes_sd_configs") == [
                {"role": "pod", "namespaces": {"own_namespace": True}}
            ]
            job["static_configs"] = found
            job["scrape_interval"] = job["scrape_timeout"] = "1s"
        with prometheus(tmp_path, {}, config=config) as server:
            query = preset_query("gateway", name="digits", namespace="shop", range_s=10.0)
            ends_s = time.monotonic() + WAIT_S
            result: list[Any] = []
            while time.monotonic() < ends_s and (not result or float(result[0]["value"][1]) == 0):
                with pytest.raises(urllib.error.HTTPError, match="502"):
                    urllib.request.urlopen(f"http://{address}/", data=b"{}", timeout=5)
                time.sleep(0.2)
                result = get(f"http://{server}/api/v1/query?{urlencode({'query': query})}")[
                    "result"
                ]
            assert result
            assert float(result[0]["value"][1]) > 0
            other = preset_query("gateway", name="digits", namespace="other", range_s=10.0)
            assert not get(f"http://{server}/api/v1/query?{urlencode({'query': other})}")["result"]
            active = get(f"http://{server}/api/v1/targets?state=active")["activeTargets"]
    scraped = {(t["labels"]["job"], t["labels"]["pod"], t["labels"].get("service")) for t in active}
    assert scraped == {
        ("penstock-gateway", "gw", None),
        ("penstock-predictor", "digits-locate-small-predictor-1", "digits-locate-small"),
        ("penstock-tick", "adapt", None),
    }
    assert {t["labels"]["namespace"] for t in active} == {"shop"}
