"""The tick, a component and the predictor, each from the image that a cluster would run."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.settings import read_settings
from penstock.spec import format_pipeline, read_pipeline
from tests.api_http import Call, Served, serve
from tests.containers import Job
from tests.kserve import KServe
from tests.prometheus import SteadyLoad, answering
from tests.served_models import scaling_artifact
from tests.shared_data import shared
from workflows.bootstrap import compile_bootstrap

pytestmark = pytest.mark.image

CONTROL, PREDICTOR = read_settings().image, read_settings().predictor_image
DIGITS = Path(__file__).parents[2] / "examples" / "digits"
LOADS_RPS = (130.0, 145.0)
"""Loads whose best plans differ in replicas alone."""
ANY_ARTIFACT = {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}
LONGEST_S, LARGEST_MB = 2.0, 250.0
ATTEMPTS = 5
"""Other work on the machine makes a tick slower and none makes it quicker: the best one counts."""
MEASURED = """
import json, os, subprocess, sys, time
started_s = time.monotonic()
process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
queued_s = int(open(f"/proc/{process.pid}/schedstat").read().split()[1]) / 1e9
_, status, used = os.wait4(process.pid, 0)
print(json.dumps({
    "started_s": started_s,
    "queued_s": queued_s,
    "cpu_s": used.ru_utime + used.ru_stime,
    "peak_mb": used.ru_maxrss * 1024 / 1e6,
}))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Inside a container and outside, the monotonic clock is the machine's own. ``queued_s`` is how
long, to its end, the tick was ready to go on while others had the cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A tick: ``wall_s`` from its start to its last API call, and what it used to its end."""

    wall_s: float
    queued_s: float
    cpu_s: float
    peak_mb: float

    @property
    def seconds(self) -> float:
        """What it would take with a core of its own: on a quiet machine that is ``wall_s``."""
        return max(self.cpu_s, self.wall_s - self.queued_s)


@dataclass(slots=True, kw_only=True)
class Stand:
    """What a tick talks to, and the job that it is."""

    served: Served
    load: SteadyLoad
    job: Job
    last_call_s: float = 0.0

    def tick(self) -> Run:
        """Run a tick from the image."""
        self.served.forget()
        self.served.fault = self._note
        used = json.loads(self.job.run(CONTROL))
        wall_s = self.last_call_s - used.pop("started_s")
        return Run(wall_s=wall_s, **used)

    @property
    def written(self) -> list[str]:
        """The names of what the last tick wrote."""
        return sorted(
            {call.path.partition("?")[0].rpartition("/")[2] for call in self.served.writes}
        )

    def _note(self, call: Call) -> None:
        self.last_call_s = time.monotonic()


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("tick")
    folder.chmod(0o755)  # the image's user reads it, too
    asked = read_pipeline(DIGITS / "pipeline.yaml")
    calm = replace(asked.adaptation, min_gain=0.0, cooldown_s=0.0)
    roomy = replace(asked, max_cores=4.0, adaptation=calm)
    (folder / "pipeline.yaml").write_text(format_pipeline(roomy))
    (folder / "profiles.json").write_bytes((DIGITS / "profiles.json").read_bytes())
    load = SteadyLoad(LOADS_RPS[0])
    with serve(shared("data/kserve"), on_write=KServe()) as served, answering(load) as address:
        kubeconfig = served.kubeconfig(folder)
        words = ["penstock", "adapt", "/work/pipeline.yaml", "--once", "--cluster", "kubernetes"]
        job = Job(
            entrypoint="python",
            words=["-c", MEASURED, *words, "--out", "/tmp/penstock"],
            folder=folder,
            host_network=True,
            environment={
                "KUBECONFIG": f"/work/{kubeconfig.name}",
                "PENSTOCK_PROMETHEUS_URL": f"http://{address}",
                "PENSTOCK_SETTLE_S": "0.1",
            },
        )
        made = Stand(served=served, load=load, job=job)
        for _ in range(2):  # the first brings the services up, the second finds nothing to do
            made.tick()
        yield made


def test_a_cold_tick_that_changes_nothing_is_quick_and_small(stand: Stand) -> None:
    runs = [stand.tick() for _ in range(ATTEMPTS)]
    assert stand.written == ["penstock-digits"]
    assert min(run.seconds for run in runs) <= LONGEST_S, runs
    assert max(run.peak_mb for run in runs) <= LARGEST_MB, runs


def test_a_cold_tick_that_changes_replicas_is_quick_and_small(stand: Stand) -> None:
    runs = []
    for number in range(ATTEMPTS):
        stand.load.rps = LOADS_RPS[(number + 1) % 2]
        runs.append(stand.tick())
        assert [name for name in stand.written if name.startswith("digits-")], stand.written
    assert min(run.seconds for run in runs) <= LONGEST_S, runs
    assert max(run.peak_mb for run in runs) <= LARGEST_MB, runs


def test_the_command_line_reads_an_example() -> None:
    assert "Usage: penstock" in Job(words=["--help"]).run(CONTROL)
    said = Job(words=["validate", "examples/digits/pipeline.yaml"]).run(CONTROL)
    assert "no fault" in " ".join(said.split())


def test_a_component_plans_with_glpk_as_kubeflow_starts_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "profiles.json").write_bytes((DIGITS / "profiles.json").read_bytes())
    pipeline = read_pipeline(DIGITS / "pipeline.yaml")
    compiled = next(iter(yaml.safe_load_all(compile_bootstrap(pipeline))))
    container = compiled["deploymentSpec"]["executors"]["exec-optimize-plan"]["container"]
    made = compiled["components"]["comp-optimize-plan"]["outputDefinitions"]["artifacts"]
    assert container["image"] == CONTROL
    given = {
        "inputs": {
            "parameterValues": {
                "spec": format_pipeline(pipeline),
                "load_rps": 10.0,
                "solver": "glpk",
            },
            "artifacts": {"profiles": _artifact("profiles", "/work/profiles.json", ANY_ARTIFACT)},
        },
        "outputs": {
            "artifacts": {
                name: _artifact(name, f"/tmp/{name}", one["artifactType"])
                for name, one in made.items()
            },
            "outputFile": "/tmp/executor_output.json",
        },
    }
    args = [json.dumps(given) if word == "{{$}}" else word for word in container["args"]]
    entrypoint, *words = [*container["command"], *args]
    words[1] += "\necho plan:\ncat /tmp/plan\n"
    said = Job(entrypoint=entrypoint, words=words, folder=tmp_path).run(CONTROL)
    plan = json.loads(said.rpartition("plan:\n")[2])
    assert [stage["stage"] for stage in plan["stages"]] == [s.name for s in pipeline.stages]


def test_the_trainers_of_the_examples_can_be_imported() -> None:
    code = "import examples.digits.train, examples.fashion.train; print('imported')"
    assert Job(entrypoint="python", words=["-c", code]).run(CONTROL).strip() == "imported"


def test_the_gateway_runs_from_the_image_of_the_predictors() -> None:
    asked = Job(entrypoint="python", words=["-m", "serving.gateway", "--help"])
    assert "--upstream" in asked.run(PREDICTOR)


def test_the_predictor_answers_and_ends_in_peace(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    scaling_artifact(tmp_path / "model", 3.0)
    words = ["--model-dir", "/work/model", "--model-name", "m", "--port", "0", "--drain-s", "0"]
    job = Job(words=words, folder=tmp_path, host_network=True)
    rows = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}
    with subprocess.Popen(job.command(PREDICTOR), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            assert _ask(port, "GET", "/v2/health/ready")[0] == 200
            status, answer = _ask(port, "POST", "/v2/models/m/infer", {"inputs": [rows]})
        finally:
            process.terminate()
    assert process.returncode == 0
    assert (status, answer["outputs"][0]["data"]) == (200, [3.0, 6.0])


def _artifact(name: str, uri: str, kind: dict[str, str]) -> dict[str, Any]:
    return {"artifacts": [{"name": name, "type": kind, "uri": uri, "metadata": {}}]}


def _ask(port: int, method: str, path: str, document: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body=json.dumps(document) if document else None)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")
    finally:
        connection.close()
