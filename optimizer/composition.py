"""What a graph makes of the accuracies of its stages: one number, or its form for a solver.

A node's accuracy is a function of what is chosen below it, never falling when a stage's score
rises:

* Sequence: product, sum or mean of its steps, by the objective's mode (ranks add up);
* Switch, Splitter: the mean of the steps, weighted by probability;
* Ensemble: mean or maximum of the steps, or the accuracy measured for the variants below it.

Every combination of these is an exact mixed-integer linear program (``solvers.model``). A *linear*
one is a weighted sum of the stages' scores: all but a product of two or more steps, a maximum and a
vote. Measured votes in ranks mode are refused with the pipeline (``penstock.graph``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from optimizer.accuracy import combined_accuracy
from penstock.domain import AccuracyMode
from penstock.graph import Merge, Node, NodeKind, node_names

if TYPE_CHECKING:
    from penstock.graph import Place, Step


def composed_accuracy(
    graph: Node, scores: Mapping[str, float], variants: Mapping[str, str], mode: AccuracyMode
) -> float:
    """Return the accuracy of a graph from each stage's score and variant.

    Raises:
        DomainError: the mode is joint, which is measured and not computed.
    """
    if graph.merge is Merge.VOTE:
        return graph.votes[tuple(variants[name] for name in graph.stages())]
    each = [
        composed_accuracy(s.to, scores, variants, mode) if isinstance(s.to, Node) else scores[s.to]
        for s in graph.steps
    ]
    if graph.kind is NodeKind.SEQUENCE:
        return combined_accuracy(each, mode)
    if graph.merge is Merge.MAX:
        return max(each)
    return math.fsum(w * a for w, a in zip(mean_weights(graph), each, strict=True))


def mean_weights(node: Node) -> tuple[float, ...]:
    """Return what each branch of a node that is a mean counts for; they add up to 1."""
    if node.kind is NodeKind.ENSEMBLE:
        return (1 / len(node.steps),) * len(node.steps)
    return node.shares()


def linear_weights(graph: Node, mode: AccuracyMode) -> dict[str, float] | None:
    """Return the weight of each stage's score in the accuracy; ``None`` if it is not linear."""
    if nonlinear_place(graph, mode) is not None:
        return None
    if graph.kind is not NodeKind.SEQUENCE:
        each = mean_weights(graph)
    elif mode is AccuracyMode.MEAN:
        each = (1 / len(graph.steps),) * len(graph.steps)
    else:
        each = (1.0,) * len(graph.steps)
    found: dict[str, float] = {}
    for weight, step in zip(each, graph.steps, strict=True):
        below = linear_weights(step.to, mode) if isinstance(step.to, Node) else {step.to: 1.0}
        assert below is not None, "no node below is nonlinear either"
        found |= {name: weight * inner for name, inner in below.items()}
    return found


def nonlinear_place(graph: Node, mode: AccuracyMode, place: Place = ()) -> Place | None:
    """Return the place of a node whose accuracy is no weighted sum of scores, if there is one."""
    has_many = len(graph.steps) > 1
    is_product = graph.kind is NodeKind.SEQUENCE and mode is AccuracyMode.PRODUCT
    if graph.merge is Merge.VOTE or (has_many and (is_product or graph.merge is Merge.MAX)):
        return place
    below = (
        nonlinear_place(s.to, mode, (*place, i))
        for i, s in enumerate(graph.steps)
        if isinstance(s.to, Node)
    )
    return next((found for found in below if found is not None), None)


def is_plain_product(graph: Node, mode: AccuracyMode) -> bool:
    """Whether the accuracy is the product of the scores of all stages."""
    return mode is AccuracyMode.PRODUCT and _only_sequences(graph)


def _only_sequences(node: Node) -> bool:
    is_chain = node.kind is NodeKind.SEQUENCE or len(node.steps) == 1
    return (
        is_chain
        and node.merge is not Merge.VOTE
        and all(_only_sequences(s.to) for s in node.steps if isinstance(s.to, Node))
    )


def inseparable_node(graph: Node, mode: AccuracyMode) -> str | None:
    """Return the name of a node that keeps the accuracy from being a sum or a product.

    ``None`` when it is one, over the stages; in joint mode the graph plays no part.
    """
    if mode is AccuracyMode.JOINT or is_plain_product(graph, mode):
        return None
    place = nonlinear_place(graph, mode)
    return None if place is None else f"{node_names(graph)[place]} ({_kind(graph, place)})"


def _kind(graph: Node, place: Place) -> str:
    node = graph
    for i in place:
        below: Step = node.steps[i]
        assert isinstance(below.to, Node), "a place leads over nodes"
        node = below.to
    return f"{node.kind}, {node.merge}" if node.kind is NodeKind.ENSEMBLE else str(node.kind)


def voted_stages(graph: Node | None) -> frozenset[str]:
    """Return the stages whose variants count by name, because a vote below them was measured."""
    if graph is None:
        return frozenset()
    if graph.merge is Merge.VOTE:
        return frozenset(graph.stages())
    return frozenset().union(*(voted_stages(s.to) for s in graph.steps if isinstance(s.to, Node)))
