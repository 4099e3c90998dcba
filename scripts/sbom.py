"""Write what an image is made of as a CycloneDX document, from inside it.

``python sbom.py <name> <version> > sbom.cdx.json`` asks the environment that runs it for its Python
distributions, and dpkg for Debian's packages. The document holds no time and no random number: the
same image gives the same bytes. The standard library is enough, so nothing is installed for it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any
from urllib.parse import quote

SPEC_VERSION = "1.5"
_DPKG_FIELDS = "${Package}\t${Version}\t${Architecture}\n"


def document(name: str, version: str) -> dict[str, Any]:
    """Return the document of the image of that name and version, which this process runs in."""
    image = {"type": "container", "bom-ref": name, "name": name, "version": version}
    parts = [*python_distributions(), *debian_packages()]
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": {"component": image},
        "components": sorted(parts, key=lambda part: str(part["bom-ref"])),
    }


def python_distributions() -> Iterator[dict[str, Any]]:
    """Yield a component for each distribution of this environment."""
    for found in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", found.name).lower()
        licence = found.metadata["License-Expression"]
        stated = {"licenses": [{"expression": licence}]} if licence else {}
        yield _library(name, found.version, f"pkg:pypi/{name}@{quote(found.version)}") | stated


def debian_packages() -> Iterator[dict[str, Any]]:
    """Yield a component for each package that dpkg has installed."""
    listed = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={_DPKG_FIELDS}"],
        check=True,
        capture_output=True,
        text=True,
    )
    for line in listed.stdout.splitlines():
        name, version, architecture = line.split("\t")
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}"
        yield _library(name, version, purl)


def _library(name: str, version: str, purl: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


if __name__ == "__main__":
    json.dump(document(*sys.argv[1:3]), sys.stdout, indent=1)
    sys.stdout.write("\n")
