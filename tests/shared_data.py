"""Where the public data sets lie that tests may read but the project never ships."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared(relative: str) -> Path:
    """Return a path below ``PENSTOCK_SHARED`` (default ``../shared``).

    A laptop without the data skips the test; in CI it fails: a test can't quietly stop running.
    """
    root = Path(os.environ.get("PENSTOCK_SHARED") or Path(__file__).parents[2] / "shared")
    path = root / relative
    if not path.exists():
        message = f"{path} is not there; set PENSTOCK_SHARED to the folder that holds {relative}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path
