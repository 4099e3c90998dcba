from __future__ import annotations

from serving.cluster.managed import (
    Writer,
    after_apply,
    after_update,
    apply_fields,
    conflicts,
)


def writer(manager="one", operation="Update", **fields):
    return Writer(
        manager=manager,
        operation=operation,
        api_version="v1",
        time="2026-01-01T00:00:00Z",
        **fields,
    )


def thing(entries=(), **spec):
    return {"metadata": {"name": "t", "managedFields": list(entries)}, "spec": spec}


def fields_of(entries):
    return {e["manager"]: e["fieldsV1"] for e in entries}


def test_who_creates_an_object_owns_what_it_says():
    entries = after_update({}, thing(a=1, b={"c": [1]}), writer())
    assert entries[0]["fieldsV1"] == {"f:spec": {"f:a": {}, "f:b": {"f:c": {}}}}
    assert (entries[0]["manager"], entries[0]["fieldsType"]) == ("one", "FieldsV1")


def test_who_changes_a_field_takes_it_from_its_owner():
    first = thing(after_update({}, thing(a=1, b=1), writer()), a=1, b=1)
    entries = after_update(first, thing(a=2, b=1), writer("two"))
    assert fields_of(entries) == {
        "one": {"f:spec": {"f:b": {}}},
        "two": {"f:spec": {"f:a": {}}},
    }


def test_a_field_that_is_gone_is_owned_by_nobody():
    first = thing(after_update({}, thing(a=1, b=1), writer()), a=1, b=1)
    assert fields_of(after_update(first, thing(b=1), writer("two"))) == {
        "one": {"f:spec": {"f:b": {}}}
    }


def test_labels_are_owned_one_by_one():
    labelled = {"metadata": {"name": "t", "labels": {"x": "1"}}}
    entries = after_update({}, labelled, writer())
    assert entries[0]["fieldsV1"] == {"f:metadata": {"f:labels": {"f:x": {}}}}


def test_the_status_is_owned_through_its_subresource():
    entries = after_update(thing(a=1), thing(a=2), writer(subresource="status"))
    assert entries[0]["subresource"] == "status"


def test_the_same_value_is_no_conflict():
    live = thing(after_update({}, thing(a=1), writer()), a=1)
    assert conflicts(live, thing(a=1), writer("two", "Apply")) == []
    assert [p for p, _ in conflicts(live, thing(a=2), writer("two", "Apply"))] == [("spec", "a")]


def test_a_manager_has_no_conflict_with_itself():
    live = thing(after_update({}, thing(a=1), writer()), a=1)
    assert conflicts(live, thing(a=2), writer("one", "Apply")) == []


def test_a_map_that_becomes_empty_goes_with_its_last_field():
    applied = thing(a={"b": {"c": 1}}, d=1)
    live = thing(after_apply({}, applied, applied, writer("one", "Apply")), a={"b": {"c": 1}}, d=1)
    assert apply_fields(live, thing(d=1), writer("one", "Apply"))["spec"] == {"d": 1}


def test_an_empty_map_neither_clears_nor_takes_away_what_others_hold():
    one, two = writer("one", "Apply"), writer("two", "Apply")
    live = thing(after_apply({}, thing(a={}), thing(a={}), one), a={})
    both = apply_fields(live, thing(a={"b": 1}), two)
    both["metadata"]["managedFields"] = after_apply(live, both, thing(a={"b": 1}), two)
    assert apply_fields(both, thing(a={}), one)["spec"] == {"a": {"b": 1}}
    assert apply_fields(both, thing(c=1), one)["spec"] == {"a": {"b": 1}, "c": 1}
