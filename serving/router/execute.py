"""A request through the graph, with the answers KServe's router gives (recorded at v0.20.0).

The quirks are KServe's: Soft covers HTTP statuses only, so a step that cannot be reached always
ends the request with 500; an unmet condition of a Sequence answers 200 whatever the step before
had answered; an Ensemble answers 200 even if all its Soft steps failed.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.errors import RetryLaterError, UnreachableError
from serving.router.graph import ROOT, Graph, Node, RouterType, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a step or the whole graph answered."""

    status: int
    body: bytes
    content_type: str = "application/json"

    @classmethod
    def error(cls, status: int, message: str) -> Answer:
        """Return an answer of our own that says what is wrong."""
        return cls(status=status, body=json.dumps({"error": message}).encode())

    @property
    def good(self) -> bool:
        """Whether the status says success."""
        return 200 <= self.status < 300


Call = Callable[[Step, bytes], Awaitable[Answer]]
"""Calls the service of a step; raises UnreachableError when no answer could be had."""


class NoRouteError(RetryLaterError):
    """No condition of a Switch holds for this request."""


class GraphRun:
    """Runs requests through one graph."""

    def __init__(
        self, graph: Graph, call: Call, *, draw: Callable[[], float] = random.random
    ) -> None:
        """Run ``graph``; ``draw`` gives the Splitter's random numbers from [0, 1)."""
        self._graph = graph
        self._call = call
        self._draw = draw
        self._routers = {
            RouterType.SEQUENCE: self._sequence,
            RouterType.SPLITTER: self._splitter,
            RouterType.ENSEMBLE: self._ensemble,
            RouterType.SWITCH: self._switch,
        }

    async def answer(self, body: bytes) -> Answer:
        """Return the graph's answer; a step without one becomes 500, no route 404."""
        root = self._graph.nodes[ROOT]
        try:
            return await self._run(root, body)
        except NoRouteError as err:
            return _failed(err, 404 if root.router is RouterType.SWITCH else 500)
        except UnreachableError as err:
            return _failed(err, 500)

    async def _run(self, node: Node, body: bytes) -> Answer:
        return await self._routers[node.router](node.steps, body)

    async def _step(self, step: Step, body: bytes) -> Answer:
        if step.node:
            return await self._run(self._graph.nodes[step.node], body)
        return await self._call(step, body)

    async def _sequence(self, steps: Sequence[Step], body: bytes) -> Answer:
        answer = Answer(status=200, body=b"")
        for index, step in enumerate(steps):
            if index and step.condition and not exists(_json(answer.body), step.condition):
                return Answer(status=200, body=answer.body)
            answer = await self._step(step, _input(step, body, answer, first=index == 0))
            if step.hard and not answer.good:
                return answer
        return answer

    async def _switch(self, steps: Sequence[Step], body: bytes) -> Answer:
        none_matched = "None of the routes matched with the switch condition"
        try:
            document = _json(body)
        except UnreachableError as err:
            raise NoRouteError(none_matched) from err
        for step in steps:
            if exists(document, step.condition):
                return await self._step(step, body)
        raise NoRouteError(none_matched)

    async def _splitter(self, steps: Sequence[Step], body: bytes) -> Answer:
        drawn, passed = self._draw() * 100, 0
        for step in steps:
            passed += step.weight
            if drawn < passed:
                return await self._step(step, body)
        return await self._step(steps[-1], body)

    async def _ensemble(self, steps: Sequence[Step], body: bytes) -> Answer:
        tasks = [asyncio.ensure_future(self._step(step, body)) for step in steps]
        try:
            answers = await asyncio.gather(*tasks)
        finally:
            # One that failed leaves its siblings running; they must not outlive the request.
            for task in tasks:
                task.cancel()
        merged: dict[str, Any] = {}
        for index, (step, answer) in enumerate(zip(steps, answers, strict=True)):
            if step.hard and not answer.good:
                return answer
            document = _json(answer.body)
            if not isinstance(document, dict):
                raise UnreachableError(f"step {step.name or index} answered no JSON object")
            merged[step.name or str(index)] = document
        return Answer(status=200, body=json.dumps(merged, sort_keys=True).encode())


def exists(document: Any, path: Sequence[str]) -> bool:
    """Return whether keys and indices lead to a value; null and false are values, as in GJSON."""
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return False
    return True


def _input(step: Step, body: bytes, answer: Answer, *, first: bool) -> bytes:
    if first or not step.takes_response:
        return body
    if not step.maps_predictions:
        return answer.body
    document = _json(answer.body)
    predictions = document.get("predictions") if isinstance(document, dict) else None
    return json.dumps({"instances": predictions}).encode()


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as err:
        raise UnreachableError("invalid response") from err


def _failed(error: RetryLaterError, status: int) -> Answer:
    text = {"error": "Failed to process request", "cause": str(error)}
    return Answer(status=status, body=json.dumps(text).encode())
