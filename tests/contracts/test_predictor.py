"""The predictor as a process: what clients, KServe and Prometheus may rely on."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.served_models import lookup_artifact, scaling_artifact

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


class Running:
    """A predictor process and a way to ask it."""

    def __init__(self, process, facts):
        self.process = process
        self.port = facts["port"]
        self.facts = facts

    def ask(self, method, path, document=None, *, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        raw = json.dumps(document).encode() if document is not None else body
        try:
            connection.request(method, path, body=raw)
            response = connection.getresponse()
            text = response.read().decode()
            return response.status, text, response.headers
        finally:
            connection.close()

    def look_up(self, *indices):
        tensor = {"name": "index", "datatype": "INT64", "shape": [len(indices)]}
        return self.ask("POST", "/v2/models/m/infer", {"inputs": [{**tensor, "data": indices}]})

    def metric(self, name):
        lines = self.ask("GET", "/metrics")[1].splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(name))

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


def launch(artifact, *options):
    command = [sys.executable, "-m", "serving.predictor", "--model-dir", str(artifact)]
    return subprocess.Popen(
        [*command, "--model-name", "m", "--port", "0", *map(str, options)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition, timeout_s=10.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


@pytest.fixture(scope="module")
def start():
    started = []

    def begin(artifact, *options):
        process = launch(artifact, *options)
        started.append(process)
        return Running(process, json.loads(process.stdout.readline()))

    yield begin
    for process in started:
        process.terminate()
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture(scope="module")
def lookup(tmp_path_factory):
    return lookup_artifact(tmp_path_factory.mktemp("lookup"))


@pytest.fixture(scope="module")
def server(start, lookup, tmp_path_factory):
    limits = tmp_path_factory.mktemp("limits") / "limits.json"
    limits.write_text('{"max_batch_size": 4, "max_wait_s": 1.5}')
    running = start(lookup, "--batch-file", limits, "--drain-s", 0)
    running.limits = limits
    return running


def test_it_answers_with_the_callers_id_and_the_models_name(server):
    request = {
        "id": "7",
        "inputs": [{"name": "index", "datatype": "INT64", "shape": [2], "data": [2, 0]}],
    }
    status, text, _ = server.ask("POST", "/v2/models/m/infer", request)
    answer = json.loads(text)
    assert (status, answer["id"], answer["model_name"]) == (200, "7", "m")
    assert answer["outputs"][0] == {
        "name": "value",
        "datatype": "FP32",
        "shape": [2],
        "data": [30.0, 10.0],
    }


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/v2/models/m", 200),
        ("/v2/models/m/ready", 200),
        ("/v2/models/other", 404),
        ("/v2/models/other/ready", 404),
        ("/nothing", 404),
        ("/v2/models/m/infer", 405),
    ],
)
def test_every_get_path_has_its_status(server, path, status):
    assert server.ask("GET", path)[0] == status


def test_metadata_names_the_tensors(server):
    document = json.loads(server.ask("GET", "/v2/models/m")[1])
    assert document["inputs"] == [{"name": "index", "datatype": "INT64", "shape": [-1]}]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{", ""),
        (b'{"inputs": [{"name": "index"}]}', "inputs[0].datatype"),
        (
            b'{"inputs": [{"name":"i","datatype":"INT64","shape":[1],"data":[1]}]}',
            "inputs.index",
        ),
        (
            b'{"inputs": [{"name":"index","datatype":"FP32","shape":[1],"data":[1]}]}',
            "inputs.index",
        ),
    ],
)
def test_bad_input_is_400_and_names_the_field(server, body, path):
    status, text, _ = server.ask("POST", "/v2/models/m/infer", body=body)
    assert (status, json.loads(text)["path"]) == (400, path)


def test_an_unknown_model_is_404(server):
    assert server.ask("POST", "/v2/models/other/infer", body=b"{}")[0] == 404


def test_a_body_over_the_limit_is_413(server):
    assert server.ask("POST", "/v2/models/m/infer", body=b" " * (8 * 2**20 + 1))[0] == 413


def test_a_request_the_model_fails_on_hurts_only_itself(server):
    batches = server.metric("penstock_predictor_batch_size_count")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(server.look_up, [0, 1, 99, 2]))
    assert [status for status, _, _ in answers] == [200, 200, 500, 200]
    assert "model failed" in json.loads(answers[2][1])["error"]
    assert server.metric("penstock_predictor_batch_size_count") == batches + 1


def test_the_batch_limit_follows_the_file_without_a_restart(server):
    server.limits.write_text("not JSON")
    wait_until(lambda: server.metric("penstock_predictor_batch_file_faults") == 1)
    assert server.metric("penstock_predictor_max_batch_size") == 4
    server.limits.write_text('{"max_batch_size": 2, "max_wait_s": 0}')
    wait_until(lambda: server.metric("penstock_predictor_max_batch_size") == 2)


def test_a_full_queue_answers_503_and_when_to_come_back(start, lookup):
    slow = start(lookup, "--cpu-cores", 0.01, "--max-queue", 1, "--drain-s", 0)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(slow.look_up, [0] * 12))
    statuses = [status for status, _, _ in answers]
    assert set(statuses) == {200, 503}
    refused = answers[statuses.index(503)]
    assert refused[2]["Retry-After"] == "1"


def test_what_was_accepted_is_answered_after_sigterm(start, lookup, tmp_path):
    limits = tmp_path / "limits.json"
    limits.write_text('{"max_batch_size": 8, "max_wait_s": 1.0}')
    running = start(lookup, "--batch-file", limits, "--drain-s", 0.3)
    with ThreadPoolExecutor(2) as pool:
        accepted = pool.submit(running.look_up, 1)
        time.sleep(0.3)
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        assert running.ask("GET", "/v2/health/ready")[0] == 503
        late = pool.submit(running.look_up, 2)
        assert accepted.result()[0] == 200
        assert late.result()[0] == 200
    assert running.process.wait(timeout=10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_0_when_told(start, lookup, number):
    assert start(lookup, "--drain-s", 0).end(number) == 0


def test_a_second_signal_cuts_the_drain_short(start, lookup):
    running = start(lookup, "--drain-s", 60)
    running.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert running.end(signal.SIGINT) == 0


def test_it_ends_when_its_parent_is_gone(start, lookup):
    running = start(lookup, "--parent-pid", 2**22 + 1, "--drain-s", 0)
    assert running.process.wait(timeout=10) == 0


def test_it_keeps_to_its_share_of_a_core(start, tmp_path):
    running = start(scaling_artifact(tmp_path, 2.0), "--cpu-cores", 0.2, "--drain-s", 0)
    tensor = {"name": "x", "datatype": "FP32", "shape": [5000, 2], "data": [1.5] * 10_000}
    body = json.dumps({"inputs": [tensor]}).encode()
    before_s, began_s = running_cpu_s(running), time.monotonic()
    while time.monotonic() - began_s < 3.0:
        assert running.ask("POST", "/v2/models/m/infer", body=body)[0] == 200
    took_s = time.monotonic() - began_s
    assert 0.1 < (running_cpu_s(running) - before_s) / took_s < 0.22


def running_cpu_s(running):
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "variant.json").unlink(), "variant.json"),
        (lambda folder: (folder / "model.onnx").write_bytes(b"x"), "no model that ONNX"),
        (lambda folder: (folder / "variant.json").write_text('{"handler": "?"}'), "no handler"),
        (lambda folder: (folder / "variant.json").write_text("{}"), "handler"),
    ],
)
def test_a_broken_artifact_is_said_in_one_line_and_ends_with_2(tmp_path, spoil, message):
    folder = scaling_artifact(tmp_path, 1.0)
    spoil(folder)
    process = launch(folder)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_a_busy_port_ends_with_2(server, lookup):
    process = launch(lookup, "--port", server.port)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "cannot listen" in err


def test_the_package_costs_no_runtime():
    code = "import sys, serving.predictor; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_it_stays_on_the_cores_it_was_dealt(start, lookup):
    core = max(os.sched_getaffinity(0))
    running = start(lookup, "--cpu-affinity", core, "--drain-s", 0)
    running.look_up(1)
    threads = [int(path.name) for path in Path(f"/proc/{running.process.pid}/task").iterdir()]
    assert len(threads) > 1
    assert {frozenset(os.sched_getaffinity(thread)) for thread in threads} == {frozenset({core})}


def test_a_core_this_machine_does_not_have_ends_with_2(lookup):
    process = launch(lookup, "--cpu-affinity", 4095)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "must name cores of this machine" in err
