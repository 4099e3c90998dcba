"""The predictor's HTTP face and the one model call at a time behind it.

Why not the server of the kserve package: measured, it takes 3.8 s to import, answers on its event
loop one request at a time, and closes its listener the instant SIGTERM arrives, so that a request
on its way is refused. Here requests are read and checked on the event loop, wait in a bounded
queue, and go to the model as one batch in a worker thread. A request that makes no sense never
reaches the queue, and a batch that fails is asked again one request at a time, so that nobody pays
for a neighbour.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from penstock.errors import PenstockError
from serving.predictor.batching import BatchFile, BatchLimits, BatchQueue
from serving.predictor.cpu_share import CpuShare
from serving.predictor.handlers import Handler
from serving.predictor.metrics import PredictorMetrics
from serving.predictor.protocol import AnswerError, InputError, Tensors, decode, encode_answer
from serving.predictor.session import ModelError, TensorSpec

MAX_BODY_BYTES = 8 * 1024 * 1024
BATCH_FILE_POLL_S = 0.1
RETRY_AFTER_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is served: a name, its handler, and what the model says about its tensors."""

    name: str
    handler: Handler
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()


@dataclass(slots=True)
class _Waiting:
    item: Any
    answer: asyncio.Future[Tensors] = field(default_factory=asyncio.Future)


