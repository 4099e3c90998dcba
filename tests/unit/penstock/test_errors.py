"""The error tree is drawn at the top of its file; the drawing stays true."""

from __future__ import annotations

import inspect
import subprocess
import sys

from penstock import errors


def test_the_drawing_names_every_error() -> None:
    classes = {
        n for n, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__
    }
    drawn = {word for word in (errors.__doc__ or "").split() if word.endswith("Error")}
    assert classes == drawn


def test_an_exit_code_tells_a_person_from_a_retry() -> None:
    assert errors.SpecError("x", ["y"]).exit_code == 2
    assert errors.ConflictError("x").exit_code == 3


def test_a_spec_error_counts_its_faults() -> None:
    assert str(errors.SpecError("a.yaml", ["b: c"])) == "a.yaml: 1 fault\n  b: c"
    assert str(errors.SpecError("a.yaml", ["b", "c"])).startswith("a.yaml: 2 faults\n")


def test_importing_the_packages_imports_nothing_heavy() -> None:
    heavy = "keras jax kfp hera pyomo highspy kubernetes onnxruntime minio matplotlib aiohttp numpy"
    code = (
        "import sys, penstock.domain, profiles, optimizer, serving, components, workflows;"
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
