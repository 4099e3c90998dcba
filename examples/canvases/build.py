"""From nothing to an output folder: ``models/<stage>/<variant>/`` and ``dataset/``."""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from examples.canvases.config import Example, Recipe, recipe_digest
from examples.canvases.draw import Canvases, Style, draw
from examples.canvases.export import (
    artifact_folder,
    export_onnx,
    read_description,
    write_description,
)
from examples.canvases.heldout import write_heldout
from examples.canvases.pools import cut_items
from examples.canvases.sources import Sources
from examples.canvases.tuning import best_threshold
from penstock.progress import Progress, Report, silent
from serving.predictor.handlers.detect import DetectParams, find_boxes

if TYPE_CHECKING:
    from examples.canvases.training import TrainingStep
    from serving.predictor.session import Session

STEP = "models"
MOST_WORKERS = 4
"""Each holds its own canvases and compiled nets: about 1 GB."""

_LEAST_THRESHOLD = 0.02
_PROBES = 4
_BATCH = 32


def build(
    example: Example,
    sources: Sources,
    out: Path,
    *,
    report: Report = silent,
    force: bool = False,
) -> None:
    """Draw, train, export and write the held-out requests.

    A variant whose recipe, data and training code are what it was trained with is left as it is,
    unless ``force``. Every folder and file appears only when it is whole, so a run that was stopped
    goes on where it was.

    Raises:
        ArtifactError: an exported model does not do what its Keras model does.
    """
    stale = []
    board = _Board(report, names=[f"{stage}/{r.name}" for stage, r in example.recipes()])
    for stage, recipe in example.recipes():
        known = read_description(_target(out, stage, recipe))
        digest = recipe_digest(example, stage, recipe, data_digest=sources.digest())
        if known is None or known.get("recipe_sha256") != digest or force:
            stale.append((stage, recipe))
        else:
            board.tell(f"{stage}/{recipe.name}", 1.0, "is up to date")
    _train(stale, example, sources, out, board)
    board.say("held-out requests")
    write_heldout(_Work(example, sources).test, example, out / "dataset")
    board.finish()


def _target(out: Path, stage: str, recipe: Recipe) -> Path:
    return out / "models" / stage / recipe.name


def _train(
    stale: Sequence[tuple[str, Recipe]],
    example: Example,
    sources: Sources,
    out: Path,
    board: _Board,
) -> None:
    """Train variants, as many at a time as there are cores: a small net does not fill two.

    The dearest go first, so that none is left over at the end.
    """
    if not stale:
        return
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[tuple[str, float, str]] = context.Queue()
    dearest_first = sorted(stale, key=lambda one: one[1].cost, reverse=True)
    workers = min(len(stale), MOST_WORKERS, os.cpu_count() or 1)
    with context.Pool(workers, _begin, (example, sources, out, told)) as pool:
        finished = pool.map_async(_train_one, dearest_first, chunksize=1)
        while not (finished.ready() and told.empty()):
            try:
                board.tell(*told.get(timeout=0.2))
            except queue.Empty:
                continue
        finished.get()


_work: _Work
_out: Path
_told: multiprocessing.Queue[tuple[str, float, str]]


def _begin(
    example: Example,
    sources: Sources,
    out: Path,
    told: multiprocessing.Queue[tuple[str, float, str]],
) -> None:
    """Set up one worker process; what its variants share is drawn once in each."""
    global _work, _out, _told
    _work, _out, _told = _Work(example, sources), out, told


def _train_one(one: tuple[str, Recipe]) -> None:
    stage, recipe = one
    _build_variant(_work, stage, recipe, _target(_out, stage, recipe), _told.put)


class _Work:
    """What the variants share; drawn when the first one needs it."""

    def __init__(self, example: Example, sources: Sources) -> None:
        self.example = example
        self._sources = sources

    @cached_property
    def practice(self) -> Canvases:
        """Canvases of training samples for the locators."""
        return self._draw_training(self.example.practice, "locate")

    @cached_property
    def reading(self) -> Canvases:
        """Canvases of training samples, at least one item each, for the classifiers."""
        if self.example.reading == self.example.practice:
            return self.practice
        return self._draw_training(self.example.reading, "classify")

    def _draw_training(self, style: Style, stage: str) -> Canvases:
        train, count = self._sources.train, self.example.canvases_drawn(stage)
        return draw(train.images, train.labels, count=count, style=style, seed=self.example.seed)

    @cached_property
    def validation(self) -> Canvases:
        """Canvases like those of requests, of validation samples."""
        split, count = self._sources.validation, self.example.validation_count
        style, seed = self.example.canvas, self.example.seed + 1
        return draw(split.images, split.labels, count=count, style=style, seed=seed)

    @cached_property
    def test(self) -> Canvases:
        """Canvases of requests, of test samples; no training and no choice ever sees them."""
        split, count = self._sources.test, self.example.test_count
        style, seed = self.example.canvas, self.example.seed + 2
        return draw(split.images, split.labels, count=count, style=style, seed=seed)

    @cached_property
    def data_digest(self) -> str:
        """SHA-256 of the source samples; with the seed they determine every canvas."""
        return self._sources.digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    """What ``variant.json`` says of one trained model beside its training."""

    handler: str
    params: dict[str, Any]
    inputs: list[dict[str, Any]]
    score_name: str
    score: float


