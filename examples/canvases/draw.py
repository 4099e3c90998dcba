"""Canvases: source images drawn at random places, among scrambled decoys, on a noisy background.

Arrays in this module:

* ``sources``: (n, h, w) uint8, one grey image per source sample
* ``images``: (canvases, size, size) uint8
* ``boxes``: (items, 4) float32, x0, y0, x1, y1 in canvas pixels
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

# Canvases in memory as float32 at one time.
_CHUNK = 1024
_TRIES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a canvas looks; lengths in pixels, grey levels in 0..255.

    ``items`` and ``decoys`` are (least, most) per canvas. A decoy is an item whose tiles
    (``decoy_tiles`` per side) were shuffled: it has the same strokes, so that only a model that
    sees the whole shape can tell it from an item. ``turn_degrees`` and ``squeeze`` bound the random
    rotation and the random change of each axis' length; ``contrast`` bounds the difference between
    an item's strokes and its background, of either sign with ``either_polarity``.
    """

    size_px: int
    item_px: tuple[int, int]
    items: tuple[int, int] = (1, 3)
    decoys: tuple[int, int] = (2, 2)
    decoy_tiles: int = 4
    turn_degrees: float = 15.0
    squeeze: float = 0.15
    contrast: tuple[float, float] = (60.0, 150.0)
    either_polarity: bool = False
    noise: float = 25.0
    shade: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvases:
    """Drawn canvases; item ``i`` lies on canvas ``canvas_of[i]``."""

    images: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    canvas_of: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def digest(self) -> str:
        """Return the SHA-256 over all pixels, boxes and labels, as hex."""
        found = hashlib.sha256()
        for array in (self.images, self.boxes, self.labels, self.canvas_of):
            found.update(f"{array.dtype}{array.shape}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Squares to draw, one row each, by canvas: upper left corner, side, whether it is an item."""

    canvas: np.ndarray
    corner: np.ndarray
    side: np.ndarray
    is_item: np.ndarray

    def part(self, rows: slice | np.ndarray) -> _Layout:
        return _Layout(
            canvas=self.canvas[rows],
            corner=self.corner[rows],
            side=self.side[rows],
            is_item=self.is_item[rows],
        )


def draw(
    sources: np.ndarray, labels: np.ndarray, *, count: int, style: Style, seed: int
) -> Canvases:
    """Draw ``count`` canvases from these source samples; same arguments, same pixels."""
    rng = np.random.default_rng(seed)
    layout = _lay_out(count, style, rng)
    chosen = rng.integers(len(sources), size=len(layout.side))
    images = np.empty((count, style.size_px, style.size_px), dtype=np.uint8)
    for start in range(0, count, _CHUNK):
        stop = min(count, start + _CHUNK)
        part = slice(*np.searchsorted(layout.canvas, [start, stop]).tolist())
        patches = _patches(sources[chosen[part]], layout.part(part), style, rng)
        canvas = _background(stop - start, style, rng)
        _paste(canvas, patches, layout.part(part), first=start)
        canvas += style.noise * rng.standard_normal(canvas.shape, dtype=np.float32)
        images[start:stop] = np.clip(np.rint(canvas), 0, 255)
    items = layout.part(layout.is_item)
    corner = items.corner.astype(np.float32)
    return Canvases(
        images=images,
        boxes=np.concatenate([corner, corner + items.side[:, None].astype(np.float32)], axis=1),
        labels=labels[chosen[layout.is_item]].astype(np.int64),
        canvas_of=items.canvas,
    )


def _patches(
    sources: np.ndarray, layout: _Layout, style: Style, rng: np.random.Generator
) -> np.ndarray:
    strokes = sources.astype(np.float32) / 255.0
    decoy = ~layout.is_item
    strokes[decoy] = _scramble(strokes[decoy], style.decoy_tiles, rng)
    return _warp(strokes, layout.side, style, rng)


def _lay_out(count: int, style: Style, rng: np.random.Generator) -> _Layout:
    """Place squares at random; none overlap, and what finds no place is left out."""
    rows: list[tuple[int, int, int, int, bool]] = []
    items = rng.integers(style.items[0], style.items[1] + 1, size=count)
    decoys = rng.integers(style.decoys[0], style.decoys[1] + 1, size=count)
    for canvas in range(count):
        placed: list[tuple[int, int, int, int, bool]] = []
        wanted = int(items[canvas] + decoys[canvas])
        for index in range(wanted):
            draws = rng.random((_TRIES, 3))
            for a, b, c in draws.tolist():
                side = style.item_px[0] + int(a * (style.item_px[1] - style.item_px[0] + 1))
                x = int(b * (style.size_px - side + 1))
                y = int(c * (style.size_px - side + 1))
                if all(
                    x + side <= ox or ox + os <= x or y + side <= oy or oy + os <= y
                    for _, ox, oy, os, _ in placed
                ):
                    placed.append((canvas, x, y, side, index < items[canvas]))
                    break
        rows.extend(placed)
    table = np.array(rows, dtype=np.int64).reshape(-1, 5)
    return _Layout(
        canvas=table[:, 0], corner=table[:, 1:3], side=table[:, 3], is_item=table[:, 4].astype(bool)
    )


def _background(count: int, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Return slowly varying grey, one level and four tilted corners per canvas."""
    ramp = np.linspace(0, 1, style.size_px, dtype=np.float32)
    ends = np.stack([1 - ramp, ramp], axis=1)
    corners = style.shade * rng.standard_normal((count, 2, 2)).astype(np.float32)
    level = rng.uniform(100, 155, size=(count, 1, 1)).astype(np.float32)
    return np.asarray(level + np.einsum("ya,nab,xb->nyx", ends, corners, ends, optimize=True))


def _scramble(strokes: np.ndarray, tiles: int, rng: np.random.Generator) -> np.ndarray:
    """Shuffle each image's tiles."""
    n, height, width = strokes.shape
    th, tw = height // tiles, width // tiles
    cut = strokes[:, : th * tiles, : tw * tiles].reshape(n, tiles, th, tiles, tw)
    cut = cut.transpose(0, 1, 3, 2, 4).reshape(n, tiles * tiles, th, tw)
    order = np.argsort(rng.random((n, tiles * tiles)), axis=1)
    cut = np.take_along_axis(cut, order[:, :, None, None], axis=1)
    cut = cut.reshape(n, tiles, tiles, th, tw).transpose(0, 1, 3, 2, 4)
    mixed = np.zeros_like(strokes)
    mixed[:, : th * tiles, : tw * tiles] = cut.reshape(n, th * tiles, tw * tiles)
    return mixed


def _warp(
    strokes: np.ndarray, side: np.ndarray, style: Style, rng: np.random.Generator
) -> np.ndarray:
    """Resample each image to its side with a random turn, squeeze and contrast.

    Returns (n, most, most) float32 grey differences; what lies beyond an image's own side is 0.
    """
    n, height, width = strokes.shape
    most = style.item_px[1]
    turn = np.radians(style.turn_degrees) * rng.uniform(-1, 1, size=n)
    stretch = 1 + style.squeeze * rng.uniform(-1, 1, size=(n, 2))
    at = (np.arange(most, dtype=np.float32)[None, :] + 0.5) / side[:, None] - 0.5
    inside = at < 0.5
    u, v = at[:, None, :], at[:, :, None]
    cos, sin = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
    x = (u * cos - v * sin) * stretch[:, 0, None, None]
    y = (u * sin + v * cos) * stretch[:, 1, None, None]
    patch = _sample(strokes, (x + 0.5) * width - 0.5, (y + 0.5) * height - 0.5)
    patch *= inside[:, None, :] & inside[:, :, None]
    least, highest = style.contrast
    contrast = rng.uniform(least, highest, size=(n, 1, 1))
    if style.either_polarity:
        contrast *= rng.choice([-1.0, 1.0], size=(n, 1, 1))
    return np.asarray(patch * contrast, dtype=np.float32)


def _sample(strokes: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return bilinear samples of each image at its own pixel positions; 0 outside."""
    n, height, width = strokes.shape
    padded = np.zeros((n, height + 2, width + 2), dtype=np.float32)
    padded[:, 1:-1, 1:-1] = strokes
    x = np.clip(x + 1, 0, width + 0.999)
    y = np.clip(y + 1, 0, height + 0.999)
    x0, y0 = x.astype(np.int64), y.astype(np.int64)
    fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
    flat = padded.reshape(n, -1)
    index = (y0 * (width + 2) + x0).reshape(n, -1)

    def corner(offset: int) -> np.ndarray:
        return np.take_along_axis(flat, index + offset, axis=1).reshape(x.shape)

    upper = corner(0) * (1 - fx) + corner(1) * fx
    lower = corner(width + 2) * (1 - fx) + corner(width + 3) * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


def _paste(canvas: np.ndarray, patches: np.ndarray, layout: _Layout, *, first: int) -> None:
    rows = zip(
        (layout.canvas - first).tolist(),
        layout.corner.tolist(),
        layout.side.tolist(),
        patches,
        strict=True,
    )
    for index, (x, y), side, patch in rows:
        canvas[index, y : y + side, x : x + side] += patch[:side, :side]
