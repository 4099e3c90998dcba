from __future__ import annotations

import pytest

from serving.cluster.faults import RULES_NOT_CHECKED
from serving.cluster.schemas import check, fill_defaults, prune, unknown_fields


def of(**schema):
    return {"type": "object", "properties": {"a": schema}}


def messages(value, **schema):
    return [f.message for f in check({"a": value}, of(**schema))]


@pytest.mark.parametrize(
    ("value", "schema", "message"),
    [
        (1, {"type": "string"}, 'must be of type string: "integer"'),
        (None, {"type": "string"}, 'must be of type string: "null"'),
        (True, {"type": "integer"}, 'must be of type integer: "boolean"'),
        (1.5, {"type": "integer"}, 'must be of type integer: "number"'),
        ([], {"x-kubernetes-int-or-string": True}, 'must be of type integer,string: "array"'),
        ("abc", {"type": "string", "maxLength": 2}, "Too long: may not be more than 2 bytes"),
        ("", {"type": "string", "minLength": 1}, "should be at least 1 chars long"),
        ("a\n", {"type": "string", "pattern": "^a$"}, "should match '^a$'"),
        (0, {"type": "integer", "minimum": 1}, "should be greater than or equal to 1"),
        (1, {"minimum": 1, "exclusiveMinimum": True}, "should be greater than 1"),
        (3, {"type": "integer", "maximum": 2}, "should be less than or equal to 2"),
        (2, {"maximum": 2, "exclusiveMaximum": True}, "should be less than 2"),
        (3, {"type": "integer", "multipleOf": 2}, "should be a multiple of 2"),
        ([1, 2], {"type": "array", "maxItems": 1}, "Too many: 2: must have at most 1 items"),
        ([1, 1], {"type": "array", "x-kubernetes-list-type": "set"}, "Duplicate value: 1"),
        ({}, {"type": "object", "minProperties": 1}, "should have at least 1 properties"),
        ({"x": 1}, {"type": "object", "maxProperties": 0}, "Too many: 1"),
        (3, {"enum": [1, "b"]}, 'Unsupported value: 3: supported values: 1, "b"'),
        (3, {"anyOf": [{"minimum": 4}, {"maximum": 2}]}, "at least one schema (anyOf)"),
        (3, {"oneOf": [{"minimum": 1}, {"maximum": 4}]}, "(oneOf). Found 2 valid"),
        (3, {"oneOf": [{"minimum": 4}]}, "(oneOf). Found none valid"),
        (3, {"allOf": [{"minimum": 4}]}, "should be greater than or equal to 4"),
        (3, {"not": {"minimum": 1}}, "must not validate the schema (not)"),
    ],
)
def test_a_value_that_breaks_the_schema_is_told_why(value, schema, message):
    (found,) = messages(value, **schema)
    assert message in found


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (None, {"type": "string", "nullable": True}),
        (2, {"type": "number"}),
        (2.0, {"type": "integer"}),
        ("80%", {"x-kubernetes-int-or-string": True}),
        ("xay", {"type": "string", "pattern": "a"}),
        ([1, 2], {"type": "array", "x-kubernetes-list-type": "set"}),
        (3, {"oneOf": [{"minimum": 1}, {"maximum": 2}]}),
    ],
)
def test_a_value_that_fits_has_no_fault(value, schema):
    assert messages(value, **schema) == []


def test_rules_are_not_tried_on_an_object_with_a_wrong_type():
    schema = of(type="integer") | {"x-kubernetes-validations": [{"rule": "self.a > 0"}]}
    assert check({"a": "x"}, schema)[1:] == [RULES_NOT_CHECKED]
    assert [f.reason for f in check({"a": 0}, schema)] == ["FieldValueInvalid"]


def test_unknown_fields_are_found_at_every_depth():
    inner = {"type": "object", "properties": {"x": {}}}
    schema = {
        "properties": {
            "list": {"type": "array", "items": inner},
            "map": {"type": "object", "additionalProperties": inner},
            "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        }
    }
    value = {
        "kind": "K",
        "list": [{"x": 1}, {"y": 1}],
        "map": {"k": {"y": 2, "x": 1}},
        "open": {"z": 1},
        "extra": 1,
    }
    assert list(unknown_fields(value, schema)) == ["extra", "list[1].y", "map.k.y"]
    assert prune(value, schema) == {
        "kind": "K",
        "list": [{"x": 1}, {}],
        "map": {"k": {"x": 1}},
        "open": {"z": 1},
    }


def test_a_map_of_anything_keeps_everything():
    schema = of(type="object", additionalProperties=True)
    assert prune({"a": {"b": {"c": 1}}}, schema) == {"a": {"b": {"c": 1}}}


def test_defaults_are_copies():
    schema = of(type="array", default=[{"x": 1}])
    fill_defaults({}, schema)["a"][0]["x"] = 2
    assert fill_defaults({}, schema) == {"a": [{"x": 1}]}
