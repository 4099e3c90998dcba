"""Changes and errors as JSON, between the local cluster's daemon and its client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from penstock import errors
from penstock.errors import ManifestError, PenstockError
from serving.diff import Action, Change, Step

_TYPES = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, PenstockError) and name != "SpecError"
}


def change_to(change: Change) -> dict[str, Any]:
    """Return a change as a JSON document."""
    return {one.name: getattr(change, one.name) for one in fields(Change)}


def change_from(document: Any) -> Change:
    """Read a change.

    Raises:
        ManifestError: the document is none.
    """
    try:
        kept = {one.name: document[one.name] for one in fields(Change) if one.name in document}
        return Change(**{**kept, "action": Action(kept["action"]), "step": Step(kept["step"])})
    except (KeyError, TypeError, ValueError) as err:
        raise ManifestError(f"this is no change: {err!r}") from err


def error_to(error: PenstockError) -> dict[str, str]:
    """Return an error as a JSON document."""
    return {"type": type(error).__name__, "message": str(error)}


def error_from(document: Mapping[str, str]) -> PenstockError:
    """Return the error that the other side raised."""
    return _TYPES.get(document.get("type", ""), PenstockError)(document.get("message", ""))
