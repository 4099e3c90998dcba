"""Every CPU allocation of a variant is measured by itself, and all make one profile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from optimizer.problem import require_profiles
from penstock.dataset import LabelledRequest
from penstock.domain import Profile
from penstock.errors import ProfileError
from profiles import profiler, settings, subject
from profiles.accuracy import Accuracies, Task
from profiles.allocations import allocations, joined, joined_by_variant, only
from profiles.profiler import profile_pipeline
from profiles.settings import ProfilerSettings, Tasks
from tests.builders import pipeline, point, profile, stage, variant

CHOOSY = variant("small", batch_sizes=(1, 2), cpu_cores=0.5, cpu_choices=(0.25, 1.0))
TASK = Task(
    requests=(LabelledRequest(body=b"{}", boxes=(), labels=()),),
    scorer=lambda answer, asked: None,
)
OF = pipeline(stages=(stage("locate", variants=(CHOOSY, variant("plain", batch_sizes=(1,)))),))
TASKS = Tasks(stages={"locate": TASK}, pipeline=TASK)


def on(cores: float, latency_s: float = 0.01, **fields) -> Profile:
    return profile("locate", "small", points=(point(1, latency_s, cpu_cores=cores),), **fields)


def test_a_variant_is_measured_on_each_of_its_allocations() -> None:
    each = allocations(CHOOSY)
    assert [one.cpu_cores for one in each] == [0.25, 0.5, 1.0]
    assert {one.cpu_choices for one in each} == {()}
    assert allocations(variant("plain")) == (variant("plain"),)


def test_cores_that_a_variant_is_never_given_are_refused() -> None:
    with pytest.raises(ProfileError, match=r"never given 3 cores: 0\.25, 0\.5, 1"):
        only(CHOOSY, 3.0)


def test_profiles_of_allocations_make_one_that_says_where_they_differ() -> None:
    whole = joined(
        [
            on(1.0, load_time_s=0.2, memory_mib=90, provenance={"cpu": "share 1", "at": "x"}),
            on(0.25, load_time_s=0.9, memory_mib=80, provenance={"cpu": "share 0.25", "at": "x"}),
        ]
    )
    assert [p.cpu_cores for p in whole.points] == [0.25, 1.0]
    assert (whole.load_time_s, whole.memory_mib) == (0.9, 90)
    assert whole.provenance == {
        "cpu": "1 cores: share 1; 0.25 cores: share 0.25",
        "at": "x",
    }


def test_one_allocation_s_profile_stays_as_it_is() -> None:
    assert joined([on(1.0)]) == joined([on(1.0), on(1.0)]) == on(1.0)


def test_two_measurements_of_the_same_cores_are_refused() -> None:
    with pytest.raises(ProfileError, match="locate/small was measured more than once"):
        joined([on(1.0), on(1.0, 0.02)])


def test_parts_of_several_variants_are_joined_each_in_its_place() -> None:
    other = profile("locate", "large")
    whole = joined_by_variant([on(0.5), other, on(0.25)])
    assert [(p.variant, len(p.points)) for p in whole] == [("small", 2), ("large", 3)]


class FakePredictors:
    """Stands in for the predictor's process: a batch takes as long as its cores are few."""

    def __init__(self) -> None:
        self.started: list[tuple[float, str]] = []

    @contextmanager
    def running(self, model_dir: Path, how) -> Iterator[SimpleNamespace]:
        self.started.append((how.cpu_cores, how.cpu_affinity))
        self.cores = how.cpu_cores
        yield SimpleNamespace(url="", load_time_s=0.5, peak_memory_mib=lambda: 64.0)

    def measure(self, probe, sizes, plan, *, on_progress):
        from profiles.measure import Samples

        return [
            Samples(batch_size=b, seconds=(0.01 * b / self.cores,) * 5, stop="fake") for b in sizes
        ]


@contextmanager
def nothing(*_: object) -> Iterator[SimpleNamespace]:
    yield SimpleNamespace()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakePredictors:
    made = FakePredictors()
    monkeypatch.setattr(profiler, "running", made.running)
    monkeypatch.setattr(profiler, "measure", made.measure)
    monkeypatch.setattr(profiler, "SubjectProbe", lambda *_: None)
    for name in ("HttpProbe", "busy_neighbours", "off_core"):
        monkeypatch.setattr(profiler, name, nothing)
    known = {("locate", v): 0.9 for v in ("small", "plain")}
    found = Accuracies(stages=known, joint={("small",): 0.9, ("plain",): 0.9})
    monkeypatch.setattr(profiler, "_accuracies", lambda *_: found)
    return made


def profiled(folder: Path, seen: list | None = None):
    models = {("locate", v): folder / v for v in ("small", "plain")}
    for place in models.values():
        place.mkdir(exist_ok=True)
    return profile_pipeline(
        OF,
        models,
        TASKS,
        settings=ProfilerSettings(server_command=("predictor",), measured_at="now"),
        work=folder / "work",
        report=(seen if seen is not None else []).append,
    )


def test_a_pipeline_is_measured_allocation_by_allocation(fake, tmp_path: Path) -> None:
    seen: list = []
    table = profiled(tmp_path, seen)
    require_profiles(OF, table)
    assert [cores for cores, _ in fake.started] == [0.25, 0.5, 1.0, 1.0]
    found = table.find("locate", "small")
    assert found is not None
    assert {(p.cpu_cores, p.batch_size): p.latency_at(0.99) for p in found.points} == {
        (cores, b): pytest.approx(0.01 * b / cores) for cores in (0.25, 0.5, 1.0) for b in (1, 2)
    }
    assert "0.25 cores: share 0.25, pinned to" in found.provenance["cpu"]
    # four measurements, and the accuracies of two variants, which the fake does not report
    assert (seen[-1].done, seen[-1].total) == (4, 6)


def test_an_allocation_that_was_finished_is_not_measured_again(fake, tmp_path: Path) -> None:
    table = profiled(tmp_path)
    kept = sorted((tmp_path / "work").glob("locate-small-*.json"))
    assert len(kept) == 3
    kept[0].unlink()
    fake.started.clear()
    assert profiled(tmp_path) == table
    assert len(fake.started) == 1


def test_more_cores_than_there_are_cannot_be_measured(
    fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "count_cores", lambda: 0)
    with pytest.raises(ProfileError, match="locate/small is given up to 1 cores, and this"):
        profiled(tmp_path)
    assert fake.started == []


def test_a_replica_is_pinned_to_as_many_cores_as_it_can_use(monkeypatch) -> None:
    monkeypatch.setattr(subject, "usable_cores", lambda: (0, 1, 2, 3))
    of = ProfilerSettings(server_command=("p",), measured_at="now", cpu_affinity="3")
    assert [of.affinity(c) for c in (0.25, 1.0, 1.5, 3.0, 4.0)] == ["3", "3", "2,3", "1,2,3", ""]
    unpinned = ProfilerSettings(server_command=("p",), measured_at="now", cpu_affinity="")
    assert unpinned.affinity(2.0) == ""
