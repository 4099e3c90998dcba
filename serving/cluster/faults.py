"""What is wrong with a field, in the words of a Kubernetes API server (1.36)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serving.cluster.resources import Answer, Resource, failure
from serving.manifest import Manifest

_STOPS_RULES = (
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One field, what is wrong with it, and the reason as the API names it."""

    field: str
    reason: str
    message: str

    @property
    def stops_rules(self) -> bool:
        """Whether the validation rules of a schema are not tried after this fault."""
        return self.reason in _STOPS_RULES

    def as_cause(self) -> Manifest:
        """Return it as an entry of ``details.causes``."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


RULES_NOT_CHECKED = Fault(
    field="<nil>",
    reason="FieldValueInvalid",
    message="Invalid value: null: some validation rules were not checked because the object was "
    "invalid; correct the existing errors to complete validation",
)


def required(field: str, detail: str = "") -> Fault:
    """Return the fault of a field that is missing."""
    message = f"Required value: {detail}" if detail else "Required value"
    return Fault(field=field, reason="FieldValueRequired", message=message)


def unsupported(field: str, value: Any, allowed: Sequence[Any]) -> Fault:
    """Return the fault of a value outside an enumeration."""
    choices = ", ".join(quoted(a) for a in allowed)
    message = f"Unsupported value: {quoted(value)}: supported values: {choices}"
    return Fault(field=field, reason="FieldValueNotSupported", message=message)


def wrong_type(field: str, expected: str, found: str) -> Fault:
    """Return the fault of a value of the wrong JSON type."""
    detail = f'{field} in body must be of type {expected}: "{found}"'
    message = f'Invalid value: "{found}": {detail}'
    return Fault(field=field, reason="FieldValueTypeInvalid", message=message)


def invalid(field: str, value: Any, detail: str) -> Fault:
    """Return the fault of a value that breaks a rule."""
    message = f"Invalid value: {quoted(value)}: {detail}"
    return Fault(field=field, reason="FieldValueInvalid", message=message)


def broken_rule(field: str, detail: str) -> Fault:
    """Return the fault of a validation rule that does not hold; it does not repeat the value."""
    return Fault(field=field, reason="FieldValueInvalid", message=f"Invalid value: {detail}")


def too_long(field: str, at_most: int) -> Fault:
    """Return the fault of a text over its limit."""
    message = f"Too long: may not be more than {at_most} bytes"
    return Fault(field=field, reason="FieldValueTooLong", message=message)


def too_many(field: str, found: int, at_most: int) -> Fault:
    """Return the fault of a list or map over its limit."""
    message = f"Too many: {found}: must have at most {at_most} items"
    return Fault(field=field, reason="FieldValueTooMany", message=message)


def duplicate(field: str, value: Any) -> Fault:
    """Return the fault of a list entry that is there already."""
    message = f"Duplicate value: {quoted(value)}"
    return Fault(field=field, reason="FieldValueDuplicate", message=message)


def invalid_answer(resource: Resource, name: str, faults: Sequence[Fault]) -> Answer:
    """Return the 422 answer that lists the faults of an object."""
    details: Manifest = {"name": name, "group": resource.group, "kind": resource.kind}
    return _refused(f'{resource.qualified_kind} "{name}"', details, faults)


def invalid_patch_answer(patched: Any, why: str) -> Answer:
    """Return the 422 answer to a patch whose result can't be read as the kind's type.

    It names neither kind nor object, as a real server doesn't.
    """
    text = json.dumps(patched, separators=(",", ":"), ensure_ascii=False)
    return _refused(' ""', {}, [invalid("patch", text, why)])


def quoted(value: Any) -> str:
    """Return a value as error messages show it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _refused(subject: str, details: Manifest, faults: Sequence[Fault]) -> Answer:
    texts = list(dict.fromkeys(f"{f.field}: {f.message}" for f in faults))
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    kept = {k: v for k, v in details.items() if v}
    kept["causes"] = [f.as_cause() for f in faults]
    return failure(422, "Invalid", f"{subject} is invalid: {listed}", kept)
