"""Edges between stages: which make a graph, and what the others are refused for."""

from __future__ import annotations

import pytest

from penstock.edges import edge_faults, graph_of_edges
from penstock.graph import Node


def pairs(text: str) -> list[tuple[str, str]]:
    return [(a, b) for a, _, b in (edge.partition(">") for edge in text.split())]


def stages(text: str) -> list[str]:
    return list(dict.fromkeys(name for edge in pairs(text) for name in edge))


def shown(to: Node | str) -> str:
    if isinstance(to, str):
        return to
    return f"{to.kind[:3]}({' '.join(shown(step.to) for step in to.steps)})"


@pytest.mark.parametrize(
    ("edges", "graph"),
    [
        ("a>b b>c", "Seq(a b c)"),
        ("a>b a>c b>d c>d", "Seq(a Ens(b c) d)"),
        ("a>b a>c b>d", "Seq(a Ens(Seq(b d) c))"),
        ("s>a s>b a>c a>d b>c b>d", "Seq(s Ens(a b) Ens(c d))"),
    ],
)
def test_edges_become_nested_nodes(edges: str, graph: str) -> None:
    assert edge_faults(pairs(edges), stages(edges)) == ()
    assert shown(graph_of_edges(pairs(edges), stages(edges))) == graph


@pytest.mark.parametrize(
    ("edges", "named", "why"),
    [
        ("s>a s>b a>c b>c b>d", "edges[3]: b -> c", "makes an N"),
        ("s>a s>b a>c b>x x>c b>d", "edges[3]: b -> x", "makes an N"),
        ("s>a s>b a>b a>t b>t", "edges[1]: s -> b", "passes by 'a'"),
        ("s>a s>b a>b a>t b>t", "edges[3]: a -> t", "passes by 'b'"),
        ("a>b b>c c>a", "edges[2]: c -> a", "closes a cycle"),
        ("a>b a>a", "edges[1]: a -> a", "to itself"),
        ("a>c b>c", "edges[1]: b -> c", "a second entry beside 'a'"),
        ("a>b a>b", "edges[1]: a -> b", "is edges[0] again"),
    ],
)
def test_what_no_inference_graph_can_express_names_the_edge(
    edges: str, named: str, why: str
) -> None:
    faults = edge_faults(pairs(edges), stages(edges))
    assert any(fault.startswith(named) and why in fault for fault in faults), faults


def test_all_faults_are_told_at_once() -> None:
    faults = edge_faults(pairs("a>b b>z b>a"), ["a", "b", "lonely"])
    assert [fault.split(",")[0] for fault in faults] == [
        "edges[1]: b -> z dangles",
        "edges: stage 'lonely' dangles",
        "edges[2]: b -> a closes a cycle; a request would never come to an end",
    ]


def test_a_crown_of_200_stages_is_refused_at_once() -> None:
    ring = [(f"a{i}", f"b{j % 99}") for i in range(99) for j in (i, i + 1)]
    edges = [*(("s", f"a{i}") for i in range(99)), *ring]
    names = list(dict.fromkeys(name for edge in edges for name in edge))
    assert len(edge_faults(edges, names)) == 1
