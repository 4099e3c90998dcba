"""What makes one example: its canvases, its two ladders of nets, and how long each is trained."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from examples.canvases.draw import Style

_TRAINING_CODE = ("config.py", "draw.py", "nets.py", "pools.py", "training.py", "export.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv:
    """``repeat`` convolutions with ReLU; lengths in pixels of their own input."""

    channels: int
    stride: int = 1
    kernel: int = 3
    repeat: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One variant: its net and its training.

    ``samples`` training samples are seen ``epochs`` times in batches of ``batch_size``, with Adam
    at a learning rate that rises to ``learning_rate`` and falls along a cosine. ``hidden`` is the
    width of a classifier's last hidden layer, 0 for none.
    """

    name: str
    convs: tuple[Conv, ...] = ()
    hidden: int = 0
    samples: int
    epochs: int
    learning_rate: float
    batch_size: int = 32

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.epochs * -(-self.samples // self.batch_size)

    @property
    def cost(self) -> float:
        """What training takes beside other recipes, roughly: samples times multiplications."""
        per_sample = sum(c.repeat * (c.channels * c.kernel) ** 2 for c in self.convs)
        return self.epochs * self.samples * (1 + per_sample + self.hidden)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One example pipeline.

    ``canvas`` is how requests look. Locators are trained on the smaller canvases of ``practice``:
    they are fully convolutional, and a small canvas holds as many items for a fraction of the work.
    Classifiers are trained on items cut from those of ``reading``.
    ``stride_px`` is the side of a locator's grid cell, ``scale_px`` the item side that a log size
    of 0 means, ``crop_px`` the classifiers' input. ``validation_count`` and ``test_count`` are
    numbers of canvases.
    """

    name: str
    classes: tuple[str, ...]
    canvas: Style
    practice: Style
    reading: Style
    stride_px: int
    scale_px: float
    crop_px: int
    crop_jitter: float
    locators: tuple[Recipe, ...]
    classifiers: tuple[Recipe, ...]
    validation_count: int = 300
    test_count: int = 400
    seed: int = 1

    def canvases_drawn(self, stage: str) -> int:
        """Return how many training canvases a stage needs; equal styles share the same ones."""
        shared = self.practice == self.reading
        return max(recipe.samples for of, recipe in self.recipes() if shared or of == stage)

    def recipes(self) -> tuple[tuple[str, Recipe], ...]:
        """Return (stage, recipe) of every variant in the order of training."""
        return (
            *(("locate", recipe) for recipe in self.locators),
            *(("classify", recipe) for recipe in self.classifiers),
        )


def recipe_digest(example: Example, stage: str, recipe: Recipe, *, data_digest: str) -> str:
    """Return a SHA-256 that changes whenever a newly trained variant could differ.

    It covers the training code, the example less its other variants, the recipe and the data. How
    many canvases are drawn is part of it, because one more changes them all.
    """
    settings = {**asdict(example), "canvases": example.canvases_drawn(stage)}
    del settings["locators"], settings["classifiers"]
    found = hashlib.sha256()
    for name in _TRAINING_CODE:
        found.update(Path(__file__).with_name(name).read_bytes())
    found.update(json.dumps([settings, asdict(recipe), data_digest], sort_keys=True).encode())
    return found.hexdigest()
