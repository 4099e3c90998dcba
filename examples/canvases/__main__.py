"""``python -m examples.canvases out/digits``: print the ladder that was trained there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from examples.canvases.ladder import format_ladder, measure_ladder
from penstock.errors import PenstockError


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.canvases", description=__doc__)
    parser.add_argument("out", type=Path, help="output folder of an example")
    parser.add_argument("--most", type=int, help="measure on the first so many requests only")
    options = parser.parse_args()
    try:
        print(format_ladder(measure_ladder(options.out, most=options.most)))
    except PenstockError as err:
        sys.stderr.write(f"{err}\n")
        return err.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