class Predictor:
    """Queue, model thread and CPU account of one replica; ``run`` is its loop."""

    def __init__(
        self,
        model: Model,
        *,
        batch_file: BatchFile,
        cpu_cores: float = 0.0,
        max_queue: int = 256,
    ) -> None:
        self.model = model
        self.metrics = PredictorMetrics(model.name)
        self.in_flight = 0
        self._batch_file = batch_file
        self._queue: BatchQueue[_Waiting] = BatchQueue(
            batch_file.poll() or BatchLimits(), max_queue=max_queue
        )
        self._share = CpuShare(cpu_cores, now_s=time.monotonic(), cpu_s=time.process_time())
        self._arrived = asyncio.Event()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self.metrics.queue_length.set_function(lambda: len(self._queue))
        self._note_limits()

    @property
    def full(self) -> bool:
        """Whether the next request has to be turned away."""
        return self._queue.full

    async def answer(self, item: Any) -> Tensors | None:
        """Return the model's answer to one decoded request; None when the queue is full.

        Raises:
            ModelError: the model failed on this very request.
        """
        waiting = _Waiting(item)
        if not self._queue.put(waiting, now_s=time.monotonic()):
            return None
        self._arrived.set()
        return await waiting.answer

    async def run(self) -> None:
        """Serve batches until cancelled."""
        while True:
            await self._pause()
            batch = self._queue.take(now_s=time.monotonic())
            if batch:
                await self._serve(batch)
            else:
                await self._until_due()

    async def follow_batch_file(self) -> None:
        """Take over new batch limits from the file until cancelled."""
        while True:
            await asyncio.sleep(BATCH_FILE_POLL_S)
            limits = self._batch_file.poll()
            if limits is not None:
                self._queue.limits = limits
                self._arrived.set()
            self._note_limits()

    def close(self) -> None:
        """Let the model thread go; a call that is running finishes."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _until_due(self) -> None:
        self._arrived.clear()
        closes_s = self._queue.closes_s()
        timeout_s = None if closes_s is None else closes_s - time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()

    async def _serve(self, batch: Sequence[tuple[float, _Waiting]]) -> None:
        for waited_s, _ in batch:
            self.metrics.queue_seconds.observe(waited_s)
        self.metrics.batch_size.observe(len(batch))
        waiting = [one for _, one in batch]
        began_s = time.monotonic()
        outcomes = await self._call([one.item for one in waiting])
        # The answer is held until the work is paid for: under a CFS quota, too, the model would
        # have been stopped in the middle and have answered only now.
        await self._pause()
        self.metrics.service_seconds.observe(time.monotonic() - began_s)
        for one, outcome in zip(waiting, outcomes, strict=True):
            if one.answer.done():
                continue
            if isinstance(outcome, BaseException):
                one.answer.set_exception(outcome)
            else:
                one.answer.set_result(outcome)

    async def _call(self, items: Sequence[Any]) -> Sequence[Tensors | BaseException]:
        future = asyncio.get_running_loop().run_in_executor(
            self._worker, self.model.handler.run, items
        )
        await asyncio.wait([future])
        error = future.exception()
        if error is None:
            answers = future.result()
            if len(answers) == len(items):
                return answers
            error = ModelError(f"{len(answers)} answers to {len(items)} requests")
        if len(items) == 1:
            return [error]
        return [outcome for item in items for outcome in await self._call([item])]

    async def _pause(self) -> None:
        pause_s = self._share.pause_s(now_s=time.monotonic(), cpu_s=time.process_time())
        if pause_s > 0:
            await asyncio.sleep(pause_s)

    def _note_limits(self) -> None:
        self.metrics.max_batch_size.set(self._queue.limits.max_batch_size)
        self.metrics.batch_file_faults.set(self._batch_file.faults)


class PredictorApp:
    """The routes of the Open Inference Protocol around a :class:`Predictor`."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.ready = True
        self.draining = False
        predictor.metrics.ready.set_function(lambda: self.ready)

    def application(self) -> web.Application:
        """Return the application; its start and end carry the predictor's loop."""
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[errors_as_json])
        app.add_routes(
            [
                web.get("/v2/health/live", self._live),
                web.get("/v2/health/ready", self._ready),
                web.get("/v2/models/{model}", self._metadata),
                web.get("/v2/models/{model}/ready", self._model_ready),
                web.post("/v2/models/{model}/infer", self._infer),
                web.get("/metrics", self._metrics),
            ]
        )
        app.cleanup_ctx.append(self._background)
        return app

    async def _background(self, _app: web.Application) -> Any:
        tasks = [
            asyncio.create_task(self._predictor.run()),
            asyncio.create_task(self._predictor.follow_batch_file()),
        ]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._predictor.close()

    async def _live(self, _request: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, _request: web.Request) -> web.Response:
        return web.json_response({"ready": self.ready}, status=200 if self.ready else 503)

    async def _metadata(self, request: web.Request) -> web.Response:
        return self._unknown(request) or web.json_response(_metadata(self._predictor.model))

    async def _model_ready(self, request: web.Request) -> web.Response:
        return self._unknown(request) or await self._ready(request)

    async def _metrics(self, _request: web.Request) -> web.Response:
        body = self._predictor.metrics.render()
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _infer(self, request: web.Request) -> web.Response:
        unknown = self._unknown(request)
        if unknown is not None:
            return unknown
        predictor = self._predictor
        predictor.in_flight += 1
        predictor.metrics.in_flight.set(predictor.in_flight)
        try:
            response = await self._answer(request)
        finally:
            predictor.in_flight -= 1
            predictor.metrics.in_flight.set(predictor.in_flight)
        predictor.metrics.answered(response.status)
        if self.draining:
            # A client that keeps its connection would meet a closed door with its next request.
            response.force_close()
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        if self._predictor.full:
            return _busy()
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _error(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        try:
            message = decode(body)
            item = self._predictor.model.handler.decode(message.tensors)
        except InputError as err:
            return web.json_response({"error": str(err), "path": err.path}, status=400)
        return await self._predict(item, identity=message.id)

    async def _predict(self, item: Any, *, identity: str) -> web.Response:
        try:
            answer = await self._predictor.answer(item)
            if answer is None:
                return _busy()
            encoded = encode_answer(answer, model=self._predictor.model.name, identity=identity)
        except (PenstockError, AnswerError) as err:
            return _error(500, str(err))
        return web.Response(body=encoded, content_type="application/json")

    def _unknown(self, request: web.Request) -> web.Response | None:
        name = request.match_info["model"]
        if name == self._predictor.model.name:
            return None
        return _error(404, f"no model {name!r} here, only {self._predictor.model.name!r}")


@web.middleware
async def errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer what no route foresaw (404, 405, 413) as the protocol does: ``{"error": text}``."""
    try:
        return await handler(request)
    except web.HTTPException as err:
        if err.status < 400:
            raise
        return web.json_response({"error": err.reason}, status=err.status)


def _busy() -> web.Response:
    text = json.dumps({"error": "the queue is full; try again later, or add replicas"})
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return web.Response(text=text, status=503, content_type="application/json", headers=headers)


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def _metadata(model: Model) -> dict[str, Any]:
    def described(specs: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
        return [{"name": s.name, "datatype": s.datatype, "shape": list(s.shape)} for s in specs]

    return {
        "name": model.name,
        "platform": "onnxruntime_onnx",
        "inputs": described(model.inputs),
        "outputs": described(model.outputs),
    }
