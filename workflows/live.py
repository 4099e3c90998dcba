"""One live run: a plan on the local cluster, real load over HTTP, and what was seen of it.

The load generator is a process of its own, so that neither the ticks nor the bookkeeping here delay
a request. Latency is counted from the time a request was due.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.steps.measure import REQUESTS
from penstock.clock import RealClock
from penstock.cores import usable_cores
from penstock.dataset import LabelledRequest, read_dataset
from penstock.domain import Pipeline, Plan, ProfileTable
from penstock.errors import NotReadyError, UserError
from penstock.progress import Progress, Report, silent
from profiles.scoring import SCORERS
from serving.cluster.local import LocalCluster
from serving.loadgen import read_samples
from serving.run_plan import apply_plan
from workflows import wiring
from workflows.adapt import adapt
from workflows.recorded import (
    Recording,
    Request,
    RunInfo,
    Sample,
    StageState,
    Tick,
)

if TYPE_CHECKING:
    from penstock.settings import Settings
    from workflows.layout import Layout

SAMPLE_S = 0.5
WARM_UP_S = 2
ENDING_S = 60.0
"""How long requests may still be answered after the load's end; then the generator is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is run: the first plan, the load [req/s] in each second, and whether the plan changes.

    Without a plan it is the load alone, on what runs already.
    """

    name: str
    plan: Plan | None = None
    curve_rps: tuple[float, ...]
    adaptive: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Where it runs: the pipeline, what is known of it, and the labelled requests to send."""

    pipeline: Pipeline
    table: ProfileTable
    layout: Layout
    settings: Settings
    requests: Sequence[LabelledRequest]


def open_stand(pipeline: Pipeline, layout: Layout, settings: Settings) -> Stand:
    """Return where a pipeline runs, with its profiles and its held-out requests.

    Raises:
        PenstockError: profiles or requests are missing or broken.
    """
    return Stand(
        pipeline=pipeline,
        table=wiring.profile_table(layout),
        layout=layout,
        settings=settings,
        requests=read_dataset(layout.needed("dataset") / REQUESTS),
    )


def run_live(run: Run, stand: Stand, *, report: Report = silent) -> Recording:
    """Serve the plan, put the load on it, adapt if asked to, and return all that was seen.

    Raises:
        PenstockError: the plan could not be served, or the load generator failed.
    """
    if run.plan is None:
        raise UserError(f"run {run.name!r} needs a first plan")
    began_s = time.time()
    with wiring.local_cluster(stand.layout, name=f"cluster-{run.name}") as cluster:
        start(run.plan, stand, cluster)
        folder = stand.layout.root / f"cluster-{run.name}" / "load"
        folder.mkdir(parents=True, exist_ok=True)
        _load(cluster, stand, folder, _warm_up(run, stand.pipeline), silent)
        ticks: list[Tick] = []
        samples: list[Sample] = []
        with sampling(cluster, stand.pipeline, samples), ticking(run, stand, cluster, ticks):
            totals = _load(cluster, stand, folder, run, report)
    started_s = float(totals["started_s"])
    return Recording(
        info=RunInfo(
            run=run.name,
            pipeline=stand.pipeline.name,
            slo_s=stand.pipeline.slo.latency_s,
            quantile=stand.pipeline.slo.quantile,
            duration_s=float(len(run.curve_rps)),
            wall_seconds=time.time() - began_s,
            solver=run.plan.solver,
            load_curve_rps=run.curve_rps,
            seed=run.seed,
        ),
        requests=_requests(folder, stand.requests),
        timeline=tuple(replace(s, time_s=s.time_s - started_s) for s in samples),
        ticks=tuple(replace(t, time_s=t.time_s - started_s) for t in ticks),
    )


def start(plan: Plan, stand: Stand, cluster: LocalCluster) -> None:
    """Put a first plan on the cluster and note it as the running one.

    Raises:
        NotReadyError: it did not get ready; the message says what is missing.
    """
    settings = wiring.tick_settings(stand.layout, stand.settings)
    report = apply_plan(plan, stand.pipeline, cluster, settings, clock=RealClock())
    if not report.ok:
        raise NotReadyError(f"the first plan could not be served: {report.error}")


def load_running(stand: Stand, run: Run, *, report: Report = silent) -> tuple[Request, ...]:
    """Put a load on the local cluster as it runs, and return every request with its score.

    Raises:
        NotFoundError: the pipeline does not run there.
    """
    cluster = LocalCluster(stand.layout.cluster)
    folder = stand.layout.root / "load"
    folder.mkdir(parents=True, exist_ok=True)
    _load(cluster, stand, folder, run, report)
    return _requests(folder, stand.requests)


@contextmanager
def ticking(run: Run, stand: Stand, cluster: LocalCluster, ticks: list[Tick]) -> Iterator[None]:
    """Adapt every ``interval_s`` for the time of a ``with`` block; nothing when not asked to."""
    if not run.adaptive:
        yield
        return
    ports = wiring.make_ports(stand.pipeline, stand.layout, stand.settings, cluster, ticks.append)
    settings = wiring.tick_settings(stand.layout, stand.settings)

    def tick() -> None:
        adapt(stand.pipeline, stand.table, ports, settings)

    with every(stand.pipeline.adaptation.interval_s, tick):
        yield


