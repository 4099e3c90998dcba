"""From a free list of edges between stages to the nested graph that KServe can run, or why not.

An edge ``[a, b]`` says that b gets a's answer. What follows a stage more than once is an Ensemble:
every successor is called. An InferenceGraph is series-parallel, and hands each step one answer; so
the edges must be a *minimal vertex series-parallel* graph: built from single stages by putting
graphs side by side, and one after the other with an edge from every exit of the first to every
entry of the second (Valdes, Tarjan and Lawler, SIAM J. Comput. 11(2), 1982). That is so exactly
when no edge is beside a longer way and no four stages form an N: a before c, b before c and d, and
nothing else among them in an order.

Sets of stages are bits of whole numbers here: 200 stages take milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from penstock.graph import Node, NodeKind, Step

Edge = tuple[str, str]


def edge_faults(edges: Sequence[Edge], stages: Sequence[str]) -> tuple[str, ...]:
    """Return everything that keeps edges from being such a graph, each fault with its edge."""
    faults = [*_loose_ends(edges, stages)]
    order = _Order(stages, edges)
    faults += _cycles(edges, order)
    if faults:
        return tuple(faults)
    return (*_entries(edges, order), *_beside_longer_ways(edges, order), *_ns(edges, order))


def graph_of_edges(edges: Sequence[Edge], stages: Sequence[str]) -> Node:
    """Return the nested graph of edges without faults; steps stand in the order of the stages."""
    order = _Order(stages, edges)
    found = _composed(order, order.everything)
    if isinstance(found, str):
        return Node(kind=NodeKind.SEQUENCE, steps=(Step(to=found),))
    return found


class _Order:
    """Which stage comes before which, as bits: ``above[i]`` has bit j where i comes before j."""

    def __init__(self, stages: Sequence[str], edges: Sequence[Edge]) -> None:
        self.names = tuple(stages)
        self.index = {name: i for i, name in enumerate(stages)}
        self.next = [0] * len(stages)
        for a, b in edges:
            if a in self.index and b in self.index:
                self.next[self.index[a]] |= 1 << self.index[b]
        self.above = list(self.next)
        for k in range(len(stages)):
            for i in range(len(stages)):
                if self.above[i] >> k & 1:
                    self.above[i] |= self.above[k]
        self.below = [0] * len(stages)
        for i, above in enumerate(self.above):
            for j in _bits(above):
                self.below[j] |= 1 << i

    @property
    def everything(self) -> int:
        return (1 << len(self.names)) - 1

    def related(self, i: int) -> int:
        """Return the stages before and after a stage."""
        return self.above[i] | self.below[i]

    def beside(self, i: int) -> int:
        """Return the stages that come neither before nor after a stage."""
        return self.everything & ~self.related(i) & ~(1 << i)

    def between(self, i: int, j: int) -> str:
        """Return the name of a stage between two."""
        return self.names[next(_bits(self.above[i] & self.below[j]))]


def _bits(of: int) -> Iterator[int]:
    while of:
        lowest = of & -of
        yield lowest.bit_length() - 1
        of ^= lowest


def _loose_ends(edges: Sequence[Edge], stages: Sequence[str]) -> Iterator[str]:
    first: dict[Edge, int] = {}
    for i, (a, b) in enumerate(edges):
        for name in (a, b):
            if name not in stages:
                yield (
                    f"edges[{i}]: {a} -> {b} dangles, there is no stage {name!r}, only "
                    f"{', '.join(stages)}"
                )
        if a == b:
            yield f"edges[{i}]: {a} -> {b} leads from a stage to itself"
        if (a, b) in first:
            yield f"edges[{i}]: {a} -> {b} is edges[{first[a, b]}] again"
        first.setdefault((a, b), i)
    touched = {name for edge in edges for name in edge}
    for name in stages:
        if name not in touched and len(stages) > 1:
            yield f"edges: stage {name!r} dangles, no edge leads to it or from it"


def _cycles(edges: Sequence[Edge], order: _Order) -> Iterator[str]:
    """Yield the edges that close a cycle, in the order of the list: without them there is none."""
    leads: dict[str, set[str]] = {name: set() for name in order.names}
    for i, (a, b) in enumerate(edges):
        if a not in leads or b not in leads or a == b:
            continue
        if a in _reached(b, leads):
            yield (f"edges[{i}]: {a} -> {b} closes a cycle; a request would never come to an end")
        else:
            leads[a].add(b)


def _reached(start: str, leads: dict[str, set[str]]) -> set[str]:
    seen, todo = {start}, [start]
    while todo:
        for name in leads[todo.pop()] - seen:
            seen.add(name)
            todo.append(name)
    return seen


def _entries(edges: Sequence[Edge], order: _Order) -> Iterator[str]:
    entries = [name for i, name in enumerate(order.names) if not order.below[i]]
    for entry in entries[1:]:
        i, edge = next((i, e) for i, e in enumerate(edges) if e[0] == entry)
        yield (
            f"edges[{i}]: {edge[0]} -> {edge[1]} begins at {entry!r}, a second entry beside "
            f"{entries[0]!r}; let one stage come before both"
        )


def _beside_longer_ways(edges: Sequence[Edge], order: _Order) -> Iterator[str]:
    for i, (a, b) in enumerate(edges):
        start, end = order.index[a], order.index[b]
        if order.above[start] & order.below[end]:
            yield (
                f"edges[{i}]: {a} -> {b} passes by {order.between(start, end)!r}, which lies "
                "between them; a step of an InferenceGraph gets one answer: leave the edge out"
            )


def _ns(edges: Sequence[Edge], order: _Order) -> Iterator[str]:
    """Yield an N for each part of the graph that is neither in series nor in parallel."""
    for part in _prime_parts(order, order.everything):
        a, b, c, d = _find_n(order, part)
        on_way = order.names[b], order.names[_step_towards(order, b, c)]
        i = edges.index(on_way)
        names = order.names
        yield (
            f"edges[{i}]: {on_way[0]} -> {on_way[1]} makes an N: {names[c]!r} comes after "
            f"{names[a]!r} and {names[b]!r}, {names[d]!r} only after {names[b]!r}; that is not "
            f"series-parallel and no InferenceGraph: put {names[a]!r} before {names[d]!r} too, or "
            f"leave out {names[b]!r} before {names[c]!r}"
        )


def _find_n(order: _Order, part: int) -> tuple[int, int, int, int]:
    for b in _bits(part):
        for c in _bits(order.above[b] & part):
            ds = order.above[b] & order.beside(c) & part
            for a in _bits(order.below[c] & order.beside(b) & part):
                d = next(_bits(ds & order.beside(a)), None)
                if d is not None:
                    return a, b, c, d
    raise AssertionError("an order without an N is series-parallel (Valdes, Tarjan, Lawler)")


def _step_towards(order: _Order, start: int, end: int) -> int:
    """Return the first stage of a way from a stage to one after it."""
    if order.next[start] >> end & 1:
        return end
    return next(k for k in _bits(order.next[start]) if order.above[k] >> end & 1)


def _prime_parts(order: _Order, part: int) -> Iterator[int]:
    """Yield the parts that cannot be taken apart any further and have more than one stage."""
    pieces = _pieces(order, part)
    if pieces.is_prime:
        yield part
        return
    for piece in pieces.parts:
        if piece & (piece - 1):
            yield from _prime_parts(order, piece)


@dataclass(frozen=True, slots=True)
class _Pieces:
    parts: tuple[int, ...]
    in_series: bool

    @property
    def is_prime(self) -> bool:
        return len(self.parts) == 1


def _pieces(order: _Order, part: int) -> _Pieces:
    """Take a part apart: side by side, or one after the other in their order."""
    beside = _connected([order.related(i) & part for i in range(len(order.names))], part)
    if len(beside) > 1:
        return _Pieces(tuple(beside), in_series=False)
    series = _connected([order.beside(i) & part for i in range(len(order.names))], part)
    # What comes later has more before it.
    series.sort(key=lambda one: order.below[next(_bits(one))].bit_count())
    return _Pieces(tuple(series), in_series=True)


def _connected(neighbours: list[int], part: int) -> list[int]:
    """Return the connected parts of a graph given by its neighbours, by their first stage."""
    found = []
    while part:
        one = todo = part & -part
        while todo:
            reached = 0
            for i in _bits(todo):
                reached |= neighbours[i]
            todo = reached & ~one
            one |= reached
        found.append(one)
        part &= ~one
    return found


def _composed(order: _Order, part: int) -> Node | str:
    if not part & (part - 1):
        return order.names[next(_bits(part))]
    pieces = _pieces(order, part)
    kind = NodeKind.SEQUENCE if pieces.in_series else NodeKind.ENSEMBLE
    return Node(kind=kind, steps=tuple(Step(to=_composed(order, p)) for p in pieces.parts))
