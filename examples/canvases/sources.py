"""The source images, split once by sample: no image of one split is ever drawn in another."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penstock.errors import ArtifactError

_IDX_UBYTE = 0x08


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Source samples: ``images`` (n, h, w) uint8, ``labels`` (n,) int64."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The three splits of an example's source samples."""

    train: Split
    validation: Split
    test: Split

    def digest(self) -> str:
        """Return the SHA-256 over all samples, as hex."""
        found = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            found.update(f"{split.images.shape}".encode())
            found.update(np.ascontiguousarray(split.images).tobytes())
            found.update(np.ascontiguousarray(split.labels).tobytes())
        return found.hexdigest()


def load_digits_sources(*, seed: int) -> Sources:
    """Return the 1797 handwritten digits (8x8) that ship inside scikit-learn."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.rint(found.images * (255 / 16)).astype(np.uint8)
    labels = found.target.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(labels))
    parts = np.split(order, [1000, 1350])
    train, validation, test = (Split(images=images[p], labels=labels[p]) for p in parts)
    return Sources(train=train, validation=validation, test=test)


def load_idx_sources(folder: Path, *, seed: int, validation_count: int = 5000) -> Sources:
    """Return the splits of a folder with MNIST's four files, such as Fashion-MNIST's.

    The validation split is taken from the training files; the test files stay the test split.

    Raises:
        ArtifactError: a file is missing, broken, or does not fit its partner.
    """
    images, labels = _read_pair(folder, "train")
    order = np.random.default_rng(seed).permutation(len(labels))
    first, rest = order[:validation_count], order[validation_count:]
    test_images, test_labels = _read_pair(folder, "t10k")
    return Sources(
        train=Split(images=images[rest], labels=labels[rest]),
        validation=Split(images=images[first], labels=labels[first]),
        test=Split(images=test_images, labels=test_labels),
    )


def read_idx(path: Path) -> np.ndarray:
    """Return the uint8 array of a gzipped IDX file.

    Raises:
        ArtifactError: no such file, or not a whole one of that format.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError as err:
        raise ArtifactError(f"no file {path}") from err
    except (OSError, EOFError) as err:
        raise ArtifactError(f"{path} is no gzip file that can be read: {err}") from err
    dimensions = content[3] if len(content) >= 4 else 0
    start = 4 + 4 * dimensions
    if content[:3] != bytes([0, 0, _IDX_UBYTE]) or len(content) < start:
        raise ArtifactError(f"{path} is no IDX file of unsigned bytes")
    shape = tuple(int(n) for n in np.frombuffer(content[4:start], dtype=">u4"))
    pixels = np.frombuffer(content, dtype=np.uint8, offset=start)
    if pixels.size != int(np.prod(shape)):
        raise ArtifactError(f"{path} should hold {shape} bytes, found {pixels.size}")
    return pixels.reshape(shape)


def _read_pair(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz").astype(np.int64)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ArtifactError(
            f"{folder}: {prefix} images {images.shape} and labels {labels.shape} do not fit"
        )
    return images, labels