class _Board:
    """Turns the shares that variants report into progress of the whole."""

    def __init__(self, report: Report, *, names: Sequence[str]) -> None:
        self._report = report
        self._shares = dict.fromkeys(names, 0.0)

    def tell(self, name: str, share: float, note: str) -> None:
        self._shares[name] = share
        self.say(f"{name}: {note}")

    def say(self, note: str) -> None:
        done, total = sum(self._shares.values()), len(self._shares) + 1
        self._report(Progress(step=STEP, done=done, total=total, note=note))

    def finish(self) -> None:
        total = len(self._shares) + 1
        self._report(Progress(step=STEP, done=total, total=total, note="done"))


Tell = Callable[[tuple[str, float, str]], None]
"""Takes a variant's name, the share of it that is done, and a note."""


def _build_variant(work: _Work, stage: str, recipe: Recipe, target: Path, tell: Tell) -> None:
    # Keras takes seconds to import: a run that finds everything up to date does without.
    from examples.canvases.training import train_classifier, train_locator

    example, name = work.example, f"{stage}/{recipe.name}"
    is_locator = stage == "locate"

    def on_step(step: TrainingStep) -> None:
        measures = ", ".join(f"{what} {value:.3f}" for what, value in step.measures.items())
        tell((name, 0.95 * step.done / step.total, f"epoch {step.epoch}: {measures}"))

    if is_locator:
        net = train_locator(example, recipe, work.practice, on_step)
    else:
        net = train_classifier(example, recipe, work.reading, on_step)
    images = work.validation.images if is_locator else _validation_crops(work)[0]
    with artifact_folder(target) as folder:
        probe = images[:_PROBES, ..., None].astype(np.float32)
        session = export_onnx(net, folder / "model.onnx", probe=probe)
        describe = _describe_locator if is_locator else _describe_classifier
        described = describe(work, session, session.inputs[0].name)
        write_description(
            folder,
            {
                "example": example.name,
                "stage": stage,
                "variant": recipe.name,
                "handler": described.handler,
                "params": described.params,
                "inputs": described.inputs,
                "labels": list(example.classes),
                "parameters": int(net.count_params()),
                "seed": example.seed,
                "validation": {"measure": described.score_name, "score": described.score},
                "data_sha256": work.data_digest,
                "recipe_sha256": recipe_digest(
                    example, stage, recipe, data_digest=work.data_digest
                ),
            },
        )


def _describe_locator(work: _Work, session: Session, model_input: str) -> _Described:
    example, validation = work.example, work.validation
    params = DetectParams(
        canvas_px=example.canvas.size_px,
        stride_px=example.stride_px,
        scale_px=example.scale_px,
        crop_px=example.crop_px,
        threshold=_LEAST_THRESHOLD,
        input=model_input,
    )
    found = []
    for start in range(0, len(validation), _BATCH):
        batch = validation.images[start : start + _BATCH, ..., None].astype(np.float32)
        found.extend(find_boxes(session.run({model_input: batch})[0], params))
    truth = [validation.boxes[validation.canvas_of == i] for i in range(len(validation))]
    best = best_threshold(found, truth)
    return _Described(
        handler="detect",
        params={**asdict(params), "threshold": best.value},
        inputs=[{"name": "image", "datatype": "BYTES", "shape": [1]}],
        score_name="f1",
        score=round(best.f1, 4),
    )


def _describe_classifier(work: _Work, session: Session, model_input: str) -> _Described:
    crops, labels = _validation_crops(work)
    shares = session.run({model_input: crops[..., None].astype(np.float32)})[0]
    return _Described(
        handler="classify",
        params={"crop_px": work.example.crop_px, "input": model_input},
        inputs=[{"name": "crops", "datatype": "BYTES", "shape": [-1]}],
        score_name="accuracy",
        score=round(float((shares.argmax(axis=1) == labels).mean()), 4),
    )


def _validation_crops(work: _Work) -> tuple[np.ndarray, np.ndarray]:
    return cut_items(work.validation, crop_px=work.example.crop_px)
