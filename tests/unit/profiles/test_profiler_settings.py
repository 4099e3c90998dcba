"""What a run is given, refused before it starts, and noted about itself."""

from __future__ import annotations

import pytest

from penstock.dataset import LabelledRequest
from penstock.domain import AccuracyMode, Objective
from penstock.errors import ProfileError
from penstock.graph import Node, NodeKind, Step
from profiles import provenance
from profiles.accuracy import Task
from profiles.measure import Samples, Stop
from profiles.profiler import joint_accuracies
from profiles.scoring import Score
from profiles.settings import (
    LEAST_MEASURING_S,
    ProfilerSettings,
    Tasks,
    require_complete,
    spread,
    within,
)
from tests.builders import pipeline, point

TASK = Task(
    requests=(LabelledRequest(body=b"{}", boxes=(), labels=()),),
    scorer=lambda *_: Score(correct=1, total=1),
)
NO_TASK = Task(requests=(), scorer=TASK.scorer)


def settings(**fields) -> ProfilerSettings:
    return ProfilerSettings(
        **{"server_command": ("python",), "measured_at": "2026-11-20", **fields}
    )


def test_everything_missing_is_named_at_once(tmp_path):
    models = {("locate", "small"): tmp_path, ("classify", "small"): tmp_path / "absent"}
    tasks = Tasks(stages={"locate": TASK, "classify": NO_TASK}, pipeline=NO_TASK)
    with pytest.raises(ProfileError) as caught:
        require_complete(pipeline(), models, tasks, stages=("locate", "classify"))
    said = str(caught.value)
    assert "'classify' has no held-out requests" in said
    assert "the pipeline has no held-out requests" in said
    assert "locate/large has no model folder" in said
    assert "classify/small has no model folder" in said
    assert "locate/small" not in said


@pytest.mark.parametrize(
    ("sizes", "most", "expected"),
    [
        ((1, 2, 4), 6, (1, 2, 4)),
        ((1, 2, 4, 8, 16, 32, 64), 4, (1, 4, 16, 64)),
        ((1, 2, 4), 2, (1, 4)),
        ((1, 2, 4), 0, (1, 4)),
        ((3,), 1, (3,)),
    ],
)
def test_few_batch_sizes_are_spread_over_all(sizes, most, expected):
    assert spread(sizes, most) == expected


def test_a_timed_predictor_keeps_its_share_unless_the_kernel_does():
    assert settings(cpu_affinity="1").paced(0.25).cpu_cores == 0.25
    assert settings(cpu_affinity="1").paced(0.25).cpu_affinity == "1"
    assert settings(pace=False).paced(0.25).cpu_cores == 0.0


def test_a_scored_predictor_gets_all_the_cpu_there_is():
    free = settings(cpu_affinity="1").free()
    assert (free.cpu_cores, free.cpu_affinity) == (0.0, "")


def test_a_variant_never_gets_more_time_than_planned_nor_less_than_it_needs():
    assert within(settings(), 100.0).plan.budget_s == settings().plan.budget_s
    assert within(settings(), 6.0).plan.budget_s == 2.0
    assert within(settings(), -5.0).plan.budget_s == LEAST_MEASURING_S


def test_provenance_names_the_machine_and_what_runs_on_it():
    assert " cores, " in provenance.hardware()
    assert "python 3." in provenance.runtime()
    assert "onnxruntime " in provenance.runtime()


def test_a_machine_that_does_not_tell_its_cpu_is_still_described(tmp_path):
    described = tmp_path / "cpuinfo"
    described.write_text("processor: 0\nmodel name\t: Wonder CPU @ 3 GHz\n")
    assert provenance.cpu_model(described) == "Wonder CPU @ 3 GHz"
    assert provenance.cpu_model(tmp_path / "absent") != ""


def test_provenance_marks_what_was_only_fitted():
    samples = [Samples(batch_size=b, seconds=(0.1,), stop=Stop.BUDGET) for b in (1, 2, 8, 16)]
    points = [point(b, 0.01 * b, samples=0 if b == 4 else 9) for b in (1, 2, 4, 8, 16)]
    noted = provenance.how_measured(samples, points)
    assert noted["fitted_batch_sizes"] == "4"
    assert noted["quadratic_fit_residual"] == "p50 0.0 %, p99 0.0 %"
    assert noted["stopped_by"].startswith("1: time budget, 2: ")


def test_provenance_of_few_measured_points_claims_no_residual():
    noted = provenance.how_measured([], [point(1), point(2)])
    assert "quadratic_fit_residual" not in noted


def test_a_graph_has_no_joint_accuracies_and_refuses_the_mode_that_needs_them():
    steps = tuple(Step(to=name) for name in ("locate", "classify"))
    ensemble = Node(kind=NodeKind.ENSEMBLE, steps=steps)
    assert joint_accuracies(pipeline(graph=ensemble), {}, TASK, settings=settings()) == {}
    asked = pipeline(graph=ensemble, objective=Objective(mode=AccuracyMode.JOINT))
    with pytest.raises(ProfileError, match="is a graph, and mode joint needs"):
        joint_accuracies(asked, {}, TASK, settings=settings())
