"""What the results of a local run depend on beside its parameters.

kfp keys its cache by component, arguments and the *paths* of input artifacts. On a cluster the
image's tag stands for the code and a volume for the data; here both change under the same name, so
a cache is used only while this digest stays the same.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from penstock.progress import PROGRESS_VARIABLE

PACKAGES = ("penstock", "profiles", "optimizer", "serving", "components")


def fingerprint(trainer: str, shared: str) -> str:
    """Return a digest over our code, the trainer's, the public data, and our settings.

    Code is taken by content; data, which may be large, by name, size and time of change.
    """
    digest = hashlib.sha256(sys.version.encode())
    top = trainer.partition(".")[0]
    for package in (*PACKAGES, *([top] if top else [])):
        for path in _sources(package):
            digest.update(f"{package} {path.name}\n".encode())
            digest.update(path.read_bytes())
    for path in sorted(Path(shared).rglob("*")) if shared else ():
        if path.is_file():
            stat = path.stat()
            digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    for name in sorted(os.environ):
        if name.startswith("PENSTOCK_") and name != PROGRESS_VARIABLE:
            digest.update(f"{name}={os.environ[name]}\n".encode())
    return digest.hexdigest()[:16]


def _sources(package: str) -> Iterator[Path]:
    """Yield a package's or module's Python files; none when it can't be found."""
    beside = Path.cwd() / package  # as `python -m` would find it
    if beside.is_dir():
        yield from sorted(beside.rglob("*.py"))
        return
    if beside.with_suffix(".py").is_file():
        yield beside.with_suffix(".py")
        return
    found = importlib.util.find_spec(package)
    if found is None:
        return
    for folder in found.submodule_search_locations or ():
        yield from sorted(Path(folder).rglob("*.py"))
    if not found.submodule_search_locations and found.has_location and found.origin:
        yield Path(found.origin)
