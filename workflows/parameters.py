"""What a run of the bootstrap pipeline may set; the defaults are what a fresh checkout can do."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from components.image import IMAGE
from penstock.errors import DomainError


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """One run's parameters, under the names that the compiled pipeline has for them.

    ``trainer`` is a module's dotted name; ``store`` a folder or ``s3://bucket/prefix``; ``shared``
    the folder of public data sets, empty for the project's own generators; ``load_rps`` the load to
    plan for.
    """

    trainer: str = ""
    store: str = "s3://penstock"
    shared: str = ""
    load_rps: float = 10.0
    solver: str = "auto"
    image: str = IMAGE

    def __post_init__(self) -> None:
        if not (math.isfinite(self.load_rps) and self.load_rps >= 0):
            raise DomainError(f"load_rps must be finite and at least 0, got {self.load_rps}")

    def arguments(self) -> dict[str, str | float]:
        """Return the parameters as the arguments of the pipeline."""
        return {**asdict(self), "load_rps": float(self.load_rps)}
