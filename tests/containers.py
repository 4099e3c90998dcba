"""Containers of the images that were built, under rules as strict as a cluster's strictest."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BUILDER = os.environ.get("BUILDER", "docker")
HARDENED = (
    *("--rm", "--read-only", "--tmpfs", "/tmp", "--user", "65532:65532"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to run in a container; no ``entrypoint`` takes the image's own.

    ``folder`` is seen inside as /work, read-only. There is no network unless ``host_network``.
    """

    words: Sequence[str]
    entrypoint: str | None = None
    folder: Path | None = None
    host_network: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, image: str) -> list[str]:
        """Return the command line that runs it on an image."""
        options = [*HARDENED, "--network", "host" if self.host_network else "none"]
        if self.entrypoint is not None:
            options += ["--entrypoint", self.entrypoint]
        if self.folder is not None:
            options += ["--volume", f"{self.folder}:/work:ro"]
        for name, value in self.environment.items():
            options += ["--env", f"{name}={value}"]
        return [BUILDER, "run", *options, image, *self.words]

    def run(self, image: str) -> str:
        """Run it to its end and return what it printed; the test fails where it does."""
        done = subprocess.run(self.command(image), capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def python(code: str) -> Job:
    """Return the job of running some Python."""
    return Job(entrypoint="python", words=("-c", code))


def inspect(image: str, template: str) -> str:
    """Return what the builder knows of an image, by one of its templates."""
    command = [BUILDER, "image", "inspect", "--format", template, image]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
