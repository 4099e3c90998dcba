"""Pipelines as graphs: Sequence, Ensemble, Switch and Splitter, nested, with stages as leaves.

The shapes are KServe's InferenceGraph's. What a graph means for planning:

* **Load.** A stage sees, per request at the entry, the product of the probabilities and fan-outs
  on its way, times its own ``visit_ratio``.
* **Latency.** A *path* is a set of stages that one request may wait for one after the other:
  through all steps of a Sequence, one branch of every other node. The calls of a fan-out are made
  side by side and count once.
* **Accuracy.** A Sequence composes as the objective's mode says. A Switch and a Splitter are the
  mean of their branches, weighted by probability. An Ensemble says how it merges (``Merge``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING

from penstock.checks import require

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_DEPTH = 16
"""How deep nodes may nest."""

MAX_PATHS = 256
"""How many paths a graph may have: each is a limit of its own for the solvers."""

MAX_VOTES = 4096
"""How many combinations of variants a vote table may have."""

ROOT = "root"
"""What KServe calls the entry node."""

Place = tuple[int, ...]
"""Where a node or a step stands: the indices of the steps that lead to it from the root."""


class NodeKind(StrEnum):
    """How a node calls its steps."""

    SEQUENCE = "Sequence"
    """One after the other; each gets the answer of the one before."""
    ENSEMBLE = "Ensemble"
    """All at once; the answer holds all their answers."""
    SWITCH = "Switch"
    """The first whose condition holds for the request."""
    SPLITTER = "Splitter"
    """One at random, by weight."""


class Merge(StrEnum):
    """What the branches' accuracies make of an Ensemble's."""

    MEAN = "mean"
    """Their mean: an answer of one of them is taken, whichever it is."""
    MAX = "max"
    """The best one's: whoever reads the answers knows whom to believe."""
    VOTE = "vote"
    """As measured for each combination of variants, in ``Node.votes``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call of a node: a stage, by its name, or another node.

    ``fan_out`` is how many requests it makes, on average, of one: crops of an image. A step of a
    Switch has the ``probability`` with which it is taken and its ``condition``, a GJSON path that
    must exist in the request; the last one may have none and takes what is left. A step of a
    Splitter has a ``weight`` in whole percent.
    """

    to: str | Node
    fan_out: float = 1.0
    probability: float | None = None
    condition: str = ""
    weight: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node and its steps. ``name`` is its name in the InferenceGraph, by default made up.

    ``merge`` and ``votes`` are an Ensemble's. ``votes`` maps the variants of the stages below, in
    the order of the graph, to the accuracy measured for that combination.
    """

    kind: NodeKind
    steps: tuple[Step, ...]
    name: str = ""
    merge: Merge = Merge.MEAN
    votes: Mapping[tuple[str, ...], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "votes", MappingProxyType(dict(self.votes)))

    def stages(self) -> tuple[str, ...]:
        """Return the names of the stages below, in the order of the graph."""
        below = (s.to.stages() if isinstance(s.to, Node) else (s.to,) for s in self.steps)
        return tuple(name for names in below for name in names)

    def shares(self) -> tuple[float, ...]:
        """Return for each step the probability that a request takes it."""
        if self.kind is NodeKind.SWITCH:
            return tuple(s.probability or 0.0 for s in self.steps)
        if self.kind is NodeKind.SPLITTER:
            return tuple((s.weight or 0) / 100 for s in self.steps)
        return (1.0,) * len(self.steps)


def sequence(stages: Sequence[str]) -> Node:
    """Return the graph that calls stages one after the other."""
    return Node(kind=NodeKind.SEQUENCE, steps=tuple(Step(to=name) for name in stages))


def is_chain(graph: Node, stages: Sequence[str]) -> bool:
    """Whether the graph calls these stages, one after the other in this order, and no more."""
    called = [step.to for step in graph.steps]
    return graph.kind is NodeKind.SEQUENCE and called == list(stages)


def nodes_of(graph: Node, place: Place = ()) -> Iterator[tuple[Place, Node]]:
    """Yield every node with its place, each before those below it, the root first."""
    yield place, graph
    for i, step in enumerate(graph.steps):
        if isinstance(step.to, Node):
            yield from nodes_of(step.to, (*place, i))


def node_names(graph: Node) -> dict[Place, str]:
    """Return the name of each node in the InferenceGraph: ``root``, the given or a made-up one."""
    taken = {node.name for _, node in nodes_of(graph)}
    names: dict[Place, str] = {}
    for place, node in nodes_of(graph):
        name = node.name if place else ROOT
        if not name:
            parts = [node.kind.lower(), *(str(i + 1) for i in place)]
            while (name := "-".join(parts)) in taken:
                parts.append("x")
        taken.add(name)
        names[place] = name
    return names


def visits(graph: Node) -> dict[str, float]:
    """Return for each stage the requests it sees per request of the graph."""
    seen: dict[str, float] = {}
    for step, chance in zip(graph.steps, graph.shares(), strict=True):
        each = chance * step.fan_out
        below = visits(step.to) if isinstance(step.to, Node) else {step.to: 1.0}
        for stage, ratio in below.items():
            seen[stage] = seen.get(stage, 0.0) + each * ratio
    return seen


def paths(graph: Node) -> tuple[tuple[str, ...], ...]:
    """Return the stages of each path, in the order of the graph."""
    below = [paths(s.to) if isinstance(s.to, Node) else ((s.to,),) for s in graph.steps]
    if graph.kind is NodeKind.SEQUENCE:
        return tuple(tuple(n for part in parts for n in part) for parts in product(*below))
    return tuple(path for branch in below for path in branch)


def count_paths(graph: Node) -> int:
    """Return how many paths there are, without making them."""
    below = [count_paths(s.to) if isinstance(s.to, Node) else 1 for s in graph.steps]
    return math.prod(below) if graph.kind is NodeKind.SEQUENCE else sum(below)


def where(place: Place) -> str:
    """Return a node's place as the document has it: ``graph.steps[1].node``."""
    return "graph" + "".join(f".steps[{i}].node" for i in place)


