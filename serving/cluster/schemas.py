"""What an API server does with a custom resource's structural schema.

Unknown fields are found and pruned, defaults are filled in, and values are checked; the words of
the faults are those of a real server (1.36), recorded with KServe's and Argo's definitions. Not
checked: number ranges of ``format``, and the rules a real server applies to embedded objects.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from serving.cluster import faults
from serving.cluster.faults import Fault
from serving.cluster.rules import broken_rules

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_ROOT_FIELDS = ("apiVersion", "kind", "metadata")

Schema = Mapping[str, Any]


def unknown_fields(value: Any, schema: Schema, path: str = "") -> Iterator[str]:
    """Yield the path of each field that the schema does not know."""
    if schema.get(_PRESERVE):
        return
    if isinstance(value, Mapping) and _is_object(schema):
        for key in sorted(value):
            inner = _field_schema(schema, key)
            where = f"{path}.{key}" if path else key
            if not path and key in _ROOT_FIELDS:
                continue
            if inner is None:
                yield where
            else:
                yield from unknown_fields(value[key], inner, where)
    elif isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            yield from unknown_fields(item, schema["items"], f"{path}[{i}]")


def prune(value: Any, schema: Schema, *, root: bool = True) -> Any:
    """Return a copy of ``value`` without the fields that the schema does not know."""
    if schema.get(_PRESERVE):
        return copy.deepcopy(value)
    if isinstance(value, Mapping) and _is_object(schema):
        kept = {}
        for key, inner in value.items():
            known = _field_schema(schema, key)
            if root and key in _ROOT_FIELDS:
                kept[key] = copy.deepcopy(inner)
            elif known is not None:
                kept[key] = prune(inner, known, root=False)
        return kept
    if isinstance(value, list) and "items" in schema:
        return [prune(item, schema["items"], root=False) for item in value]
    return copy.deepcopy(value)


def fill_defaults(value: Any, schema: Schema) -> Any:
    """Return a copy of ``value`` with the schema's defaults where a field is missing."""
    if isinstance(value, Mapping):
        filled = {}
        for key, inner in value.items():
            known = _field_schema(schema, key)
            if inner is None and known and "default" in known and not known.get("nullable"):
                continue
            filled[key] = fill_defaults(inner, known or {})
        for key, known in schema.get("properties", {}).items():
            if key not in filled and "default" in known:
                filled[key] = fill_defaults(copy.deepcopy(known["default"]), known)
        return filled
    if isinstance(value, list):
        return [fill_defaults(item, schema.get("items", {})) for item in value]
    return value


def check(value: Any, schema: Schema, old: Any = None) -> list[Fault]:
    """Return the faults of a whole object; ``old`` is what an update replaces.

    The schema's validation rules are tried only on an object without worse faults, and a note says
    so when they were not.
    """
    found = list(_check(value, schema, ""))
    if not _has_rules(schema):
        return found
    if any(f.stops_rules for f in found):
        return [*found, faults.RULES_NOT_CHECKED]
    return [*found, *broken_rules(value, schema, old)]


def _check(value: Any, schema: Schema, path: str) -> Iterator[Fault]:
    if value is None and schema.get("nullable"):
        return
    expected = "integer,string" if schema.get(_INT_OR_STRING) else schema.get("type", "")
    found = _type_of(value)
    if expected and not _fits(found, value, expected):
        yield faults.wrong_type(path, expected, found)
        return
    if "enum" in schema and value not in schema["enum"]:
        yield faults.unsupported(path, value, schema["enum"])
    if isinstance(value, str):
        yield from _check_text(value, schema, path)
    elif isinstance(value, list):
        yield from _check_list(value, schema, path)
    elif isinstance(value, Mapping):
        yield from _check_map(value, schema, path)
    elif found in ("integer", "number"):
        yield from _check_number(value, schema, path)
    yield from _check_combined(value, schema, path)


def _check_text(value: str, schema: Schema, path: str) -> Iterator[Fault]:
    if len(value) > schema.get("maxLength", len(value)):
        yield faults.too_long(path, schema["maxLength"])
    if len(value) < schema.get("minLength", 0):
        detail = f"{path} in body should be at least {schema['minLength']} chars long"
        yield faults.invalid(path, value, detail)
    pattern = schema.get("pattern")
    # Go's \s and \d are ASCII, and its $ never stands before a final newline.
    if pattern and not re.search(re.sub(r"(?<!\\)\$$", r"\\Z", pattern), value, re.ASCII):
        yield faults.invalid(path, value, f"{path} in body should match '{pattern}'")


