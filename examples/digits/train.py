"""Trains the digits pipeline: ``python -m examples.digits.train --out out/digits``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from examples.canvases.build import build
from examples.canvases.command import run
from examples.canvases.config import Conv, Example, Recipe
from examples.canvases.draw import Style
from examples.canvases.sources import load_digits_sources
from penstock.progress import Report, silent

_CANVAS = Style(
    size_px=160,
    item_px=(16, 32),
    items=(1, 3),
    decoys=(2, 2),
    turn_degrees=20.0,
    squeeze=0.2,
    contrast=(60.0, 150.0),
    noise=22.0,
)
_PRACTICE = replace(_CANVAS, size_px=64, items=(1, 1), decoys=(1, 1))

DIGITS = Example(
    name="digits",
    classes=tuple("0123456789"),
    canvas=_CANVAS,
    practice=_PRACTICE,
    reading=_PRACTICE,
    stride_px=8,
    scale_px=22.0,
    crop_px=24,
    crop_jitter=0.12,
    locators=(
        Recipe(
            name="det-xs",
            convs=(
                Conv(channels=8, stride=4, kernel=5),
                Conv(channels=16, stride=2),
                Conv(channels=16),
            ),
            samples=12288,
            epochs=1,
            learning_rate=4e-3,
        ),
        Recipe(
            name="det-s",
            convs=(
                Conv(channels=16, stride=2),
                Conv(channels=24, stride=2),
                Conv(channels=32, stride=2),
                Conv(channels=32),
            ),
            samples=12288,
            epochs=1,
            learning_rate=4e-3,
        ),
        Recipe(
            name="det-m",
            convs=(
                Conv(channels=24, stride=2),
                Conv(channels=48, stride=2),
                Conv(channels=64, stride=2),
                Conv(channels=64, repeat=2),
            ),
            samples=12288,
            epochs=1,
            learning_rate=2.5e-3,
        ),
        Recipe(
            name="det-l",
            convs=(
                Conv(channels=32, stride=2),
                Conv(channels=64, stride=2),
                Conv(channels=64),
                Conv(channels=128, stride=2),
                Conv(channels=128, repeat=3),
            ),
            samples=16384,
            epochs=1,
            learning_rate=1.5e-3,
            batch_size=16,
        ),
    ),
    classifiers=(
        Recipe(name="linear", samples=12288, epochs=4, learning_rate=2e-3),
        Recipe(
            name="cnn-xs",
            convs=(Conv(channels=8, stride=4, kernel=5), Conv(channels=16, stride=2)),
            hidden=32,
            samples=12288,
            epochs=2,
            learning_rate=4e-3,
        ),
        Recipe(
            name="cnn-s",
            convs=(
                Conv(channels=16, stride=2),
                Conv(channels=32, stride=2),
                Conv(channels=32),
            ),
            hidden=64,
            samples=12288,
            epochs=2,
            learning_rate=3e-3,
        ),
        Recipe(
            name="cnn-l",
            convs=(
                Conv(channels=32),
                Conv(channels=64, stride=2),
                Conv(channels=64),
                Conv(channels=128, stride=2),
                Conv(channels=128, repeat=2),
            ),
            hidden=128,
            samples=12288,
            epochs=1,
            learning_rate=1.5e-3,
            batch_size=16,
        ),
    ),
)


def main(out: Path, progress: Report = silent, *, force: bool = False) -> None:
    """Fill ``out`` with ``models/`` and ``dataset/``; what is up to date stays unless ``force``."""
    build(DIGITS, load_digits_sources(seed=DIGITS.seed), out, report=progress, force=force)


if __name__ == "__main__":
    raise SystemExit(run(main, name="digits"))
