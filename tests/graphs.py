"""Random graphs of stages, and their explicit form: worlds of edges, enumerated path by path.

A *world* is one answer to every draw: which branch each Switch and Splitter takes. In a world there
are only stages and edges between them, so latency is the longest of all paths and a stage is either
there or not. Nothing here asks the code under test for a path, a visit ratio or an accuracy.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from penstock.graph import Merge, Node, NodeKind, Step

Edge = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One outcome of all draws: how likely, which stages are called how often, who feeds whom."""

    probability: float
    calls: dict[str, float]
    edges: tuple[Edge, ...]
    entries: tuple[str, ...]
    exits: tuple[str, ...]

    def latency_s(self, of: dict[str, float]) -> float:
        return max(sum(of[name] for name in path) for path in ways(self.edges, self.calls))


def ways(edges: Sequence[Edge], stages: Sequence[str] | dict[str, float]) -> Iterator[list[str]]:
    """Every path from a stage that nothing leads to, to one that leads nowhere."""
    todo = [[name] for name in stages if all(b != name for _, b in edges)]
    while todo:
        path = todo.pop()
        longer = [[*path, b] for a, b in edges if a == path[-1]]
        todo += longer
        if not longer:
            yield path


def worlds(node: Node | str) -> list[World]:
    if isinstance(node, str):
        one = World(probability=1, calls={node: 1.0}, edges=(), entries=(node,), exits=(node,))
        return [one]
    below = [
        [
            World(
                probability=w.probability,
                calls={name: n * step.fan_out for name, n in w.calls.items()},
                edges=w.edges,
                entries=w.entries,
                exits=w.exits,
            )
            for w in worlds(step.to)
        ]
        for step in node.steps
    ]
    if node.kind in (NodeKind.SWITCH, NodeKind.SPLITTER):
        return [
            World(
                probability=w.probability * _chance(step),
                calls=w.calls,
                edges=w.edges,
                entries=w.entries,
                exits=w.exits,
            )
            for step, branch in zip(node.steps, below, strict=True)
            for w in branch
        ]
    return [_together(node.kind, parts) for parts in product(*below)]


def _chance(step: Step) -> float:
    return step.probability if step.probability is not None else step.weight / 100


def _together(kind: NodeKind, parts: Sequence[World]) -> World:
    edges = [edge for part in parts for edge in part.edges]
    probability = 1.0
    calls: dict[str, float] = {}
    for part in parts:
        probability *= part.probability
        calls |= part.calls
    if kind is NodeKind.SEQUENCE:
        for first, second in pairwise(parts):
            edges += product(first.exits, second.entries)
        entries, exits = parts[0].entries, parts[-1].exits
    else:
        entries = tuple(name for part in parts for name in part.entries)
        exits = tuple(name for part in parts for name in part.exits)
    return World(
        probability=probability, calls=calls, edges=tuple(edges), entries=entries, exits=exits
    )


def random_graph(
    rng: random.Random,
    stages: Sequence[str],
    *,
    kinds: Sequence[NodeKind] = tuple(NodeKind),
    variants: Sequence[str] = (),
) -> Node:
    """A graph that calls each of the stages once; votes are over ``variants``, if there are any."""
    made = _grown(rng, list(stages), kinds, variants)
    return made if isinstance(made, Node) else Node(kind=NodeKind.SEQUENCE, steps=(Step(to=made),))


def _grown(
    rng: random.Random, stages: list[str], kinds: Sequence[NodeKind], variants: Sequence[str]
) -> Node | str:
    if len(stages) == 1 and rng.random() < 0.9:
        return stages[0]
    kind = rng.choice(list(kinds))
    count = rng.randint(min(2, len(stages)), min(4, len(stages)))
    cuts = sorted(rng.sample(range(1, len(stages)), count - 1))
    parts = [stages[a:b] for a, b in zip([0, *cuts], [*cuts, len(stages)], strict=True)]
    below = [_grown(rng, part, kinds, variants) for part in parts]
    shares = _shares(rng, len(below))
    steps = tuple(
        Step(
            to=to,
            fan_out=rng.choice([1.0, 1.0, 0.5, 2.5]) if len(kinds) > 2 else 1.0,
            probability=share / 100 if kind is NodeKind.SWITCH else None,
            condition=f"parameters.take{i}" if kind is NodeKind.SWITCH else "",
            weight=share if kind is NodeKind.SPLITTER else None,
        )
        for i, (to, share) in enumerate(zip(below, shares, strict=True))
    )
    merge = rng.choice(list(Merge)) if kind is NodeKind.ENSEMBLE and variants else Merge.MEAN
    votes = {}
    if merge is Merge.VOTE:
        votes = {names: rng.randint(0, 20) / 20 for names in product(variants, repeat=len(stages))}
    return Node(kind=kind, steps=steps, merge=merge, votes=votes)


def _shares(rng: random.Random, count: int) -> list[int]:
    cuts = sorted(rng.sample(range(1, 100), count - 1))
    return [b - a for a, b in zip([0, *cuts], [*cuts, 100], strict=True)]