def _check_number(value: float, schema: Schema, path: str) -> Iterator[Fault]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value < low or (value == low and schema.get("exclusiveMinimum"))):
        relation = "than" if schema.get("exclusiveMinimum") else "than or equal to"
        yield faults.invalid(path, value, f"{path} in body should be greater {relation} {low}")
    if high is not None and (value > high or (value == high and schema.get("exclusiveMaximum"))):
        relation = "than" if schema.get("exclusiveMaximum") else "than or equal to"
        yield faults.invalid(path, value, f"{path} in body should be less {relation} {high}")
    step = schema.get("multipleOf")
    if step and value % step:
        yield faults.invalid(path, value, f"{path} in body should be a multiple of {step}")


def _check_list(value: list[Any], schema: Schema, path: str) -> Iterator[Fault]:
    for i, item in enumerate(value):
        yield from _check(item, schema.get("items", {}), f"{path}[{i}]")
    if len(value) < schema.get("minItems", 0):
        detail = f"{path} in body should have at least {schema['minItems']} items"
        yield faults.invalid(path, len(value), detail)
    if len(value) > schema.get("maxItems", len(value)):
        yield faults.too_many(path, len(value), schema["maxItems"])
    yield from _check_keys(value, schema, path)


def _check_keys(value: list[Any], schema: Schema, path: str) -> Iterator[Fault]:
    kind = schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys", ())
    seen: list[Any] = []
    for i, item in enumerate(value):
        one = item
        if kind == "map" and isinstance(item, Mapping):
            one = {k: item[k] for k in keys if k in item}
        if kind in ("map", "set") and one in seen:
            yield faults.duplicate(f"{path}[{i}]", one)
        seen.append(one)


def _check_map(value: Mapping[str, Any], schema: Schema, path: str) -> Iterator[Fault]:
    prefix = f"{path}." if path else ""
    for key in schema.get("required", ()):
        if key not in value:
            yield faults.required(f"{prefix}{key}")
    for key in sorted(value):
        known = _field_schema(schema, key)
        if known:
            yield from _check(value[key], known, f"{prefix}{key}")
    if len(value) < schema.get("minProperties", 0):
        detail = f"{path} in body should have at least {schema['minProperties']} properties"
        yield faults.invalid(path, len(value), detail)
    if len(value) > schema.get("maxProperties", len(value)):
        yield faults.too_many(path, len(value), schema["maxProperties"])


def _check_combined(value: Any, schema: Schema, path: str) -> Iterator[Fault]:
    if schema.get(_INT_OR_STRING):
        return  # its anyOf only repeats the two types
    said = f'"{path}" must'
    if "anyOf" in schema and not any(_holds(value, s, path) for s in schema["anyOf"]):
        yield faults.invalid(path, value, f"{said} validate at least one schema (anyOf)")
    matches = [s for s in schema.get("oneOf", ()) if _holds(value, s, path)]
    if "oneOf" in schema and len(matches) != 1:
        how_many = "none" if not matches else str(len(matches))
        detail = f"{said} validate one and only one schema (oneOf). Found {how_many} valid"
        yield faults.invalid(path, value, detail)
    for part in schema.get("allOf", ()):
        yield from _check(value, part, path)
    if "not" in schema and _holds(value, schema["not"], path):
        yield faults.invalid(path, value, f"{said} not validate the schema (not)")


def _holds(value: Any, schema: Schema, path: str) -> bool:
    return not any(_check(value, schema, path))


def _has_rules(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        return "x-kubernetes-validations" in schema or any(_has_rules(s) for s in schema.values())
    return isinstance(schema, list) and any(_has_rules(s) for s in schema)


def _is_object(schema: Schema) -> bool:
    return "properties" in schema or "additionalProperties" in schema or _type(schema) == "object"


def _type(schema: Schema) -> str:
    return str(schema.get("type", ""))


def _field_schema(schema: Schema, key: str) -> Schema | None:
    known = schema.get("properties", {}).get(key)
    if known is not None:
        return dict(known)
    extra = schema.get("additionalProperties")
    if isinstance(extra, Mapping):
        return extra
    return {_PRESERVE: True} if extra else None


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")


def _fits(found: str, value: Any, expected: str) -> bool:
    if found == "integer" and expected == "number":
        return True
    if found == "number" and expected.startswith("integer"):
        return bool(value == int(value))
    return found in expected.split(",")
