"""Files that are, at any moment, the old one or the new one and nothing between."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a file that appears whole, readable by all; text is UTF-8, as it stands.

    The folder is made when it is missing. ``durable`` waits until the disk has the content: for
    what took long to find out and must outlive a power cut.

    Raises:
        OSError: it can't be written; an older file is still there, and nothing else is.
    """
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(descriptor)
        draft.chmod(0o644)  # mkstemp makes it private to its owner
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