def graph_faults(
    graph: Node, stages: Mapping[str, Sequence[str]], *, is_ranked: bool = False
) -> Iterator[str]:
    """Yield what is wrong with a graph over stages and their variants, each with its path.

    ``is_ranked`` says that accuracies are ranks, among which a measured vote means nothing.
    """
    used: dict[str, str] = {}
    for place, node in nodes_of(graph):
        path = where(place)
        yield from _node_faults(node, path, stages)
        if is_ranked and node.merge is Merge.VOTE:
            yield f"{path}.merge: a vote's accuracies can't be told in ranks; use another mode"
        for i, step in enumerate(node.steps):
            at = f"{path}.steps[{i}]"
            yield from _step_faults(node, i, at)
            if not isinstance(step.to, Node):
                yield from _stage_faults(step.to, at, stages, used)
    for name in stages:
        if name not in used:
            yield f"graph: stage {name!r} is in no step"
    yield from _name_faults(graph)
    if (count := count_paths(graph)) > MAX_PATHS:
        yield f"graph: has {count} paths from its entry to an exit, at most {MAX_PATHS} are taken"


def require_graph(
    what: str, graph: Node, stages: Mapping[str, Sequence[str]], *, is_ranked: bool = False
) -> None:
    """Check a graph over stages and their variants; see ``graph_faults``.

    Raises:
        DomainError: it has faults; all of them.
    """
    faults = tuple(graph_faults(graph, stages, is_ranked=is_ranked))
    require(not faults, "\n  ".join([f"{what}: its graph has faults", *faults]))


def _stage_faults(
    name: str, path: str, stages: Mapping[str, Sequence[str]], used: dict[str, str]
) -> Iterator[str]:
    if name not in stages:
        yield f"{path}.stage: there is no stage {name!r}, only {', '.join(stages)}"
    elif name in used:
        yield (
            f"{path}.stage: {name!r} is called at {used[name]} already; both places would have to "
            "run the same variant: give each a stage of its own"
        )
    used.setdefault(name, path)


