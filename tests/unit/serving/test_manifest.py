from __future__ import annotations

import pytest

from penstock.errors import ManifestError
from serving.crds import find_crd
from serving.manifest import from_yaml, key_of, leaves, to_yaml, write_tree


def test_keys_are_sorted_and_documents_are_not():
    assert to_yaml([{"b": 1, "a": 2}, {"a": 0}]) == "---\na: 2\nb: 1\n---\na: 0\n"


def test_empty_documents_are_left_out():
    assert from_yaml("---\n---\na: 1\n") == ({"a": 1},)


@pytest.mark.parametrize(("text", "part"), [("a: [", "not YAML"), ("- 1", "got list")])
def test_what_is_no_manifest_is_refused(text, part):
    with pytest.raises(ManifestError, match=part):
        from_yaml(text)


def test_an_object_without_a_namespace_is_in_default():
    assert key_of({"kind": "K", "metadata": {"name": "n"}}) == ("K", "default", "n")


def test_lists_and_empty_maps_are_leaves():
    found = dict(leaves({"a": {"b": [1], "c": {}}, "d": None}))
    assert found == {"a.b": [1], "a.c": {}, "d": None}


def test_a_file_that_cannot_be_put_in_place_leaves_nothing_behind(tmp_path):
    (tmp_path / "k-n.yaml").mkdir()
    with pytest.raises(ManifestError, match="name another folder"):
        write_tree([{"kind": "K", "metadata": {"name": "n"}}], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["k-n.yaml"]


def test_a_definition_that_is_no_yaml_is_named(tmp_path):
    text = "kind: CustomResourceDefinition\nspec: [\n  versions: 1\n"
    (tmp_path / "broken.yaml").write_text(text)
    with pytest.raises(ManifestError, match=r"broken\.yaml"):
        find_crd(tmp_path, "g", "K")
