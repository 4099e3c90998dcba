"""Profiling the real predictor, and predictors that misbehave."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from penstock.dataset import LabelledRequest
from penstock.domain import ProfileTable
from penstock.errors import NotReadyError, ProfileError
from profiles import subject as subject_module
from profiles.accuracy import Task
from profiles.measure import MeasurePlan
from profiles.probe import Connections
from profiles.profiler import joint_accuracies, profile_pipeline, profile_variant
from profiles.scoring import Score
from profiles.settings import ProfilerSettings, Tasks
from profiles.subject import MODEL, SubjectSettings, off_core, running
from profiles.table import overstatements
from tests.builders import pipeline, stage, variant

pytestmark = pytest.mark.slow

PREDICTOR = (sys.executable, "-m", "serving.predictor")
QUICK = MeasurePlan(warmup=1, warmup_s=0.0, min_samples=3, budget_s=0.2, rounds=1)


def adder(folder: Path, step: float, *, takes: str = "a", gives: str = "b") -> Path:
    """An artifact whose model adds ``step`` to every number."""
    graph = helper.make_graph(
        [helper.make_node("Add", [takes, "step"], [gives])],
        "adder",
        [helper.make_tensor_value_info(takes, TensorProto.FLOAT, ["rows"])],
        [helper.make_tensor_value_info(gives, TensorProto.FLOAT, ["rows"])],
        [helper.make_tensor("step", TensorProto.FLOAT, [], [step])],
    )
    folder.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    (folder / "variant.json").write_text(json.dumps({"handler": "tensor"}))
    return folder


def request(number: int, name: str = "a") -> LabelledRequest:
    tensor = {"name": name, "datatype": "FP32", "shape": [1], "data": [number]}
    return LabelledRequest(body=json.dumps({"inputs": [tensor]}).encode(), boxes=(), labels=())


def adds(step: int, *, takes: str = "a", gives: str = "b") -> Task:
    """Ten requests, right when ``step`` was added to their number."""

    def score(answer, asked: LabelledRequest) -> Score:
        number = json.loads(asked.body)["inputs"][0]["data"][0]
        return Score(correct=int(answer[gives] == [number + step]), total=1)

    return Task(requests=tuple(request(n, takes) for n in range(10)), scorer=score)


def settings(*command: str, **fields) -> ProfilerSettings:
    known = {"measured_at": "2026-11-20", "plan": QUICK, "budget_s": 1.0}
    return ProfilerSettings(**{"server_command": command or PREDICTOR, **known, **fields})


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def script(folder: Path, text: str, *, ready_timeout_s: float = 30.0) -> SubjectSettings:
    """A program that stands in for a predictor."""
    path = folder / "predictor.py"
    path.write_text(text)
    return SubjectSettings(command=(sys.executable, str(path)), ready_timeout_s=ready_timeout_s)


class TestTheRealPredictor:
    def test_serves_full_batches_as_one_model_call(self, tmp_path):
        with (
            running(adder(tmp_path / "m", 1), SubjectSettings(command=PREDICTOR)) as subject,
            Connections(subject.url, MODEL) as connections,
        ):
            subject.set_batch(4)
            answers = connections.ask([request(n).body for n in range(4)])
            with urllib.request.urlopen(f"{subject.url}/metrics", timeout=5) as response:
                metrics = response.read().decode()
        assert [json.loads(a)["outputs"][0]["data"] for a in answers] == [[1], [2], [3], [4]]
        assert "penstock_predictor_batch_size_count 1.0" in metrics
        assert "penstock_predictor_batch_size_sum 4.0" in metrics

    def test_tells_its_load_time_and_memory(self, tmp_path):
        began_s = time.monotonic()
        with running(adder(tmp_path / "m", 1), SubjectSettings(command=PREDICTOR)) as subject:
            assert 0.05 < subject.load_time_s <= time.monotonic() - began_s
            assert 20 < subject.peak_memory_mib() < 2000

    def test_is_stopped_when_the_user_loses_patience(self, tmp_path):
        model = adder(tmp_path / "m", 1)
        with (
            pytest.raises(KeyboardInterrupt),
            running(model, SubjectSettings(command=PREDICTOR)) as subject,
        ):
            raise KeyboardInterrupt
        assert gone(subject.pid)

    def test_says_what_is_wrong_with_a_broken_model(self, tmp_path):
        model = adder(tmp_path / "m", 1)
        (model / "model.onnx").write_bytes(b"not onnx")
        with (
            pytest.raises(ProfileError, match=r"ended with code 2 before it was ready; it said:.*"),
            running(model, SubjectSettings(command=PREDICTOR)),
        ):
            pytest.fail("it started")

    def test_is_profiled_from_outside(self, tmp_path):
        seen = []
        profile = profile_variant(
            variant("one", batch_sizes=(1, 2, 3, 4), cpu_cores=0.5, cpu_choices=(0.25,)),
            adder(tmp_path / "m", 1),
            adds(1),
            stage="first",
            settings=settings(max_points=3),
            report=seen.append,
        )
        assert profile.accuracy == 1.0
        assert [(p.cpu_cores, p.batch_size) for p in profile.points] == [
            (cores, b) for cores in (0.25, 0.5) for b in (1, 2, 3, 4)
        ]
        assert [p.samples >= 3 for p in profile.points] == [True, False, True, True] * 2
        assert profile.provenance["cpu"].startswith("0.25 cores: share 0.25, pinned to")
        assert profile.provenance["measured_at"] == "2026-11-20"
        assert profile.provenance["fitted_batch_sizes"] == "2"
        assert [p.done for p in seen] == sorted(p.done for p in seen)
        assert seen[-1].done == seen[-1].total

    def test_that_refuses_the_requests_is_quoted(self, tmp_path):
        task = Task(requests=(request(1, name="wrong"),), scorer=adds(1).scorer)
        with pytest.raises(ProfileError, match=r"answered with 400: .*inputs\.a"):
            profile_variant(
                variant("one"), adder(tmp_path / "m", 1), task, stage="x", settings=settings()
            )


class TestAPipeline:
    """first adds 1 (*off* adds 2), second adds 10 (*off* adds 9): two wrongs make a right."""

    PIPELINE = pipeline(
        stages=tuple(
            stage(name, variants=tuple(variant(v, batch_sizes=(1, 2)) for v in ("good", "off")))
            for name in ("first", "second")
        )
    )
    TASKS = Tasks(
        stages={"first": adds(1), "second": adds(10, takes="b", gives="c")},
        pipeline=adds(11, gives="c"),
    )

    @pytest.fixture
    def models(self, tmp_path: Path) -> dict[tuple[str, str], Path]:
        steps = {("first", "good"): 1, ("first", "off"): 2}
        later = {("second", "good"): 10, ("second", "off"): 9}
        return {
            **{k: adder(tmp_path / "-".join(k), n) for k, n in steps.items()},
            **{k: adder(tmp_path / "-".join(k), n, takes="b", gives="c") for k, n in later.items()},
        }

    @pytest.fixture
    def counted(self, tmp_path: Path) -> tuple[tuple[str, ...], Path]:
        """The predictor's command, and a file with one line per start."""
        starts = tmp_path / "starts"
        program = tmp_path / "predictor.sh"
        program.write_text(
            f'echo start >> {starts}; exec {sys.executable} -m serving.predictor "$@"\n'
        )
        return ("/bin/sh", str(program)), starts

    def test_is_profiled_once_and_what_is_finished_is_kept(self, models, counted, tmp_path):
        command, starts = counted

        def profile() -> ProfileTable:
            return profile_pipeline(
                self.PIPELINE, models, self.TASKS, settings=settings(*command), work=tmp_path / "w"
            )

        table = profile()
        rows = overstatements(table, ("first", "second"))
        assert {r.variants: (r.measured, r.product) for r in rows} == {
            ("good", "good"): (1.0, 1.0),
            ("good", "off"): (0.0, 0.0),
            ("off", "good"): (0.0, 0.0),
            ("off", "off"): (1.0, 0.0),
        }
        assert starts.read_text().count("start") == 8
        assert profile() == table
        assert starts.read_text().count("start") == 8
        (tmp_path / "second-off" / "more.txt").write_text("another model")
        profile()
        # all accuracies, because combinations share them, but the latency of that variant only
        assert starts.read_text().count("start") == 8 + 4 + 1

    def test_has_an_accuracy_for_each_combination(self, models):
        joint = joint_accuracies(self.PIPELINE, models, self.TASKS.pipeline, settings=settings())
        assert joint == {
            ("good", "good"): 1.0,
            ("good", "off"): 0.0,
            ("off", "good"): 0.0,
            ("off", "off"): 1.0,
        }

    def test_with_a_missing_model_starts_nothing(self, models, counted, tmp_path):
        command, starts = counted
        del models["second", "off"]
        with pytest.raises(ProfileError, match="second/off has no model folder"):
            profile_pipeline(
                self.PIPELINE, models, self.TASKS, settings=settings(*command), work=tmp_path / "w"
            )
        assert not starts.exists()


