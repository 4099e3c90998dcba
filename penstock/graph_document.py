"""The ``graph`` of a pipeline document: nested nodes, or a free list of edges.

Types and bounds stand in the models, what makes sense together in ``graph`` and ``edges``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from penstock.edges import edge_faults, graph_of_edges
from penstock.graph import Merge, Node, NodeKind, Step, graph_faults, nodes_of, where

_Name = Annotated[str, StringConstraints(min_length=1, max_length=50)]
_NodeName = Annotated[
    str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=50)
]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VoteDocument(_Part):
    """The accuracy of one combination of variants."""

    variants: Annotated[tuple[_Name, ...], Field(min_length=1, max_length=200)]
    accuracy: _Share


class StepDocument(_Part):
    """A step; it has a ``stage`` or a ``node``."""

    stage: _Name | None = None
    node: NodeDocument | None = None
    fan_out: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)] = 1.0
    probability: _Share | None = None
    condition: Annotated[str, StringConstraints(max_length=500)] = ""
    weight: Annotated[int, Field(ge=1, le=100, strict=True)] | None = None

    @model_validator(mode="after")
    def _has_one_target(self) -> Self:
        if (self.stage is None) == (self.node is None):
            raise ValueError("a step must have either a stage or a node")
        return self


class NodeDocument(_Part):
    """A node and its steps."""

    kind: NodeKind
    name: _NodeName | None = None
    merge: Merge = Merge.MEAN
    votes: Annotated[tuple[VoteDocument, ...], Field(max_length=4096)] = ()
    steps: Annotated[tuple[StepDocument, ...], Field(min_length=1, max_length=200)]


_Edge = Annotated[tuple[_Name, ...], Field(min_length=2, max_length=2)]


class GraphDocument(_Part):
    """The root node, or the edges that it is made from."""

    kind: NodeKind | None = None
    merge: Merge = Merge.MEAN
    votes: Annotated[tuple[VoteDocument, ...], Field(max_length=4096)] = ()
    steps: Annotated[tuple[StepDocument, ...], Field(min_length=1, max_length=200)] | None = None
    edges: Annotated[tuple[_Edge, ...], Field(min_length=1, max_length=2000)] | None = None

    @model_validator(mode="after")
    def _has_one_form(self) -> Self:
        if self.edges is not None:
            if self.model_fields_set != {"edges"}:
                raise ValueError("a graph must have either edges, alone, or a kind and steps")
        elif self.kind is None or self.steps is None:
            raise ValueError("a graph must have a kind and steps, or edges")
        return self


def to_graph(document: GraphDocument, stages: list[str]) -> Node:
    """Return the graph of a document without faults."""
    if document.edges is not None:
        return graph_of_edges([(a, b) for a, b in document.edges], stages)
    assert document.kind is not None
    assert document.steps is not None, "the model requires them together"
    return _node(document.kind, document)


def graph_document(graph: Node) -> dict[str, Any]:
    """Return a graph as the document has it; what is a default is left out."""
    document: dict[str, Any] = {"kind": str(graph.kind)}
    if graph.name:
        document["name"] = graph.name
    if graph.kind is NodeKind.ENSEMBLE:
        document["merge"] = str(graph.merge)
    if graph.votes:
        document["votes"] = [
            {"variants": list(names), "accuracy": accuracy}
            for names, accuracy in graph.votes.items()
        ]
    document["steps"] = [_step_document(step) for step in graph.steps]
    return document


def graph_sense(raw: object, stages: Mapping[str, list[str]], *, mode: object) -> Iterator[str]:
    """Yield what is wrong between the fields of a raw graph, each with its path in the document.

    A graph whose shape is at fault is passed over: the models tell that.
    """
    try:
        document = GraphDocument.model_validate(raw)
    except ValidationError:
        return
    if document.edges is not None:
        faults = edge_faults([(a, b) for a, b in document.edges], list(stages))
        yield from (f"spec.graph.{fault}" for fault in faults)
        if faults:
            return
    else:
        yield from _repeated_votes(document, "spec.graph")
    graph = to_graph(document, list(stages))
    for fault in graph_faults(graph, stages, is_ranked=mode == "ranks"):
        yield f"spec.{fault}"
    for place, node in nodes_of(graph):
        below = [stages.get(name, []) for name in node.stages()]
        for i, names in enumerate(node.votes):
            if len(names) != len(below) or any(
                n not in v for n, v in zip(names, below, strict=True)
            ):
                yield (
                    f"spec.{where(place)}.votes[{i}]: {'+'.join(names)} are no variants of "
                    f"{', '.join(node.stages())}"
                )


def _repeated_votes(document: GraphDocument | NodeDocument, path: str) -> Iterator[str]:
    """Yield the combinations that a vote table has twice: the second would silently win."""
    seen: dict[tuple[str, ...], int] = {}
    for i, vote in enumerate(document.votes):
        if vote.variants in seen:
            yield f"{path}.votes[{i}]: {'+'.join(vote.variants)} is votes[{seen[vote.variants]}]"
        seen.setdefault(vote.variants, i)
    for i, step in enumerate(document.steps or ()):
        if step.node is not None:
            yield from _repeated_votes(step.node, f"{path}.steps[{i}].node")


def _node(kind: NodeKind, document: GraphDocument | NodeDocument) -> Node:
    return Node(
        kind=kind,
        name=(document.name or "") if isinstance(document, NodeDocument) else "",
        merge=document.merge,
        votes={vote.variants: vote.accuracy for vote in document.votes},
        steps=tuple(_step(step) for step in document.steps or ()),
    )


def _step(document: StepDocument) -> Step:
    node = document.node
    return Step(
        to=document.stage or "" if node is None else _node(node.kind, node),
        fan_out=document.fan_out,
        probability=document.probability,
        condition=document.condition,
        weight=document.weight,
    )


def _step_document(step: Step) -> dict[str, Any]:
    document: dict[str, Any] = (
        {"node": graph_document(step.to)} if isinstance(step.to, Node) else {"stage": step.to}
    )
    given = {
        "fan_out": step.fan_out if step.fan_out != 1 else None,
        "probability": step.probability,
        "condition": step.condition or None,
        "weight": step.weight,
    }
    return document | {key: value for key, value in given.items() if value is not None}
