"""In an init container: fetches the artifact at an ``s3://`` URI into a folder, with our store."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from serving.store import make_store


def fetch(uri: str, into: Path) -> None:
    root = os.environ["PENSTOCK_STORE"]
    key, version = uri.removeprefix(f"{root}/").rsplit("/", 1)
    with tempfile.TemporaryDirectory(dir=into) as scratch:
        # The mounted folder is there already, and a store fetches only into one that is not.
        whole = Path(scratch) / "artifact"
        make_store(root).get(key, version, whole)
        for path in whole.iterdir():
            shutil.move(path, into / path.name)


if __name__ == "__main__":
    fetch(sys.argv[1], Path(sys.argv[2]))
