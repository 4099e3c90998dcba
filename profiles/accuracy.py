"""How often variants are right: each stage by itself, and the pipeline for each combination.

Errors of stages are not independent: what *locate* misses, *classify* never sees, and crops that
are hard to find are hard to read. So the pipeline's accuracy is measured for each combination of
variants, by the way that requests take when they are served: the answer of a stage, byte for byte,
is the request to the next. Each variant is started once; the answers of the stages before it are
kept, so that S stages of V variants ask V + V² + … + V^S times, not S · V^S times.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from penstock.errors import ProfileError

if TYPE_CHECKING:
    from penstock.dataset import LabelledRequest
    from profiles.scoring import Scorer


Ask = Callable[[Sequence[bytes]], Sequence[bytes]]
"""Sends requests to a running variant and returns its answers in the same order."""

OpenVariant = Callable[[str, str], AbstractContextManager[Ask]]
"""Starts a stage's variant for the time of a ``with`` block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Held-out requests and how answers to them are scored."""

    requests: Sequence[LabelledRequest]
    scorer: Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracies:
    """``stages`` maps (stage, variant), ``joint`` variant names in stage order, to shares."""

    stages: Mapping[tuple[str, str], float] = field(default_factory=dict)
    joint: Mapping[tuple[str, ...], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", MappingProxyType(dict(self.stages)))
        object.__setattr__(self, "joint", MappingProxyType(dict(self.joint)))


def measure_accuracies(
    stages: Mapping[str, Sequence[str]],
    tasks: Mapping[str, Task],
    pipeline: Task,
    *,
    open_variant: OpenVariant,
    on_variant: Callable[[str, str], None] | None = None,
) -> Accuracies:
    """Measure every stage's variants by themselves and the pipeline for each combination.

    ``stages`` maps stage names, in the pipeline's order, to their variants; ``tasks`` holds stages'
    own requests (a stage without any is measured only as a part of the whole), ``pipeline`` those
    of the pipeline's entry.

    Raises:
        ProfileError: a variant refused a request or answered nonsense, or there is nothing to
            score.
        UnreachableError: a variant did not answer.
    """
    by_stage: dict[tuple[str, str], float] = {}
    carried: dict[tuple[str, ...], Sequence[bytes]] = {(): bodies_of(pipeline)}
    for stage, variants in stages.items():
        answered: dict[tuple[str, ...], Sequence[bytes]] = {}
        own = bodies_of(tasks[stage]) if stage in tasks else []
        for variant in variants:
            with open_variant(stage, variant) as ask:
                alone = ask(own)
                for names, bodies in carried.items():
                    # The entry's own requests are often the pipeline's: then they are asked once.
                    answered[*names, variant] = alone if bodies == own else ask(bodies)
            if stage in tasks:
                what = f"{stage}/{variant}"
                by_stage[stage, variant] = accuracy_of(alone, tasks[stage], what=what)
            if on_variant:
                on_variant(stage, variant)
        carried = answered
    joint = {
        names: accuracy_of(answers, pipeline, what="+".join(names))
        for names, answers in carried.items()
    }
    return Accuracies(stages=by_stage, joint=joint)


def measure_stages(
    stages: Mapping[str, Sequence[str]],
    tasks: Mapping[str, Task],
    pipeline: Task,
    *,
    open_variant: OpenVariant,
    on_variant: Callable[[str, str], None] | None = None,
) -> Accuracies:
    """Measure every stage's variants by themselves and no combination: for graphs.

    How requests get from stage to stage of a graph, and what is right in the end, nobody has said.
    The arguments are those of ``measure_accuracies``; ``pipeline`` is not asked.

    Raises:
        ProfileError: a variant refused a request or answered nonsense, or there is nothing to
            score.
        UnreachableError: a variant did not answer.
    """
    found: dict[tuple[str, str], float] = {}
    for stage, variants in stages.items():
        one = measure_accuracies(
            {stage: variants}, tasks, tasks[stage], open_variant=open_variant, on_variant=on_variant
        )
        found |= one.stages
    return Accuracies(stages=found)


def bodies_of(task: Task) -> list[bytes]:
    """Return what a task sends."""
    return [request.body for request in task.requests]


def accuracy_of(answers: Sequence[bytes], task: Task, *, what: str) -> float:
    """Return the share of things that the answers, given in the requests' order, got right.

    Raises:
        ProfileError: an answer can't be read or scored, or there is nothing to score.
    """
    try:
        scores = [
            task.scorer(_outputs(answer), request)
            for answer, request in zip(answers, task.requests, strict=True)
        ]
    except ProfileError as err:
        raise ProfileError(f"{what}: {err}") from err
    total = sum(score.total for score in scores)
    if total <= 0:
        raise ProfileError(
            f"{what}: its {len(scores)} held-out requests hold nothing to be right about: "
            "give requests with labels"
        )
    return sum(score.correct for score in scores) / total


def _outputs(answer: bytes) -> Mapping[str, Any]:
    """Return the data of an answer's outputs by their names."""
    try:
        return {output["name"]: output["data"] for output in json.loads(answer)["outputs"]}
    except (ValueError, KeyError, TypeError) as err:
        raise ProfileError(
            f"the answer {answer[:200]!r} is none of the Open Inference Protocol"
        ) from err
