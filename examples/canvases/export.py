"""A trained net becomes an artifact folder: ``model.onnx`` and ``variant.json``."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from penstock.errors import ArtifactError
from serving.predictor.session import OnnxSession

TOLERANCE = 1e-4
"""How far ONNX Runtime may be from Keras, absolutely and relatively."""


def export_onnx(net: Any, path: Path, *, probe: np.ndarray) -> OnnxSession:
    """Write ``net`` as ONNX with a free batch size, and return a session that agrees with it.

    Args:
        net: a Keras model.
        path: where the file goes.
        probe: (n, h, w, 1) float32 inputs on which both must agree; n at least 2.

    Raises:
        ArtifactError: they do not agree within ``TOLERANCE``.
    """
    expected = np.asarray(net(probe))
    # jax2onnx reports its progress on stdout, which belongs to whoever called us.
    with contextlib.redirect_stdout(io.StringIO()):
        net.export(str(path), format="onnx", verbose=False)
    _gather(path)
    session = OnnxSession(path)
    name = session.inputs[0].name
    for count in (len(probe), 1):
        found = session.run({name: probe[:count]})[0]
        if not np.allclose(found, expected[:count], rtol=TOLERANCE, atol=TOLERANCE):
            worst = float(np.abs(found - expected[:count]).max())
            raise ArtifactError(
                f"{path.name} is {worst:.2g} away from its Keras model on {count} probes "
                f"(tolerance {TOLERANCE}); the exporter and the runtime do not fit each other"
            )
    return session


def _gather(path: Path) -> None:
    """Make the model one file: the exporter puts weights above 1 MiB into ``<name>.data``.

    ``model.onnx`` alone is what is checksummed, and what other tools expect.
    """
    beside = path.with_name(f"{path.name}.data")
    if beside.exists():
        model = onnx.load(str(path))
        onnx.save_model(model, str(path), save_as_external_data=False)
        beside.unlink()


@contextlib.contextmanager
def artifact_folder(target: Path) -> Iterator[Path]:
    """Give a folder to fill that becomes ``target`` at the end, whole, or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        fresh = work / "fresh"
        fresh.mkdir()
        yield fresh
        if target.exists():
            target.rename(work / "old")
        fresh.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Write ``variant.json`` beside ``model.onnx``, with that file's checksum."""
    whole = {**description, "model_sha256": file_digest(folder / "model.onnx")}
    text = json.dumps(whole, indent=2, sort_keys=True) + "\n"
    (folder / "variant.json").write_text(text, encoding="utf-8")


def read_description(folder: Path) -> dict[str, Any] | None:
    """Return a folder's ``variant.json``; ``None`` when it or its model is missing or broken."""
    try:
        found = json.loads((folder / "variant.json").read_text(encoding="utf-8"))
        whole = found["model_sha256"] == file_digest(folder / "model.onnx")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if whole else None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
