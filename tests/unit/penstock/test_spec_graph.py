"""The graph of a document: both forms, back again exactly, every fault with its path."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import pytest
import yaml

from penstock.errors import SpecError
from penstock.graph import NodeKind, sequence
from penstock.spec import format_pipeline, parse_pipeline, read_pipeline
from tests import builders as make
from tests.graphs import random_graph

HEAD = """\
apiVersion: penstock.dev/v1
kind: Pipeline
metadata: {name: digits}
spec:
  slo: {latency_s: 0.5}
  stages:
    - {name: locate, variants: [{name: small, artifact: a}]}
    - {name: read, variants: [{name: small, artifact: b}, {name: large, artifact: c}]}
    - {name: check, variants: [{name: small, artifact: d}]}
  graph:
"""


def parsed(graph: str) -> object:
    return parse_pipeline(HEAD + graph).graph


def faults(graph: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_pipeline(HEAD + graph)
    return list(caught.value.faults)


def test_edges_are_read_as_nested_nodes() -> None:
    found = parsed("    edges: [[locate, read], [locate, check]]\n")
    assert found.kind is NodeKind.SEQUENCE
    assert (found.steps[0].to, found.steps[1].to.kind) == ("locate", NodeKind.ENSEMBLE)


def test_a_document_without_a_graph_has_none() -> None:
    text = HEAD.removesuffix("  graph:\n")
    assert parse_pipeline(text).graph is None
    assert "graph" not in format_pipeline(parse_pipeline(text))


@pytest.mark.parametrize("seed", range(40))
def test_a_graph_comes_back_as_it_was(seed: int) -> None:
    rng = random.Random(seed)
    names = "abcdefg"[: rng.randint(1, 7)]
    variants = ("small", "large") if len(names) < 5 else ()
    stages = tuple(make.stage(name) for name in names)
    asked = make.pipeline(stages=stages, graph=random_graph(rng, names, variants=variants))
    assert parse_pipeline(format_pipeline(asked)) == asked


def test_a_sequence_that_is_given_stays_given() -> None:
    asked = make.pipeline(graph=sequence(["classify", "locate"]))
    assert parse_pipeline(format_pipeline(asked)) == asked


def test_faults_of_shape_have_their_paths() -> None:
    assert faults(
        """\
    kind: Sequence
    steps:
      - {stage: locate, probability: 2}
      - {}
      - {node: {kind: Loop, steps: [{stage: read}]}, when: x}
"""
    ) == [
        "spec.graph.steps[0].probability: must be less than or equal to 1, got 2",
        "spec.graph.steps[1]: a step must have either a stage or a node",
        "spec.graph.steps[2].node.kind: must be 'Sequence', 'Ensemble', 'Switch' or 'Splitter', "
        "got 'Loop'",
        "spec.graph.steps[2].when: no such key",
    ]


def test_faults_of_sense_are_told_beside_each_other() -> None:
    votes = "[{variants: [small, tiny], accuracy: 0.5}, {variants: [small, tiny], accuracy: 0.6}]"
    found = faults(
        f"""\
    kind: Sequence
    steps:
      - stage: locate
      - node: {{kind: Ensemble, merge: vote, votes: {votes}, steps: [{{stage: read}}]}}
"""
    )
    at = "spec.graph.steps[1].node"
    assert [fault.split(": ")[0] for fault in found] == [
        f"{at}.votes[1]",
        f"{at}.votes",
        "spec.graph",
        f"{at}.votes[0]",
    ]


def test_faults_of_edges_stand_beside_those_of_stages() -> None:
    broken = HEAD.replace("name: small, artifact: a", "name: small, artifact: a, cpus: 3")
    with pytest.raises(SpecError) as caught:
        parse_pipeline(broken + "    edges: [[locate, read], [read, locate], [read, chicken]]\n")
    assert [fault.split(",")[0].split(" closes")[0] for fault in caught.value.faults] == [
        "spec.stages[0].variants[0].cpus: no such key",
        "spec.graph.edges[2]: read -> chicken dangles",
        "spec.graph.edges: stage 'check' dangles",
        "spec.graph.edges[1]: read -> locate",
    ]


def test_both_forms_at_once_and_neither_are_refused() -> None:
    assert (
        "either edges, alone, or"
        in faults("    kind: Sequence\n    steps: [{stage: read}]\n    edges: [[locate, read]]\n")[
            0
        ]
    )
    assert "a kind and steps, or edges" in faults("    kind: Sequence\n")[0]


def test_every_mode_but_ranks_takes_a_vote() -> None:
    pairs = product(("small", "large"), ("small",))
    votes = ", ".join(f"{{variants: [{a}, {b}], accuracy: 0.5}}" for a, b in pairs)
    text = f"""\
    kind: Sequence
    steps:
      - stage: locate
      - node: {{kind: Ensemble, merge: vote, votes: [{votes}],
               steps: [{{stage: read}}, {{stage: check}}]}}
"""
    assert parsed(text) is not None
    ranked = HEAD.replace("  stages:", "  objective: {mode: ranks}\n  stages:", 1)
    with pytest.raises(SpecError, match=r"steps\[1\]\.node\.merge: a vote's accuracies"):
        parse_pipeline(ranked + text)


def test_the_example_in_the_documentation_is_the_shipped_one() -> None:
    root = Path(__file__).parents[3]
    shown = (root / "docs" / "pipeline.md").read_text().split("```yaml\n")[1].split("```")[0]
    shipped = yaml.safe_load((root / "examples" / "graphs" / "reading.yaml").read_text())
    assert yaml.safe_load(shown)["graph"] == shipped["spec"]["graph"]
    assert read_pipeline(root / "examples" / "graphs" / "reading.yaml").graph is not None
