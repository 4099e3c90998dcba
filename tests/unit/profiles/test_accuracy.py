"""Accuracy of stages and of combinations, by the way that requests take."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from penstock.dataset import LabelledRequest
from penstock.errors import ProfileError
from profiles.accuracy import Task, accuracy_of, measure_accuracies, measure_stages
from profiles.scoring import Score

STAGES = {"first": ["good", "bad"], "second": ["good", "bad"]}


def request(number: int) -> LabelledRequest:
    body = json.dumps({"outputs": [{"name": "n", "data": [number]}]}).encode()
    return LabelledRequest(body=body, boxes=(), labels=())


def number_in(body: bytes) -> int:
    return json.loads(body)["outputs"][0]["data"][0]


def is_even(answer, _label) -> Score:
    return Score(correct=int(answer["n"][0] % 2 == 0), total=1)


REQUESTS = tuple(request(n) for n in range(10))
TASK = Task(requests=REQUESTS, scorer=is_even)


class Fleet:
    """Variants in this process: *good* doubles every number, *bad* only those below 5."""

    def __init__(self) -> None:
        self.running: set[tuple[str, str]] = set()
        self.started: list[tuple[str, str]] = []
        self.asked = 0

    @contextmanager
    def open(self, stage: str, variant: str) -> Iterator:
        self.started.append((stage, variant))
        self.running.add((stage, variant))
        try:
            yield lambda bodies: self._ask(variant, bodies)
        finally:
            self.running.remove((stage, variant))

    def _ask(self, variant: str, bodies: Sequence[bytes]) -> list[bytes]:
        self.asked += len(bodies)
        numbers = [number_in(body) for body in bodies]
        doubled = [n * 2 if variant == "good" or n < 5 else n for n in numbers]
        return [request(n).body for n in doubled]


def test_each_combination_is_measured_along_the_chain():
    tasks = {"first": TASK, "second": TASK}
    found = measure_accuracies(STAGES, tasks, TASK, open_variant=Fleet().open)
    # bad leaves 5, 7 and 9 odd; a second bad stage doubles none of them, a good one all
    assert found.joint == {
        ("good", "good"): 1.0,
        ("good", "bad"): 1.0,
        ("bad", "good"): 1.0,
        ("bad", "bad"): 0.7,
    }
    assert found.stages["second", "bad"] == 0.7


def test_each_variant_is_started_once_and_stopped():
    fleet = Fleet()
    measure_accuracies(STAGES, {"first": TASK, "second": TASK}, TASK, open_variant=fleet.open)
    assert fleet.started == [(s, v) for s in STAGES for v in STAGES[s]]
    assert fleet.running == set()


def test_the_entry_s_own_requests_are_asked_only_once():
    fleet = Fleet()
    measure_accuracies(STAGES, {"first": TASK, "second": TASK}, TASK, open_variant=fleet.open)
    assert fleet.asked == 10 * (2 + 2 * (1 + 2))


def test_a_stage_without_requests_of_its_own_is_measured_as_part_of_the_whole():
    found = measure_accuracies(STAGES, {"second": TASK}, TASK, open_variant=Fleet().open)
    assert {stage for stage, _ in found.stages} == {"second"}
    assert len(found.joint) == 4


def test_three_stages_make_triples():
    stages = {**STAGES, "third": ["good"]}
    found = measure_accuracies(stages, {}, TASK, open_variant=Fleet().open)
    assert ("bad", "bad", "good") in found.joint
    assert found.joint["bad", "bad", "good"] == 1.0
    assert len(found.joint) == 4


def test_variants_are_reported_as_they_are_done():
    seen = []
    measure_accuracies(
        STAGES, {}, TASK, open_variant=Fleet().open, on_variant=lambda *v: seen.append(v)
    )
    assert seen == [(s, v) for s in STAGES for v in STAGES[s]]


def test_requests_with_more_in_them_weigh_more():
    task = Task(
        requests=REQUESTS[:2],
        scorer=lambda a, _: (
            Score(correct=0, total=3) if a["n"] == [0] else Score(correct=1, total=1)
        ),
    )
    assert accuracy_of([r.body for r in REQUESTS[:2]], task, what="x") == 0.25


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"outputs": 1}', b'{"outputs": [{}]}'])
def test_an_answer_of_another_kind_is_shown(answer):
    task = Task(requests=REQUESTS[:1], scorer=is_even)
    with pytest.raises(ProfileError, match=r"first/bad: the answer b'.*is none of the Open"):
        accuracy_of([answer], task, what="first/bad")


def test_nothing_to_be_right_about_is_no_accuracy():
    task = Task(requests=REQUESTS, scorer=lambda *_: Score(correct=0, total=0))
    with pytest.raises(ProfileError, match="nothing to be right about"):
        accuracy_of([r.body for r in REQUESTS], task, what="x")


def test_what_the_scorer_refuses_names_the_variant():
    def refuse(*_: object) -> Score:
        raise ProfileError("two labels for one crop")

    with pytest.raises(ProfileError, match="small: two labels for one crop"):
        accuracy_of([REQUESTS[0].body], Task(requests=REQUESTS[:1], scorer=refuse), what="small")


def test_stages_of_a_graph_are_measured_by_themselves_and_no_combination() -> None:
    fleet = Fleet()
    found = measure_stages(
        STAGES,
        dict.fromkeys(STAGES, TASK),
        Task(requests=(), scorer=is_even),
        open_variant=fleet.open,
    )
    assert dict(found.joint) == {}
    assert set(found.stages) == {(s, v) for s, names in STAGES.items() for v in names}
    assert fleet.asked == 4 * len(REQUESTS)
