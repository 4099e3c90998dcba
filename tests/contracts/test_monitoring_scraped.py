"""Every panel and every rule on a real Prometheus that scrapes the real exporters.

The gateway and the predictors run as processes, the ticks in this one, and Prometheus finds them
by the labels that their pods get and the pod monitors' own relabelling. Argo's controller is not
here: what it would export of a template's metrics is written by ``tests.argo_metrics``.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from penstock.settings import Settings
from serving.names import STAGE, VARIANT, pod_labels, service_name
from serving.services import inference_service
from serving.settings import RenderSettings
from tests.argo_metrics import exposition
from tests.monitoring import (
    alerts,
    discovered,
    groups,
    metric_names,
    monitors,
    panels,
    recorded,
    scrape_config,
)
from tests.prometheus import SCRAPE_MS, answering, prometheus, say
from tests.served_models import lookup_artifact
from tests.ticks import calm, ports, tick
from workflows.cron import make_cron
from workflows.deployment import METRICS_PORT
from workflows.gateway_manifests import gateway
from workflows.metrics import TickMetrics
from workflows.numbers import write_numbers
from workflows.recorded import Tick

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
NAMESPACE, ARGO = "default", "argo"
ANSWERED_S = 30.0
BODY = json.dumps(
    {"inputs": [{"name": "index", "datatype": "INT64", "shape": [1], "data": [1]}]}
).encode()
PIPELINE = calm()
RENDER = RenderSettings(image="penstock:test", store_uri="s3://models")


@dataclass(frozen=True)
class Stand:
    """A Prometheus, and the address of each kind of exporter that it scrapes."""

    url: str
    exporters: Mapping[str, str]

    def ask(self, path: str, **query: str) -> Any:
        address = f"http://{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return json.load(answer)["data"]

    def values(self, query: str) -> list[float]:
        found = self.ask("query", query=query)["result"]
        return [float(one["value"][1]) for one in found]


def launch(stack: ExitStack, module: str, *options: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--port", "0", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.callback(process.wait, timeout=20)
    stack.callback(process.terminate)
    return process


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    with process.stdout:
        return f"127.0.0.1:{json.loads(process.stdout.readline())['port']}"


def post(url: str) -> None:
    with suppress(OSError), urllib.request.urlopen(url, data=BODY, timeout=5):
        pass


@contextmanager
def busy(work: Callable[[], None]) -> Iterator[None]:
    """Do a piece of work over and over for the time of the block."""
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.1):
            work()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def predictors(stack: ExitStack, folder: Path) -> dict[str, str]:
    """Start a replica of each stage's first variant; addresses by the name of the service."""
    artifact = lookup_artifact(folder / "model")
    limits = folder / "batch.json"
    limits.write_text('{"max_batch_size": 2, "max_wait_s": 0.001}')
    started = {}
    for stage in PIPELINE.stages:
        name = service_name(PIPELINE.name, stage.name, stage.variants[0].name)
        options = ("--model-dir", str(artifact), "--model-name", name, "--drain-s", "0")
        process = launch(stack, "serving.predictor", *options, "--batch-file", str(limits))
        started[name] = process
    return {name: address_of(process) for name, process in started.items()}


def gateway_pod() -> tuple[dict[str, str], dict[str, Any]]:
    """Return the labels and the container that a gateway's pod gets."""
    deployment, *_ = gateway(
        PIPELINE, Settings(image="penstock:test", store="s3://models"), replicas=1
    )
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    return template["metadata"]["labels"], container


