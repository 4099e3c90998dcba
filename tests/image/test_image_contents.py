"""What the two images hold, what they leave out, and as whom they run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

from penstock.settings import read_settings
from tests.containers import Job, inspect, python

pytestmark = pytest.mark.image

BILL = "/app/sbom.cdx.json"
ROOT = Path(__file__).parents[2]
CONTROL, PREDICTOR = read_settings().image, read_settings().predictor_image
BOTH = pytest.mark.parametrize("image", [CONTROL, PREDICTOR], ids=["control", "predictor"])
BUILD_TOOLS = ("cc", "c++", "gcc", "g++", "make", "ld", "git", "curl", "wget", "pip", "pip3", "uv")


def locked(name: str) -> dict[str, str]:
    """Return the versions that a lock file pins for the images' Python."""
    there = {"python_full_version": "3.11.2", "python_version": "3.11", "sys_platform": "linux"}
    text = (ROOT / "requirements" / name).read_text()
    pins = [Requirement(found) for found in re.findall(r"^(\w\S*==.*) \\$", text, re.MULTILINE)]
    kept = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(there)]
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in kept}


def materials(image: str) -> dict[str, Any]:
    """Return the image's bill of materials."""
    found: dict[str, Any] = json.loads(Job(entrypoint="cat", words=[BILL]).run(image))
    return found


def parts(image: str) -> dict[str, str]:
    """Return name and version of every Python distribution that the image says it holds."""
    found = [c for c in materials(image)["components"] if c["purl"].startswith("pkg:pypi/")]
    return {c["name"]: c["version"] for c in found}


@BOTH
def test_no_tool_that_builds_or_fetches_is_left(image: str) -> None:
    asked = " ".join(BUILD_TOOLS)
    search = f'for tool in {asked}; do command -v "$tool" || true; done'
    assert Job(entrypoint="sh", words=["-c", search]).run(image) == ""
    listed = Job(entrypoint="sh", words=["-c", "ls /var/lib/apt/lists /var/cache/apt"]).run(image)
    assert listed.split() == ["/var/cache/apt:", "/var/lib/apt/lists:"]
    code = """
from importlib.util import find_spec
print([name for name in ("pip", "setuptools", "wheel") if find_spec(name)])
"""
    assert python(code).run(image).strip() == "[]"


@BOTH
def test_it_runs_as_nobody_in_particular_with_no_right_and_writes_only_to_tmp(image: str) -> None:
    code = """
import os, pathlib
status = dict(l.split(":\\t") for l in pathlib.Path("/proc/self/status").read_text().splitlines())
print(os.getuid(), os.getgid(), status["CapEff"], status["NoNewPrivs"], pathlib.Path.home())
print([p for p in ("/app", "/opt/penstock", "/etc", "/tmp") if os.access(p, os.W_OK)])
"""
    assert python(code).run(image).split("\n")[:2] == [
        "65532 65532 0000000000000000 1 /tmp",
        "['/tmp']",
    ]
    assert inspect(image, "{{.Config.User}}") == "65532:65532"


@BOTH
def test_every_module_of_ours_has_bytecode_that_is_never_checked(image: str) -> None:
    code = """
import importlib.util, pathlib
for source in [*pathlib.Path("/app").rglob("*.py"), *pathlib.Path("/opt").rglob("aiohttp/*.py")]:
    compiled = pathlib.Path(importlib.util.cache_from_source(source)).read_bytes()
    assert compiled[4:8] == b"\\x01\\0\\0\\0", source
    print(source)
"""
    assert len(python(code).run(image).split()) > 60


def test_the_control_image_holds_what_the_lock_file_pins() -> None:
    assert parts(CONTROL) == locked("lock.txt")


def test_the_predictor_holds_its_part_of_the_same_versions() -> None:
    ours = locked("predictor.txt")
    assert parts(PREDICTOR) == ours
    assert ours.items() <= locked("lock.txt").items()


@BOTH
def test_the_bill_of_materials_is_what_is_installed(image: str) -> None:
    code = """
import importlib.metadata as m, json, re
print(json.dumps({re.sub(r"[-_.]+", "-", d.name).lower(): d.version for d in m.distributions()}))
"""
    assert json.loads(python(code).run(image)) == parts(image)
    listing = Job(entrypoint="dpkg-query", words=["-W", "-f", "${Package} ${Version}\n"]).run(image)
    found = [c for c in materials(image)["components"] if c["purl"].startswith("pkg:deb/")]
    assert {f"{c['name']} {c['version']}" for c in found} == set(listing.splitlines())


@BOTH
def test_the_bill_of_materials_is_valid_and_names_the_image(image: str) -> None:
    document = materials(image)
    fault = JsonStrictValidator(SchemaVersion.V1_5).validate_str(json.dumps(document))
    assert fault is None, fault
    about = document["metadata"]["component"]
    assert (about["name"], about["version"]) == tuple(image.rpartition("/")[2].split(":"))


def test_the_images_share_their_lower_layers() -> None:
    layers = [json.loads(inspect(i, "{{json .RootFS.Layers}}")) for i in (CONTROL, PREDICTOR)]
    shared = [a for a, b in zip(*layers, strict=False) if a == b]
    assert len(shared) >= 3  # Debian, its Python, the predictor's environment


@BOTH
def test_it_is_labelled(image: str) -> None:
    labels = json.loads(inspect(image, "{{json .Config.Labels}}"))
    stated = {k.removeprefix("org.opencontainers.image."): v for k, v in labels.items()}
    assert stated["version"] == image.rpartition(":")[2]
    assert stated["licenses"] == "Apache-2.0"
    assert re.fullmatch(r"[0-9a-f]{40}", stated["revision"])
