"""Graphs as values: visits, paths, names, and all the faults with their paths."""

from __future__ import annotations

from itertools import product

import pytest

from penstock.errors import DomainError
from penstock.graph import (
    Merge,
    Node,
    NodeKind,
    Step,
    graph_faults,
    node_names,
    paths,
    require_graph,
    sequence,
    visits,
)
from tests import builders as make

ENSEMBLE = Node(kind=NodeKind.ENSEMBLE, steps=(Step(to="b"), Step(to="c", fan_out=2.0)))
SWITCH = Node(
    kind=NodeKind.SWITCH,
    name="which",
    steps=(Step(to="d", probability=0.3, condition="x"), Step(to="e", probability=0.7)),
)
GRAPH = Node(
    kind=NodeKind.SEQUENCE,
    steps=(Step(to="a"), Step(to=ENSEMBLE, fan_out=1.5), Step(to=SWITCH)),
)
STAGES = dict.fromkeys("abcde", ("small", "large"))


def faults(graph: Node, stages: dict[str, tuple[str, ...]] | None = None) -> list[str]:
    return list(graph_faults(graph, STAGES if stages is None else stages))


def test_a_stage_is_visited_by_probability_and_fan_out() -> None:
    assert visits(GRAPH) == pytest.approx({"a": 1, "b": 1.5, "c": 3, "d": 0.3, "e": 0.7})


def test_a_path_takes_one_branch_of_each_node() -> None:
    assert ["-".join(path) for path in paths(GRAPH)] == ["a-b-d", "a-b-e", "a-c-d", "a-c-e"]


def test_nodes_without_a_name_get_one_from_their_place() -> None:
    assert node_names(GRAPH) == {(): "root", (1,): "ensemble-2", (2,): "which"}


def test_a_graph_without_faults_has_none() -> None:
    assert faults(GRAPH) == []


def splitter(*weights: int) -> Node:
    steps = tuple(Step(to=name, weight=w) for name, w in zip("abcde", weights, strict=False))
    return Node(kind=NodeKind.SPLITTER, steps=steps)


def test_a_vote_needs_every_combination_of_variants() -> None:
    votes = dict.fromkeys(product(("small", "large"), repeat=2), 0.9)
    node = Node(kind=NodeKind.ENSEMBLE, merge=Merge.VOTE, votes=votes, steps=ENSEMBLE.steps)
    two = {name: STAGES[name] for name in "bc"}
    assert faults(node, two) == []
    assert "no accuracy of huge+small, huge+large" in faults(node, {**two, "b": ("huge",)})[0]
    assert "ranks" in next(graph_faults(node, two, is_ranked=True))


@pytest.mark.parametrize(
    ("graph", "fault"),
    [
        (sequence("abcd"), "graph: stage 'e' is in no step"),
        (sequence("abcdef"), "graph.steps[5].stage: there is no stage 'f'"),
        (sequence("abcdeb"), "graph.steps[5].stage: 'b' is called at graph.steps[1] already"),
        (splitter(20, 20, 20, 20, 10), "graph.steps: the weights must add up to 100"),
        (splitter(0, 20, 20, 20, 40), "graph.steps[0].weight: must be a whole percentage"),
        (Node(kind=NodeKind.SWITCH, steps=SWITCH.steps[:1]), "graph.steps: the probabilities"),
        (Node(kind=NodeKind.SWITCH, steps=ENSEMBLE.steps), "graph.steps[0].condition: is missing"),
        (Node(kind=NodeKind.SEQUENCE, steps=SWITCH.steps), "graph.steps[0].probability: has no"),
        (Node(kind=NodeKind.SEQUENCE, merge=Merge.MAX, steps=()), "graph.merge: is an Ensemble's"),
        (Node(kind=NodeKind.SEQUENCE, name="x", steps=()), "graph.name: the entry is called root"),
        (Node(kind=NodeKind.ENSEMBLE, steps=()), "graph.steps: must have at least one step"),
        (Node(kind=NodeKind.ENSEMBLE, merge=Merge.VOTE, steps=()), "graph.votes: are for merge"),
        (Node(kind=NodeKind.SEQUENCE, steps=(Step(to="a", fan_out=0),)), "graph.steps[0].fan_out"),
    ],
)
def test_a_fault_is_told_with_its_path(graph: Node, fault: str) -> None:
    assert any(one.startswith(fault) for one in faults(graph)), faults(graph)


def test_too_many_paths_and_too_deep_a_nest_are_refused() -> None:
    pairs = [tuple(f"s{i}{j}" for j in "ab") for i in range(9)]
    forks = [Node(kind=NodeKind.ENSEMBLE, steps=tuple(Step(to=n) for n in p)) for p in pairs]
    wide = Node(kind=NodeKind.SEQUENCE, steps=tuple(Step(to=fork) for fork in forks))
    assert "512 paths" in faults(wide, {n: ("v",) for p in pairs for n in p})[-1]
    deep = sequence("a")
    for _ in range(16):
        deep = Node(kind=NodeKind.SEQUENCE, steps=(Step(to=deep),))
    assert "nest 17 deep" in faults(deep, {"a": ("v",)})[-1]


def test_a_pipeline_refuses_a_faulty_graph_with_all_its_faults() -> None:
    with pytest.raises(DomainError, match=r"(?s)no stage 'x'.*'classify' is in no step"):
        make.pipeline(graph=sequence(["locate", "x"]))


def test_a_pipeline_without_a_graph_is_the_sequence_of_its_stages() -> None:
    plain = make.pipeline()
    assert plain.shape == sequence(["locate", "classify"])
    require_graph("", plain.shape, {"locate": ("small",), "classify": ("small",)})


def test_a_stage_of_a_graph_is_visited_times_its_own_ratio() -> None:
    names = ("a", "b", "c", "d", "e")
    stages = tuple(make.stage(name, visit_ratio=2.0) for name in names)
    asked = make.pipeline(stages=stages, graph=GRAPH)
    assert asked.visited(stages[2]).visit_ratio == pytest.approx(6.0)
