"""Grey images on the wire: PNG bytes ↔ arrays, never larger than what the model takes."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from serving.predictor.protocol import InputError

# A broken PNG surfaces as any of these, depending on which chunk is broken.
_FAULTS = (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError)


def read_png(data: object, *, path: str, size_px: tuple[int, int]) -> np.ndarray:
    """Return the (height, width) uint8 pixels of a grey PNG of exactly ``size_px`` (width, height).

    The size is read from the header, before any pixel is decoded.

    Raises:
        InputError: not a PNG, not 8-bit grey, or of another size; it names ``path``.
    """
    if not isinstance(data, bytes):
        raise InputError(path, "must be BYTES: one PNG file")
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            _check(image, path, size_px)
            return np.asarray(image)
    except (*_FAULTS, Image.DecompressionBombError, Image.DecompressionBombWarning) as err:
        raise InputError(path, f"is not a PNG that can be read: {err}") from err


def write_png(pixels: np.ndarray) -> bytes:
    """Return (height, width) uint8 pixels as a grey PNG; fast rather than small."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _check(image: Image.Image, path: str, size_px: tuple[int, int]) -> None:
    if image.size != size_px:
        raise InputError(
            path,
            f"is {image.size[0]}x{image.size[1]} px; this variant takes {size_px[0]}x{size_px[1]}",
        )
    if image.mode != "L":
        raise InputError(path, f"has mode {image.mode!r}; send 8-bit grey ('L')")