def _node_faults(node: Node, path: str, stages: Mapping[str, Sequence[str]]) -> Iterator[str]:
    if not node.steps:
        yield f"{path}.steps: must have at least one step"
    if node.kind is NodeKind.SPLITTER and all(s.weight is not None for s in node.steps):
        total = sum(s.weight or 0 for s in node.steps)
        if total != 100:
            yield f"{path}.steps: the weights must add up to 100, they make {total}"
    if node.kind is NodeKind.SWITCH and all(s.probability is not None for s in node.steps):
        chance = math.fsum(s.probability or 0.0 for s in node.steps)
        if not math.isclose(chance, 1.0, abs_tol=1e-6):
            yield f"{path}.steps: the probabilities must add up to 1, they make {chance:g}"
    if node.kind is not NodeKind.ENSEMBLE and node.merge is not Merge.MEAN:
        yield f"{path}.merge: is an Ensemble's, this is a {node.kind}"
    if (node.merge is Merge.VOTE) != bool(node.votes):
        yield f"{path}.votes: are for merge: vote, which needs them; merge is {node.merge}"
    elif node.votes:
        yield from _vote_faults(node, path, stages)


def _vote_faults(node: Node, path: str, stages: Mapping[str, Sequence[str]]) -> Iterator[str]:
    below = node.stages()
    for names, accuracy in node.votes.items():
        if not 0 <= accuracy <= 1:
            yield f"{path}.votes: {'+'.join(names)} must lie in [0, 1], got {accuracy}"
    if all(name in stages for name in below):
        count = math.prod(len(stages[name]) for name in below)
        if count > MAX_VOTES:
            yield f"{path}.votes: would need {count} combinations, at most {MAX_VOTES} are taken"
            return
        missing = [
            "+".join(names)
            for names in product(*(stages[name] for name in below))
            if names not in node.votes
        ]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            yield (
                f"{path}.votes: no accuracy of {', '.join(missing[:5])}{more} "
                f"(variants of {', '.join(below)})"
            )


def _step_faults(node: Node, i: int, path: str) -> Iterator[str]:
    step, kind = node.steps[i], node.kind
    is_last = i == len(node.steps) - 1
    wanted = {
        "probability": (kind is NodeKind.SWITCH, step.probability is not None),
        "weight": (kind is NodeKind.SPLITTER, step.weight is not None),
        "condition": (kind is NodeKind.SWITCH and not is_last, bool(step.condition)),
    }
    for key, (needed, given) in wanted.items():
        if needed and not given:
            yield f"{path}.{key}: is missing, each step of a {kind} needs one"
        elif given and not needed and not (key == "condition" and kind is NodeKind.SWITCH):
            yield f"{path}.{key}: has no meaning in a {kind}"
    if step.probability is not None and not 0 < step.probability <= 1:
        yield f"{path}.probability: must lie in (0, 1], got {step.probability}"
    if step.weight is not None and not 1 <= step.weight <= 100:
        yield f"{path}.weight: must be a whole percentage in 1..100, got {step.weight}"
    if not (math.isfinite(step.fan_out) and step.fan_out > 0):
        yield f"{path}.fan_out: must be finite and above 0, got {step.fan_out}"


def _name_faults(graph: Node) -> Iterator[str]:
    """Yield names that two nodes have, and steps of one node that would have the same name."""
    if graph.name:
        yield f"graph.name: the entry is called {ROOT}, it can't be {graph.name!r}"
    at: dict[str, str] = {ROOT: "the entry"}
    names = node_names(graph)
    for place, node in nodes_of(graph):
        path = where(place)
        if place and node.name:
            if node.name in at:
                yield f"{path}.name: {node.name!r} is the name of {at[node.name]} already"
            at.setdefault(node.name, path)
        called: set[str] = set()
        for i, step in enumerate(node.steps):
            name = names[(*place, i)] if isinstance(step.to, Node) else step.to
            if name in called:
                yield f"{path}.steps[{i}]: {name!r} is the name of another step of its node"
            called.add(name)
    if max(len(place) for place in names) >= MAX_DEPTH:
        yield f"graph: nodes nest {max(map(len, names)) + 1} deep, at most {MAX_DEPTH} are taken"
