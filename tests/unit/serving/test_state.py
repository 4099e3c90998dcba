from __future__ import annotations

import pytest

from penstock.errors import ManifestError
from serving.cluster.memory import MemoryCluster
from serving.state import State, from_manifest, plan_of, read_state, to_manifest, write_state


def test_before_the_first_tick_there_is_no_plan():
    state = read_state(MemoryCluster(), "digits", "demo")
    assert state == State(pipeline="digits", namespace="demo")
    assert plan_of(state) is None


def test_a_state_is_read_as_it_was_written():
    cluster = MemoryCluster()
    state = State(pipeline="digits", namespace="demo").with_plan({"a": [1, 2.5]}, now_s=12.5)
    written = write_state(cluster, state.with_decision({"reason": "load"}, keep=3))
    assert read_state(cluster, "digits", "demo") == written
    assert plan_of(written) == {"a": [1, 2.5]}


def test_a_change_of_plan_counts_and_is_dated():
    state = State(pipeline="digits").with_plan("{}", now_s=1.0).with_plan("{}", now_s=9.0)
    assert (state.generation, state.last_change_s) == (2, 9.0)


def test_a_decision_alone_changes_no_generation():
    state = State(pipeline="digits").with_decision({"keep": True}, keep=2)
    assert (state.generation, state.decisions) == (0, ('{"keep":true}',))


def test_only_the_last_decisions_are_kept():
    state = State(pipeline="digits")
    for i in range(5):
        state = state.with_decision(str(i), keep=3)
    assert state.decisions == ("2", "3", "4")
    assert state.with_decision("5", keep=0).decisions == ()


def test_decisions_that_would_not_fit_go_oldest_first():
    state = State(pipeline="digits", decisions=("a" * 600_000, "b" * 400_000))
    assert from_manifest(to_manifest(state)).decisions == ("b" * 400_000,)


def test_the_state_carries_the_labels_of_its_pipeline():
    labels = to_manifest(State(pipeline="digits"))["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "digits"
    assert labels["penstock.dev/role"] == "state"


@pytest.mark.parametrize(
    "data",
    [
        {},
        None,
        {"plan": "{"},
        {"pipeline": "p", "plan": "[1]", "generation": "0"},
        {
            "pipeline": "p",
            "plan": "null",
            "generation": "x",
            "last_change_s": "0",
            "decisions": "",
        },
    ],
)
def test_a_config_map_with_something_else_is_refused(data):
    with pytest.raises(ManifestError, match=r"'mine'.*delete it"):
        from_manifest({"metadata": {"name": "mine"}, "data": data})
