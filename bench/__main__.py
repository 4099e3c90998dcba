"""``python -m bench [name | all]``: run benchmarks, write ``bench/results/<name>.json``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

BENCHMARKS = ("solver", "tail", "tick")


def main(arguments: list[str]) -> int:
    """Run the benchmarks asked for; return the exit code."""
    asked = BENCHMARKS if arguments in ([], ["all"]) else tuple(arguments)
    unknown = [name for name in asked if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark is called {unknown[0]!r}; there are {', '.join(BENCHMARKS)}, all")
        return 2
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    for name in asked:
        importlib.import_module(f"bench.{name}").run(folder / f"{name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