class TestAProgramThat:
    def test_ends_at_once_is_quoted(self, tmp_path):
        ends = script(tmp_path, "import sys; sys.exit('no room')")
        with pytest.raises(ProfileError, match="code 1 before it was ready; it said: no room"):
            _start(tmp_path, ends)

    def test_says_something_else_is_shown(self, tmp_path):
        chatty = script(tmp_path, "print('hello'); import time; time.sleep(60)")
        with pytest.raises(ProfileError, match=r"said b'hello\\n' instead of one JSON line"):
            _start(tmp_path, chatty)

    def test_is_never_ready_is_given_up(self, tmp_path):
        pid = tmp_path / "pid"
        loading = script(
            tmp_path,
            f"import os, sys, time; open({str(pid)!r}, 'w').write(str(os.getpid()))\n"
            "sys.stderr.write('still loading'); sys.stderr.flush(); time.sleep(60)",
            ready_timeout_s=2.0,
        )
        with pytest.raises(NotReadyError, match="not ready after 2 s; it said: still loading"):
            _start(tmp_path, loading)
        assert gone(int(pid.read_text()))

    def test_does_not_listen_to_sigterm_is_killed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(subject_module, "_STOP_TIMEOUT_S", 0.2)
        deaf = script(
            tmp_path,
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            'print(\'{"port": 1, "load_time_s": 0}\', flush=True); time.sleep(60)',
        )
        with running(tmp_path, deaf) as subject:
            pid = subject.pid
        assert gone(pid)

    def test_is_gone_when_its_limit_should_change_is_noticed(self, tmp_path):
        ends = script(tmp_path, 'print(\'{"port": 1, "load_time_s": 0}\', flush=True)')
        with (
            pytest.raises(NotReadyError, match="is gone"),
            running(tmp_path, ends) as subject,
        ):
            subject.set_batch(2)

    def test_does_not_exist_is_named(self, tmp_path):
        absent = SubjectSettings(command=(str(tmp_path / "absent"),))
        with pytest.raises(ProfileError, match="can't be started with"):
            _start(tmp_path, absent)


def _start(model: Path, settings: SubjectSettings) -> None:
    with running(model, settings):
        pytest.fail("it started")


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ProfileError, match="upload or train the model first"):
        _start(tmp_path / "absent", SubjectSettings(command=PREDICTOR))


def test_a_limit_that_is_never_followed_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(subject_module, "_FOLLOW_TIMEOUT_S", 0.1)
    with (
        running(adder(tmp_path / "m", 1), SubjectSettings(command=PREDICTOR)) as subject,
        pytest.raises(NotReadyError, match=r"did not take over max_batch_size -1"),
    ):
        subject.set_batch(-1)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no such call on this system")
def test_the_client_leaves_the_predictor_s_core_and_comes_back():
    before = os.sched_getaffinity(0)
    core = max(before)
    with off_core(str(core)):
        during = os.sched_getaffinity(0)
    assert during == (before - {core} or before)
    assert os.sched_getaffinity(0) == before
