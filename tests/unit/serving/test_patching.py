"""The examples of RFC 6902 (appendix A) and RFC 7386 (appendix A), and what they leave open."""

from __future__ import annotations

import pytest

from serving.cluster.patching import PatchError, json_patch
from serving.manifest import merge, undo


@pytest.mark.parametrize(
    ("document", "operation", "result"),
    [
        ({"a": 1}, {"op": "add", "path": "/b", "value": 2}, {"a": 1, "b": 2}),
        ({"a": [1, 3]}, {"op": "add", "path": "/a/1", "value": 2}, {"a": [1, 2, 3]}),
        ({"a": [1]}, {"op": "add", "path": "/a/-", "value": [2]}, {"a": [1, [2]]}),
        ({"a": 1}, {"op": "add", "path": "", "value": 3}, 3),
        ({"a": 1, "b": 2}, {"op": "remove", "path": "/b"}, {"a": 1}),
        ({"a": [1, 2]}, {"op": "remove", "path": "/a/0"}, {"a": [2]}),
        ({"a": 1}, {"op": "remove", "path": ""}, None),
        ({"a": 1}, {"op": "replace", "path": "/a", "value": None}, {"a": None}),
        ({"a": 1}, {"op": "replace", "path": "", "value": []}, []),
        ({"a": {"b": 1}, "c": {}}, {"op": "move", "from": "/a/b", "path": "/c/d"},
         {"a": {}, "c": {"d": 1}}),
        ({"a": [1, 2, 3]}, {"op": "move", "from": "/a/0", "path": "/a/2"}, {"a": [2, 3, 1]}),
        ({"a": {"b": 1}}, {"op": "copy", "from": "/a", "path": "/c"},
         {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a/b": 1, "m~n": 2}, {"op": "replace", "path": "/a~1b", "value": 3},
         {"a/b": 3, "m~n": 2}),
        ({"m~n": 2}, {"op": "test", "path": "/m~0n", "value": 2}, {"m~n": 2}),
        ({"a": {"b": [1, 2.0]}}, {"op": "test", "path": "/a", "value": {"b": [1, 2]}},
         {"a": {"b": [1, 2.0]}}),
    ],
)  # fmt: skip
def test_an_operation_does_what_the_standard_says(document, operation, result):
    assert json_patch(document, [operation]) == result


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/ghost"},
        {"op": "replace", "path": "/ghost", "value": 1},
        {"op": "add", "path": "/ghost/a", "value": 1},
        {"op": "add", "path": "/a/9", "value": 1},
        {"op": "add", "path": "/a/01", "value": 1},
        {"op": "add", "path": "/t/x", "value": 1},
        {"op": "add", "path": "/b"},
        {"op": "add", "path": "b", "value": 1},
        {"op": "add", "value": 1},
        {"op": "move", "from": "/o", "path": "/o/p"},
        {"op": "test", "path": "/t", "value": "other"},
        {"op": "test", "path": "/yes", "value": 1},
        {"op": "test", "path": "/a", "value": [1]},
        {"op": "spin", "path": "/a"},
        "add",
    ],
)
def test_an_operation_that_cannot_be_done_is_refused(operation):
    with pytest.raises(PatchError):
        json_patch({"a": [1, 2], "t": "x", "o": {"p": 1}, "yes": True}, [operation])


def test_a_refused_patch_leaves_the_document_as_it_was():
    document = {"a": [1]}
    with pytest.raises(PatchError):
        json_patch(document, [{"op": "remove", "path": "/a/0"}, {"op": "remove", "path": "/b"}])
    assert document == {"a": [1]}


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_the_standard_says(target, patch, result):
    assert merge(target, patch) == result


def test_the_undoing_patch_removes_what_was_added():
    assert undo({"a": {"b": 1}, "c": 2}, {"a": {"b": 0}}) == {"a": {"b": 0}, "c": None}
