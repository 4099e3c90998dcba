"""A graph's load, latency and accuracy once more, straight down the tree, for ``verify``.

Nothing of ``composition``, ``problem`` or ``penstock.graph``'s paths and visits is asked: two
tellings of the same rules, so that a mistake in either shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from penstock.domain import AccuracyMode, Merge, NodeKind

if TYPE_CHECKING:
    from penstock.domain import Node, Pipeline, Step


def reached(node: Node | str, requests: float = 1.0) -> dict[str, float]:
    """Return how many requests reach each stage when so many reach the node."""
    if isinstance(node, str):
        return {node: requests}
    found: dict[str, float] = {}
    for step in node.steps:
        found |= reached(step.to, requests * _chance(node, step) * step.fan_out)
    return found


def visit_ratios(pipeline: Pipeline) -> dict[str, float]:
    """Return how many requests each stage sees per request at the entry."""
    own = {stage.name: stage.visit_ratio for stage in pipeline.stages}
    if pipeline.graph is None:
        return own
    return {name: own[name] * count for name, count in reached(pipeline.graph).items()}


def product_of(
    accuracies: Sequence[float], pipeline: Pipeline, variants: Mapping[str, str]
) -> float:
    """Return the accuracy in product mode, from the stages' in the order of ``variants``."""
    if pipeline.graph is None:
        return math.prod(accuracies)
    scores = dict(zip(variants, accuracies, strict=True))
    return correct(pipeline.graph, scores, variants, AccuracyMode.PRODUCT)


def slowest(node: Node | str, latencies_s: Mapping[str, float]) -> float:
    """Return the latency [s] of the slowest way through: a Sequence adds up, others wait for one.

    An Ensemble waits for its slowest branch; a Switch or Splitter may take it.
    """
    if isinstance(node, str):
        return latencies_s[node]
    each = [slowest(step.to, latencies_s) for step in node.steps]
    return math.fsum(each) if node.kind is NodeKind.SEQUENCE else max(each)


def correct(
    node: Node | str,
    scores: Mapping[str, float],
    variants: Mapping[str, str],
    mode: AccuracyMode,
) -> float:
    """Return the accuracy of what a node answers, from its stages' scores and variants."""
    if isinstance(node, str):
        return scores[node]
    if node.merge is Merge.VOTE:
        return node.votes[tuple(variants[name] for name in _leaves(node))]
    each = [correct(step.to, scores, variants, mode) for step in node.steps]
    match node.kind:
        case NodeKind.SEQUENCE:
            return _IN_SEQUENCE[mode](each)
        case NodeKind.ENSEMBLE:
            return max(each) if node.merge is Merge.MAX else math.fsum(each) / len(each)
        case NodeKind.SWITCH | NodeKind.SPLITTER:
            chances = [_chance(node, step) for step in node.steps]
            return math.fsum(c * a for c, a in zip(chances, each, strict=True))


def _chance(node: Node, step: Step) -> float:
    if step.probability is not None and node.kind is NodeKind.SWITCH:
        return step.probability
    if step.weight is not None and node.kind is NodeKind.SPLITTER:
        return step.weight * 0.01
    return 1.0


def _leaves(node: Node | str) -> list[str]:
    if isinstance(node, str):
        return [node]
    return [name for step in node.steps for name in _leaves(step.to)]


def _mean(each: Sequence[float]) -> float:
    return math.fsum(each) / len(each)


_IN_SEQUENCE: Mapping[AccuracyMode, Callable[[Sequence[float]], float]] = {
    AccuracyMode.PRODUCT: math.prod,
    AccuracyMode.SUM: math.fsum,
    AccuracyMode.RANKS: math.fsum,
    AccuracyMode.MEAN: _mean,
}
