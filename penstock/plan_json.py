"""A plan as a JSON document and back: every fault with its path, the same bytes twice."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from typing import Any

from penstock.domain import Option, Plan, Promise
from penstock.errors import SpecError

FORMAT = "penstock.dev/plan/v1"
"""The value of the document's ``format``; it changes when an older reader would go wrong."""

_TOP = ("format", "pipeline", "load_rps", "stages", "promise", "solver")
_WHOLE = {"batch_size": 1, "replicas": 0}
_SHARES = {"accuracy_product", "accuracy_joint"}
_SINCE_V1 = {"cost_per_hour", "latency_padding", "switch_cost", "band"}
"""What older documents do not have; the dataclasses' defaults stand in."""
_MAY_BE_NONE = {"accuracy_joint", "cost_per_hour"}
_ANY_SIGN = {"objective"}
_TEXTS = {"stage", "variant", "latency_model"}


def plan_to_json(plan: Plan) -> str:
    """Return the plan as a JSON document: sorted keys, ends in a newline, equal for equal plans.

    Raises:
        ValueError: a number is not finite; such a plan promises nothing.
    """
    document = {"format": FORMAT, **asdict(plan)}
    return (
        json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    )


def plan_from_json(text: str, *, source: str = "plan") -> Plan:
    """Return the plan of a JSON document.

    Raises:
        SpecError: it is not JSON, or keys are unknown, missing, of another type or out of range:
            every fault with its path. ``source`` names the document in the message.
    """
    try:
        document = json.loads(text)
    except ValueError as err:
        raise SpecError(source, [f"is not JSON: {err}"]) from err
    reader = _Reader()
    plan = reader.plan(document)
    if plan is None:
        raise SpecError(source, reader.faults)
    return plan


class _Reader:
    """Reads what it can and collects what is wrong with the rest."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def plan(self, document: Any) -> Plan | None:
        top = self._mapping(document, "", _TOP)
        if top.get("format", FORMAT) != FORMAT:
            self._fault("format", f"must be {FORMAT!r}, got {top['format']!r}")
        pipeline = self._text(top.get("pipeline", ""), "pipeline")
        solver = self._text(top.get("solver", ""), "solver")
        load_rps = self._number(top.get("load_rps", 0.0), "load_rps")
        promise = (
            self._values(top["promise"], "promise", _names(Promise)) if "promise" in top else {}
        )
        stages = self._stages(top["stages"]) if "stages" in top else []
        if self.faults:
            return None
        return Plan(
            pipeline=pipeline,
            load_rps=load_rps,
            stages=tuple(Option(**values) for values in stages),
            promise=Promise(**promise),
            solver=solver,
        )

    def _stages(self, found: Any) -> list[dict[str, Any]]:
        if not isinstance(found, list):
            self._fault("stages", f"must be a list, got {_kind(found)}")
            return []
        if not found:
            self._fault("stages", "must not be empty")
        return [
            self._values(entry, f"stages[{i}]", _names(Option)) for i, entry in enumerate(found)
        ]

    def _mapping(self, found: Any, path: str, names: tuple[str, ...]) -> dict[str, Any]:
        """Return the known entries; unknown and missing ones are faults."""
        if not isinstance(found, dict):
            self._fault(path, f"must be a mapping, got {_kind(found)}")
            return {}
        prefix = f"{path}." if path else ""
        for name in found:
            if name not in names:
                self._fault(f"{prefix}{name}", f"is unknown; known are {', '.join(names)}")
        for name in names:
            if name not in found and name not in _SINCE_V1:
                self._fault(f"{prefix}{name}", "is missing")
        return {name: found[name] for name in names if name in found}

    def _values(self, found: Any, path: str, names: tuple[str, ...]) -> dict[str, Any]:
        known = self._mapping(found, path, names)
        return {name: self._value(name, value, f"{path}.{name}") for name, value in known.items()}

    def _value(self, name: str, found: Any, path: str) -> Any:
        if name in _TEXTS:
            return self._text(found, path)
        if name == "band":
            return self._band(found, path)
        if name in _WHOLE:
            return self._whole(found, path, least=_WHOLE[name])
        if name in _MAY_BE_NONE and found is None and path.startswith("promise"):
            return None
        is_share = name in _SHARES or (name == "accuracy" and path.startswith("stages"))
        return self._number(
            found,
            path,
            least=-math.inf if name in _ANY_SIGN else 0.0,
            most=1.0 if is_share else math.inf,
        )

    def _band(self, found: Any, path: str) -> tuple[int, int] | None:
        if found is None:
            return None
        if not isinstance(found, list) or len(found) != 2:
            self._fault(path, f"must be a pair of whole numbers, got {found!r}")
            return None
        low = self._whole(found[0], f"{path}[0]", least=0)
        return (low, self._whole(found[1], f"{path}[1]", least=low))

    def _text(self, found: Any, path: str) -> str:
        if isinstance(found, str):
            return found
        self._fault(path, f"must be text, got {_kind(found)}")
        return ""

    def _whole(self, found: Any, path: str, *, least: int) -> int:
        if isinstance(found, int) and not isinstance(found, bool) and found >= least:
            return found
        self._fault(path, f"must be a whole number of at least {least}, got {found!r}")
        return least

    def _number(
        self, found: Any, path: str, *, least: float = 0.0, most: float = math.inf
    ) -> float:
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        if is_number and math.isfinite(found) and least <= found <= most:
            return float(found)
        self._fault(path, f"must be a number{_range(least, most)}, got {found!r}")
        return 0.0

    def _fault(self, path: str, message: str) -> None:
        self.faults.append(f"{path}: {message}" if path else message)


def _names(of: type[Option] | type[Promise]) -> tuple[str, ...]:
    return tuple(f.name for f in fields(of))


def _kind(found: Any) -> str:
    return type(found).__name__


def _range(least: float, most: float) -> str:
    if most < math.inf:
        return f" in [{least:g}, {most:g}]"
    return f" of at least {least:g}" if least > -math.inf else ""