@contextmanager
def sampling(cluster: LocalCluster, pipeline: Pipeline, samples: list[Sample]) -> Iterator[None]:
    """Note what runs, twice a second, for the time of a ``with`` block."""
    with every(SAMPLE_S, lambda: samples.append(observe(cluster, pipeline))):
        yield


@contextmanager
def every(interval_s: float, act: Callable[[], object]) -> Iterator[None]:
    """Call ``act`` every ``interval_s`` in a thread; its first error ends that and is raised."""
    ended = threading.Event()

    def loop() -> None:
        due_s = time.monotonic()
        while not ended.is_set():
            act()
            due_s = max(due_s + interval_s, time.monotonic())
            ended.wait(due_s - time.monotonic())

    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(loop)
        try:
            yield
        finally:
            ended.set()
        future.result()


def observe(cluster: LocalCluster, pipeline: Pipeline) -> Sample:
    """Return what runs now: the variant that each step of the graph names, and all processes."""
    graph = cluster.get("InferenceGraph", pipeline.namespace, pipeline.name) or {}
    nodes = graph.get("spec", {}).get("nodes", {}).values()
    called = {
        step.get("name"): step["serviceName"]
        for node in nodes
        for step in node.get("steps", [])
        if step.get("serviceName")
    }
    usage = cluster.replica_usage()
    stages = {}
    for stage in pipeline.stages:
        service = called.get(stage.name)
        if service is None:
            continue
        replicas = [one for one in usage if one.service == service and not one.draining]
        stages[stage.name] = StageState(
            variant=service.removeprefix(f"{pipeline.name}-{stage.name}-"),
            replicas=len(replicas),
            ready=sum(one.ready for one in replicas),
        )
    return Sample(time_s=time.time(), stages=stages, cost_cores=sum(one.cpu_cores for one in usage))


def _warm_up(run: Run, pipeline: Pipeline) -> Run:
    """Return the load that comes before what is recorded: caches, connections, a full window."""
    window_s = pipeline.adaptation.step_s * pipeline.adaptation.window_steps
    seconds = math.ceil(window_s) + 1 if run.adaptive else WARM_UP_S
    return replace(run, name="warm up", curve_rps=(run.curve_rps[0],) * seconds)


def _load(
    cluster: LocalCluster, stand: Stand, folder: Path, run: Run, report: Report
) -> Mapping[str, Any]:
    """Run the load generator to its end and return its totals."""
    bodies, curve = folder / "bodies.jsonl", folder / "curve.txt"
    bodies.write_bytes(b"\n".join(request.body for request in stand.requests))
    curve.write_text("\n".join(map(repr, run.curve_rps)))
    pipeline = stand.pipeline
    url = (
        f"{cluster.gateway_url(pipeline.name, pipeline.namespace)}/v2/models/{pipeline.name}/infer"
    )
    command = [
        *(sys.executable, "-m", "serving.loadgen", "--url", url),
        *("--bodies", str(bodies), "--curve", str(curve), "--seed", str(run.seed)),
        *("--out", str(folder / "requests.csv"), "--answers", str(folder / "answers.jsonl")),
        *("--cpu-affinity", _first_core()),
    ]
    with (folder / "errors.log").open("w+") as errors:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process:
            try:
                last = _follow(process, run, report)
            finally:
                process.kill()
        errors.seek(0)
        if process.returncode != 0 or "started_s" not in last:
            raise UserError(f"the load generator failed: {errors.read().strip()[-500:]}")
    return last


def _first_core() -> str:
    """Return the core that the local cluster leaves to the control plane; none where unknown."""
    return next(map(str, usable_cores()), "")


def _follow(process: subprocess.Popen[str], run: Run, report: Report) -> Mapping[str, Any]:
    last: Mapping[str, Any] = {}
    total = len(run.curve_rps)
    watchdog = threading.Timer(total + ENDING_S, process.kill)
    watchdog.start()
    try:
        for line in process.stdout or ():
            last = json.loads(line)
            if "second" in last:
                report(Progress(step=run.name, done=last["second"], total=total, note=_note(last)))
        process.wait()
    finally:
        watchdog.cancel()
    report(Progress(step=run.name, done=total, total=total, note=f"{last.get('lost')} lost"))
    return last


def _note(second: Mapping[str, Any]) -> str:
    p99_s = second.get("p99_s")
    tail = "" if p99_s is None else f", p99 {p99_s * 1e3:.0f} ms"
    return f"{second['answered']} answered, {second['lost']} lost{tail}"


def _requests(folder: Path, labelled: Sequence[LabelledRequest]) -> tuple[Request, ...]:
    """Return every request with its score: how many of its items were found and named rightly."""
    answers = {
        (row["scheduled_s"], row["index"]): row["answer"]
        for row in map(json.loads, (folder / "answers.jsonl").read_text().splitlines())
    }
    requests = []
    for sample in read_samples(folder / "requests.csv"):
        label = labelled[sample.index]
        answer = None if sample.lost else answers.get((sample.scheduled_s, sample.index))
        requests.append(
            Request(
                scheduled_s=sample.scheduled_s,
                latency_s=None if sample.lost else sample.latency_s,
                status=sample.status,
                index=sample.index,
                correct=_correct(answer, label) if answer is not None else 0,
                total=len(label.labels),
            )
        )
    return tuple(requests)


def _correct(answer: str, label: LabelledRequest) -> int:
    outputs = {o["name"]: o["data"] for o in json.loads(answer)["outputs"]}
    return SCORERS["pipeline"](outputs, label).correct
