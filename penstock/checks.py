"""What makes a value of the domain sensible; each check raises ``DomainError`` with what it found.

``what`` names the value as the message shall: ``stage 'locate': visit_ratio``.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Hashable, Sequence

from penstock.errors import DomainError


def require(holds: bool, message: str) -> None:
    """Refuse what does not hold, in the words of ``message``."""
    if not holds:
        raise DomainError(message)


def positive(what: str, value: float) -> None:
    """Refuse a number that is not finite or not above 0."""
    # a whole number too large for a float would make math.isfinite raise
    holds = 0 < value <= sys.float_info.max
    require(holds, f"{what} must be finite and above 0, got {value}")


def not_negative(what: str, value: float) -> None:
    """Refuse a number that is not finite or below 0."""
    require(
        math.isfinite(value) and value >= 0, f"{what} must be finite and at least 0, got {value}"
    )


def share(what: str, value: float) -> None:
    """Refuse a number outside [0, 1]."""
    require(0 <= value <= 1, f"{what} must lie in [0, 1], got {value}")


def unique(what: str, names: Sequence[Hashable]) -> None:
    """Refuse names that are given more than once."""
    twice = sorted(str(n) for n, count in Counter(names).items() if count > 1)
    require(
        not twice, f"{what} must have different names; given more than once: {', '.join(twice)}"
    )