def predictor_pod(name: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the labels and the container that KServe gives a service's pod."""
    plan = tick(PIPELINE, ports([20, 20, 20])).target
    assert plan is not None
    for stage, option in zip(PIPELINE.stages, plan.stages, strict=True):
        made = inference_service(PIPELINE, stage, option, RENDER)
        labels = made["metadata"]["labels"] | {VARIANT: stage.variants[0].name}
        if name == service_name(PIPELINE.name, labels[STAGE], labels[VARIANT]):
            (container,) = made["spec"]["predictor"]["containers"]
            return labels | {"serving.kserve.io/inferenceservice": name}, container
    raise AssertionError(name)


def found(
    address: str, pod: str, labels: Mapping[str, str], container: Mapping[str, Any]
) -> dict[str, Any]:
    (port,) = (one["containerPort"] for one in container["ports"])
    known = {"pod": pod, "namespace": NAMESPACE, "container": container["name"], "port": port}
    return {"targets": [address], "labels": discovered(labels, **known)}


def gateway_options(container: Mapping[str, Any]) -> list[str]:
    """Return the SLO as the manifest gives it to the gateway."""
    given = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    return [word for key in ("--slo-s", "--slo-quantile") for word in (key, given[key])]


def by_argo(record: Tick, folder: Path) -> str:
    """Return what Argo's controller would export of a tick."""
    write_numbers(folder, record, PIPELINE, now_s=time.time())
    (template,) = make_cron(PIPELINE, Settings())["spec"]["workflowSpec"]["templates"]
    for one in template["outputs"]["parameters"]:
        one["valueFrom"]["path"] = f"{folder}/{one['name']}"
    return exposition(template).replace(
        f'pipeline_namespace="{NAMESPACE}"', 'pipeline_namespace="by-argo"'
    )


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("monitoring")
    metrics, around = TickMetrics(PIPELINE), ports([20, 20, 20])
    argo_says = by_argo(tick(PIPELINE, around), folder / "numbers")
    with ExitStack() as stack:
        replicas = predictors(stack, folder)
        entry = next(f"http://{a}/v2/models/{n}/infer" for n, a in replicas.items())
        labels, container = gateway_pod()
        face = address_of(
            launch(
                stack,
                "serving.gateway",
                *("--pipeline", PIPELINE.name, "--namespace", NAMESPACE, "--upstream", entry),
                *gateway_options(container),
            )
        )
        watched = f"127.0.0.1:{stack.enter_context(metrics.served(0))}"
        argo = stack.enter_context(answering(lambda asked: say(asked, argo_says.encode())))
        tick_container = {"name": "tick", "ports": [{"containerPort": METRICS_PORT}]}
        controller = {"name": "workflow-controller", "ports": [{"containerPort": 9090}]}
        targets = [
            found(face, "gateway-0", labels, container),
            found(watched, "tick-0", pod_labels(PIPELINE.name, "tick"), tick_container),
            found(argo, "argo-0", {"app": "workflow-controller"}, controller),
            *(found(a, f"{n}-0", *predictor_pod(n)) for n, a in replicas.items()),
        ]
        (folder / "rules.json").write_text(json.dumps({"groups": groups()}))
        often = f"{SCRAPE_MS}ms"
        config = {
            "global": {
                "scrape_interval": often,
                "scrape_timeout": often,
                "evaluation_interval": often,
            },
            "rule_files": [str(folder / "rules.json")],
            "scrape_configs": [
                scrape_config(one, ARGO if name == "penstock-argo" else NAMESPACE)
                | {"static_configs": targets}
                for name, one in monitors().items()
            ],
        }
        url = stack.enter_context(prometheus(folder, {}, config=config))
        others = [f"http://{a}/v2/models/{n}/infer" for n, a in list(replicas.items())[1:]]

        def work() -> None:
            metrics.observe(tick(PIPELINE, around), now_s=time.time())
            for url in (f"http://{face}/", *others):
                post(url)

        stack.enter_context(busy(work))
        replica = next(iter(replicas.values()))
        yield Stand(url, {"gateway": face, "tick": watched, "predictor": replica})


def until(condition: Callable[[], bool]) -> bool:
    ends_s = time.monotonic() + ANSWERED_S
    while not condition():
        if time.monotonic() > ends_s:
            return False
        time.sleep(0.25)
    return True


def filled(query: str, namespace: str = NAMESPACE) -> str:
    """Return a panel's query as Grafana sends it."""
    chosen = {"$namespace": namespace, "$pipeline": PIPELINE.name, "$__rate_interval": "10s"}
    for name, value in chosen.items():
        query = query.replace(name, value)
    return query


def a_number(stand: Stand, query: str) -> bool:
    return not all(math.isnan(value) for value in stand.values(query))


def test_each_monitor_finds_its_pods_and_no_others(stand: Stand) -> None:
    def scraped() -> dict[str, int]:
        counts: dict[str, int] = {}
        for one in stand.ask("targets", state="active")["activeTargets"]:
            if one["health"] == "up":
                counts[one["labels"]["job"]] = counts.get(one["labels"]["job"], 0) + 1
        return counts

    wanted = {
        f"{NAMESPACE}/penstock-gateway": 1,
        f"{NAMESPACE}/penstock-predictor": 2,
        f"{NAMESPACE}/penstock-tick": 1,
        f"{ARGO}/penstock-argo": 1,
    }
    assert until(lambda: scraped() == wanted), scraped()


@pytest.mark.parametrize("title", [panel["title"] for panel in panels()])
def test_every_query_of_a_panel_answers_with_a_number(stand: Stand, title: str) -> None:
    (panel,) = (one for one in panels() if one["title"] == title)
    queries = {one["legendFormat"]: filled(one["expr"]) for one in panel["targets"]}
    assert until(lambda: all(a_number(stand, q) for q in queries.values())), {
        legend: stand.values(query) for legend, query in queries.items()
    }


def test_a_tick_that_argo_runs_fills_the_same_panels(stand: Stand) -> None:
    known = exported(stand.exporters["tick"])
    queries = [
        filled(target["expr"], "by-argo")
        for panel in panels()
        for target in panel["targets"]
        if metric_names(target["expr"]) <= known and "rate(" not in target["expr"]
    ]
    assert len(queries) > 15
    assert until(lambda: all(a_number(stand, q) for q in queries)), [
        query for query in queries if not a_number(stand, query)
    ]


def test_every_rule_is_evaluated_without_an_error(stand: Stand) -> None:
    def health() -> dict[str, str]:
        known = stand.ask("rules")["groups"]
        return {
            rule["name"]: f"{rule['health']} {rule.get('lastError', '')}".strip()
            for group in known
            for rule in group["rules"]
        }

    assert until(lambda: set(health().values()) == {"ok"}), health()
    assert health().keys() == {*alerts(), *recorded()}


def test_a_healthy_stand_raises_no_alert(stand: Stand) -> None:
    raised = {one["labels"]["alertname"] for one in stand.ask("alerts")["alerts"]}
    # The stand runs a replica of one variant, the plan may want others: it would fire in a while.
    assert raised - {"PenstockReplicasMissing"} == set()


def exported(address: str) -> set[str]:
    """Return the names of the series on a /metrics page."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {line.partition("{")[0].partition(" ")[0] for line in lines}


def test_every_metric_in_a_query_is_exported(stand: Stand) -> None:
    known = set().union(*map(exported, stand.exporters.values()))
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    asked += [rule["expr"] for rule in alerts().values()]
    named = set().union(*map(metric_names, asked))
    assert len(named) > 30
    assert named - known == set()
