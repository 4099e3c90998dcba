"""Trains the fashion pipeline: ``python -m examples.fashion.train --out out/fashion``.

Fashion-MNIST is read from ``$PENSTOCK_SHARED/data/fashion-mnist`` or, where that is not, fetched
once from ``$PENSTOCK_FASHION_URL`` into ``data/fashion-mnist``.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from examples.canvases.build import build
from examples.canvases.command import run
from examples.canvases.config import Conv, Example, Recipe
from examples.canvases.draw import Style
from examples.canvases.fetch import RemoteFile, fetch
from examples.canvases.sources import load_idx_sources
from penstock.progress import Report, silent

_ROOT = Path(__file__).parents[2]
_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

FILES = (
    RemoteFile(
        name="train-images-idx3-ubyte.gz",
        size=26421880,
        sha256="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    RemoteFile(
        name="train-labels-idx1-ubyte.gz",
        size=29515,
        sha256="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    RemoteFile(
        name="t10k-images-idx3-ubyte.gz",
        size=4422102,
        sha256="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    RemoteFile(
        name="t10k-labels-idx1-ubyte.gz",
        size=5148,
        sha256="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
)
"""Fashion-MNIST as published by Zalando Research (MIT licence)."""

_CANVAS = Style(
    size_px=192,
    item_px=(40, 80),
    items=(1, 3),
    decoys=(1, 2),
    decoy_tiles=4,
    turn_degrees=15.0,
    squeeze=0.15,
    contrast=(80.0, 170.0),
    noise=20.0,
)

FASHION = Example(
    name="fashion",
    classes=(
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    canvas=_CANVAS,
    practice=replace(_CANVAS, size_px=128, items=(1, 1), decoys=(1, 1)),
    reading=replace(_CANVAS, size_px=96, items=(1, 1), decoys=(0, 1)),
    stride_px=16,
    scale_px=56.0,
    crop_px=32,
    crop_jitter=0.15,
    locators=(
        Recipe(
            name="det-xs",
            convs=(
                Conv(channels=16, stride=4, kernel=5),
                Conv(channels=24, stride=2),
                Conv(channels=32, stride=2),
                Conv(channels=32),
            ),
            samples=8192,
            epochs=1,
            learning_rate=4e-3,
        ),
        Recipe(
            name="det-s",
            convs=(
                Conv(channels=16, stride=2),
                Conv(channels=32, stride=2),
                Conv(channels=48, stride=2),
                Conv(channels=64, stride=2),
                Conv(channels=64),
            ),
            samples=8192,
            epochs=1,
            learning_rate=3e-3,
        ),
        Recipe(
            name="det-m",
            convs=(
                Conv(channels=24, stride=2),
                Conv(channels=48, stride=2),
                Conv(channels=96, stride=2),
                Conv(channels=96),
                Conv(channels=128, stride=2),
                Conv(channels=128, repeat=2),
            ),
            samples=8192,
            epochs=1,
            learning_rate=1.5e-3,
        ),
        Recipe(
            name="det-l",
            convs=(
                Conv(channels=32, stride=2),
                Conv(channels=64, stride=2),
                Conv(channels=64),
                Conv(channels=128, stride=2),
                Conv(channels=128, repeat=2),
                Conv(channels=192, stride=2),
                Conv(channels=192),
            ),
            samples=8192,
            epochs=2,
            learning_rate=1.5e-3,
            batch_size=16,
        ),
    ),
    classifiers=(
        Recipe(name="linear", samples=16384, epochs=3, learning_rate=2e-3),
        Recipe(
            name="cnn-xs",
            convs=(Conv(channels=8, stride=4, kernel=5), Conv(channels=16, stride=2)),
            hidden=32,
            samples=16384,
            epochs=3,
            learning_rate=4e-3,
        ),
        Recipe(
            name="cnn-s",
            convs=(
                Conv(channels=16, stride=2),
                Conv(channels=32, stride=2),
                Conv(channels=64, stride=2),
                Conv(channels=64),
            ),
            hidden=64,
            samples=16384,
            epochs=2,
            learning_rate=3e-3,
        ),
        Recipe(
            name="cnn-l",
            convs=(
                Conv(channels=32),
                Conv(channels=64, stride=2),
                Conv(channels=64, repeat=2),
                Conv(channels=128, stride=2),
                Conv(channels=128, repeat=3),
            ),
            hidden=128,
            samples=16384,
            epochs=2,
            learning_rate=1e-3,
            batch_size=16,
        ),
    ),
)


def main(out: Path, progress: Report = silent, *, force: bool = False) -> None:
    """Fill ``out`` with ``models/`` and ``dataset/``; what is up to date stays unless ``force``."""
    sources = load_idx_sources(find_data(progress), seed=FASHION.seed)
    build(FASHION, sources, out, report=progress, force=force)


def find_data(progress: Report = silent) -> Path:
    """Return the folder that holds the four files, fetching what is nowhere.

    Raises:
        UnreachableError: a file is nowhere and could not be fetched.
        ArtifactError: a fetched file is not the one that was published.
    """
    shared = Path(os.environ.get("PENSTOCK_SHARED") or _ROOT.parent / "shared")
    folder = shared / "data" / "fashion-mnist"
    if all((folder / file.name).is_file() for file in FILES):
        return folder
    folder = _ROOT / "data" / "fashion-mnist"
    base_url = os.environ.get("PENSTOCK_FASHION_URL") or _URL
    for file in FILES:
        fetch(file, folder, base_url=base_url, report=progress)
    return folder


if __name__ == "__main__":
    raise SystemExit(run(main, name="fashion"))
