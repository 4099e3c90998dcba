from __future__ import annotations

import pytest

from serving.cluster.rules import UnsupportedRuleError, broken_rules, evaluate


@pytest.mark.parametrize(
    ("rule", "value", "holds"),
    [
        ("has(self.a)", {"a": None}, True),
        ("has(self.a.b)", {"a": {}}, False),
        ("!(has(self.a) && has(self.b))", {"a": 1, "b": 1}, False),
        ("has(self.a) || self.b == 'x'", {"b": "x"}, True),
        ("(has(self.a) ? 1 : 0) + (has(self.b) ? 1 : 0) <= 1", {"a": 1, "b": 1}, False),
        ("self.all(t, t > 0)", [1, 2, 0], False),
        ("self.exists(t, t.name == 'x')", [{"name": "y"}, {"name": "x"}], True),
        ("self.a.size() == 2 && size(self.a) == 2", {"a": [1, 2]}, True),
        ("self.name.matches('^[0-9]')", {"name": "9a"}, True),
        ("self.name.startsWith('a') && self.name.endsWith('c')", {"name": "abc"}, True),
        ("self.name.contains('b.')", {"name": "abc"}, False),
        ("self.kind in ['a', 'b'] && !(self.kind in [])", {"kind": "b"}, True),
        ("self['a'] != 2 - 1", {"a": 1}, False),
        ("-1 < self.a && self.a >= 0 && true", {"a": 0}, True),
        ("self.a == null", {"a": None}, True),
    ],
)
def test_an_expression_has_the_value_cel_gives_it(rule, value, holds):
    assert evaluate(rule, {"self": value}) is holds


@pytest.mark.parametrize(
    "rule",
    [
        "self.a.map(x, x)",
        "int(self.a)",
        "self ~ 1",
        "(self",
        "self.",
        "1 2",
        "self.1",
        "]",
        "[1 2]",
    ],
)
def test_what_is_not_understood_is_said_to_be(rule):
    with pytest.raises(UnsupportedRuleError):
        evaluate(rule, {"self": {}})


def schema(rule, **fields):
    return {"x-kubernetes-validations": [{"rule": rule, **fields}]}


def faults(value, of, old=None):
    return [(f.field, f.message) for f in broken_rules(value, of, old)]


def test_a_broken_rule_says_its_message_where_it_stands():
    inner = {"properties": {"a": {"items": schema("self > 0", message="too small")}}}
    found = faults({"spec": {"a": [1, 0]}}, {"properties": {"spec": inner}})
    assert found == [("spec.a[1]", "Invalid value: too small")]


def test_a_rule_without_a_message_is_quoted():
    assert faults(0, schema("self > 0")) == [("", "Invalid value: failed rule: self > 0")]


def test_a_rule_may_name_the_field_to_blame():
    found = faults({"s": {}}, {"properties": {"s": schema("has(self.a)", fieldPath=".a")}})
    assert [f for f, _ in found] == ["s.a"]


def test_a_rule_about_a_change_waits_for_a_change():
    rule = schema("self == oldSelf", message="immutable")
    of = {"properties": {"a": rule}}
    assert faults({"a": 1}, of) == []
    assert faults({"a": 1}, of, {"a": 2}) == [("a", "Invalid value: immutable")]


def test_a_rule_that_cannot_be_evaluated_does_not_hold():
    assert len(faults({}, schema("self.a > 0"))) == 1


def test_a_rule_that_is_not_understood_is_left_out():
    assert faults({}, schema("self.map(x, x) == 1")) == []
