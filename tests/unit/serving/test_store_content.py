"""Digests, names and manifests of artifacts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from penstock.errors import ArtifactError
from serving.store.content import (
    Content,
    ContentFile,
    Limits,
    parse_manifest,
    render_manifest,
    scan,
)


def content(*names: str) -> Content:
    files = (ContentFile(path=n, sha256="ab" * 32, size_bytes=7) for n in names or ("model.onnx",))
    return Content(files=tuple(files))


def test_the_digest_is_over_sorted_lines_of_path_checksum_and_size(tmp_path):
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"")
    two, empty = hashlib.sha256(b"two").hexdigest(), hashlib.sha256(b"").hexdigest()
    expected = hashlib.sha256(f"a/x {empty} 0\nb {two} 3\n".encode()).hexdigest()
    assert scan(tmp_path, Limits()).digest == expected


def test_the_order_in_which_files_are_found_does_not_matter():
    assert content("a", "b").digest == content("b", "a").digest


@pytest.mark.parametrize("name", ["manifest.json", "back\\slash", "new\nline"])
def test_names_that_a_store_can_not_keep_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"can't be the path|belongs to the store"):
        scan(tmp_path, Limits())


def test_a_manifest_deeper_down_is_a_file_like_any_other(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "manifest.json").write_bytes(b"x")
    assert [f.path for f in scan(tmp_path, Limits()).files] == ["sub/manifest.json"]


def test_links_are_refused(tmp_path):
    (tmp_path / "secret").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactError, match="is not a plain file"):
        scan(tmp_path, Limits())


def test_an_empty_folder_is_no_artifact(tmp_path):
    (tmp_path / "sub").mkdir()
    with pytest.raises(ArtifactError, match="holds no file"):
        scan(tmp_path, Limits())


def test_a_file_is_no_folder(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x")
    with pytest.raises(ArtifactError, match="is not a folder"):
        scan(path, Limits())


@pytest.mark.parametrize(
    ("limits", "said"),
    [(Limits(max_files=2), "more than 2 files"), (Limits(max_bytes=2), "holds 3 bytes")],
)
def test_what_is_too_much_is_refused(tmp_path, limits, said):
    for name in "abc":
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ArtifactError, match=said):
        scan(tmp_path, limits)


def test_a_manifest_says_what_it_was_made_from():
    whole = content("model.onnx", "variant.json")
    rendered = render_manifest("a", whole)
    assert parse_manifest(rendered, key="a", version=whole.version, source="x") == whole


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("../up", {"sha256": "ab" * 32, "size": 7}),
        ("/root", {"sha256": "ab" * 32, "size": 7}),
        ("ok", {"sha256": "ab", "size": 7}),
        ("ok", {"sha256": "ab" * 32, "size": -1}),
        ("ok", {"sha256": "ab" * 32}),
        ("ok", None),
    ],
)
def test_a_manifest_with_a_bad_entry_is_refused(path: str, value: object):
    document = json.loads(render_manifest("a", content()))
    document["files"] = {path: value}
    with pytest.raises(ArtifactError, match=r"the-manifest"):
        parse_manifest(
            json.dumps(document).encode(),
            key="a",
            version=document["version"],
            source="the-manifest",
        )


def test_a_manifest_whose_digest_lies_is_refused():
    document = json.loads(render_manifest("a", content()))
    document["files"]["extra"] = {"sha256": "cd" * 32, "size": 1}
    with pytest.raises(ArtifactError, match="does not describe a"):
        parse_manifest(
            json.dumps(document).encode(), key="a", version=document["version"], source="x"
        )


def test_a_file_list_is_kept_in_order(tmp_path: Path):
    assert list(content("b", "a").artifact("k", "file:///k").files) == ["a", "b"]
    assert content("b", "a").artifact("k", "file:///k").size_bytes == 14
