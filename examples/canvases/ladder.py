"""The ladder as it came out: size, time and accuracy of each variant, and of each combination.

Offline: the handlers that serve, fed with the held-out requests, without a server between them.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from examples.canvases.heldout import CROPS, REQUESTS
from penstock.dataset import LabelledRequest, read_dataset
from profiles.scoring import Score, Scorer, score_classify, score_locate, score_pipeline
from serving.predictor.handlers import Handler, make_handler
from serving.predictor.protocol import decode, encode_answer
from serving.predictor.session import OnnxSession

_ROUNDS = 15
_BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One variant.

    ``milliseconds`` maps a batch size (canvases or crops) to the median CPU time of one model call
    on one thread.
    """

    stage: str
    variant: str
    parameters: int
    milliseconds: dict[int, float]
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Every variant, and the end-to-end score of each (locator, classifier)."""

    rungs: tuple[Rung, ...]
    joint: dict[tuple[str, str], Score]


def measure_ladder(out: Path, *, most: int | None = None) -> Ladder:
    """Measure the variants in ``out`` on its first ``most`` held-out requests."""
    requests = read_dataset(out / "dataset" / REQUESTS)[:most]
    crops = read_dataset(out / "dataset" / CROPS)[:most]
    rungs: list[Rung] = []
    joint: dict[tuple[str, str], Score] = {}
    located: dict[str, list[bytes]] = {}
    for folder in _variants(out, "locate"):
        rung, located[folder.name] = _measure(folder, requests, score_locate)
        rungs.append(rung)
    for folder in _variants(out, "classify"):
        rung, _ = _measure(folder, crops, score_classify)
        rungs.append(rung)
        handler, _ = _open(folder)
        for name, bodies in located.items():
            answers = _answer(handler, bodies)
            joint[name, folder.name] = _total(answers, requests, score_pipeline)
    return Ladder(rungs=tuple(rungs), joint=joint)


def format_ladder(ladder: Ladder) -> str:
    """Return both tables as Markdown."""
    lines = [
        "| stage | variant | parameters | b1 ms | b8 ms | accuracy |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for rung in ladder.rungs:
        times = " | ".join(f"{rung.milliseconds[b]:.2f}" for b in (1, _BATCH))
        lines.append(
            f"| {rung.stage} | {rung.variant} | {rung.parameters:,} | {times} "
            f"| {rung.score.accuracy:.3f} |"
        )
    classifiers = list(dict.fromkeys(name for _, name in ladder.joint))
    lines += ["", f"| end to end | {' | '.join(classifiers)} |"]
    lines.append(f"| --- |{' ---: |' * len(classifiers)}")
    for locator in dict.fromkeys(name for name, _ in ladder.joint):
        cells = [f"{ladder.joint[locator, name].accuracy:.3f}" for name in classifiers]
        lines.append(f"| {locator} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _measure(
    folder: Path, requests: Sequence[LabelledRequest], scorer: Scorer
) -> tuple[Rung, list[bytes]]:
    handler, description = _open(folder)
    answers = _answer(handler, [request.body for request in requests])
    rung = Rung(
        stage=description["stage"],
        variant=folder.name,
        parameters=description["parameters"],
        milliseconds=_time(folder),
        score=_total(answers, requests, scorer),
    )
    return rung, answers


def _answer(handler: Handler, bodies: Sequence[bytes]) -> list[bytes]:
    answers: list[bytes] = []
    for start in range(0, len(bodies), _BATCH):
        items = [handler.decode(decode(body).tensors) for body in bodies[start : start + _BATCH]]
        answers += [encode_answer(tensors, model="offline") for tensors in handler.run(items)]
    return answers


def _total(answers: Sequence[bytes], requests: Sequence[LabelledRequest], scorer: Scorer) -> Score:
    scores = [
        scorer(json.loads(answer), request)
        for answer, request in zip(answers, requests, strict=True)
    ]
    return sum(scores, start=Score(correct=0, total=0))


def _time(folder: Path) -> dict[int, float]:
    session = OnnxSession(folder / "model.onnx", threads=1)
    spec = session.inputs[0]
    rng = np.random.default_rng(0)
    found: dict[int, float] = {}
    for batch in (1, _BATCH):
        data = rng.uniform(0, 255, size=(batch, *spec.shape[1:])).astype(np.float32)
        times = []
        session.run({spec.name: data})
        for _ in range(_ROUNDS):
            # One thread works in the caller's own: its CPU time does not see who else is busy.
            begin_s = time.thread_time()
            session.run({spec.name: data})
            times.append(time.thread_time() - begin_s)
        found[batch] = 1e3 * statistics.median(times)
    return found


def _variants(out: Path, stage: str) -> list[Path]:
    folders = [path.parent for path in (out / "models" / stage).glob("[!.]*/variant.json")]
    return sorted(folders, key=lambda folder: (folder / "model.onnx").stat().st_size)


def _open(folder: Path) -> tuple[Handler, dict[str, Any]]:
    description = json.loads((folder / "variant.json").read_text(encoding="utf-8"))
    session = OnnxSession(folder / "model.onnx", threads=1)
    return make_handler(description["handler"], session, description["params"]), description
