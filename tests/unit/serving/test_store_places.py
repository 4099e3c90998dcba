"""Which store a URI means, and what directory and S3 stores do that is theirs alone."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from penstock.errors import ArtifactError, UnreachableError
from serving.store import make_store, upload_models
from serving.store.content import ContentFile
from serving.store.directory import DirectoryStore
from serving.store.s3 import S3Store, access_from

S3 = {"PENSTOCK_S3_ENDPOINT": "minio:9000", "PENSTOCK_S3_SECRET_KEY": "hush"}


def model(at: Path, data: bytes = b"weights") -> Path:
    at.mkdir(exist_ok=True)
    (at / "model.onnx").write_bytes(data)
    return at


@pytest.mark.parametrize("write", [str, lambda path: path.as_uri()])
def test_a_path_and_a_file_uri_mean_the_same_folder(tmp_path, write):
    root = tmp_path / "the store"
    put = make_store(write(root)).put("a", model(tmp_path / "m"))
    assert (root / "a" / put.version / "model.onnx").read_bytes() == b"weights"
    assert put.uri == (root / "a" / put.version).as_uri()


def test_an_s3_uri_means_a_bucket_and_a_prefix():
    store = make_store("s3://models/team/a", environment=S3)
    assert repr(store) == "S3Store('s3://models/team/a/' at minio:9000)"


@pytest.mark.parametrize("uri", ["", "http://x/y", "s3://", "s3:///prefix", "file://host/path"])
def test_other_uris_are_refused(uri):
    with pytest.raises(ArtifactError, match="s3://bucket/prefix"):
        make_store(uri, environment=S3)


def test_naming_a_folder_does_not_load_the_s3_client():
    before = set(sys.modules)
    make_store("some/folder")
    assert "minio" not in set(sys.modules) - before


def test_s3_without_a_server_says_what_to_set():
    with pytest.raises(ArtifactError, match="set PENSTOCK_S3_ENDPOINT"):
        make_store("s3://models", environment={})


@pytest.mark.parametrize(
    ("endpoint", "secure", "expected"),
    [
        ("minio:9000", "", True),
        ("http://minio:9000/", "", False),
        ("https://minio:9000", "", True),
        ("minio:9000", "false", False),
        ("http://minio:9000", "True", True),
    ],
)
def test_whether_to_encrypt_follows_the_scheme_unless_said(endpoint, secure, expected):
    access = access_from({"PENSTOCK_S3_ENDPOINT": endpoint, "PENSTOCK_S3_SECURE": secure})
    assert (access.endpoint, access.secure) == ("minio:9000", expected)


def test_a_word_that_is_neither_true_nor_false_is_refused():
    with pytest.raises(ArtifactError, match=r"PENSTOCK_S3_SECURE.*'maybe'"):
        access_from({**S3, "PENSTOCK_S3_SECURE": "maybe"})


def test_an_endpoint_with_a_path_is_refused():
    with pytest.raises(ArtifactError, match="write host:port"):
        make_store("s3://models", environment={"PENSTOCK_S3_ENDPOINT": "minio:9000/console"})


def test_keys_never_show():
    access = access_from({**S3, "PENSTOCK_S3_ACCESS_KEY": "someone"})
    shown = f"{access!r} {access} {S3Store(access, bucket='models')!r}"
    assert "hush" not in shown
    assert "someone" not in shown


def test_left_over_parts_are_overwritten_and_never_seen(tmp_path):
    store = DirectoryStore(tmp_path / "store")
    version = store.put("probe", model(tmp_path / "m")).version
    folder = tmp_path / "store" / "a" / version
    folder.mkdir(parents=True)
    (folder / ".model.onnx.part").write_bytes(b"half")
    store.put("a", model(tmp_path / "m"))
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "model.onnx"]


def test_files_that_are_already_right_are_not_sent_again(tmp_path):
    store = DirectoryStore(tmp_path / "store")
    version = store.put("a", model(tmp_path / "m")).version
    folder = tmp_path / "store" / "a" / version
    (folder / "manifest.json").unlink()
    before = (folder / "model.onnx").stat()
    store.put("a", model(tmp_path / "m"))
    after = (folder / "model.onnx").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_uploads_at_once_of_one_model_agree(tmp_path):
    store, source = DirectoryStore(tmp_path / "store"), model(tmp_path / "m", b"x" * 100_000)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(store.put("a", source))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert store.list() == (found[0],)


def test_a_manifest_inside_an_artifact_is_not_taken_for_a_version(tmp_path):
    store = DirectoryStore(tmp_path / "store")
    nested = tmp_path / "m" / "sub" / ("0" * 12)
    nested.mkdir(parents=True)
    (nested / "manifest.json").write_bytes(b"not ours")
    store.put("a", tmp_path / "m")
    assert [a.key for a in store.list()] == ["a"]


def test_a_file_that_changes_while_it_is_sent_is_never_visible(tmp_path):
    class Racing(DirectoryStore):
        def _send(self, name: str, path: Path, file: ContentFile) -> tuple[str, int]:
            path.write_bytes(b"changed")
            return super()._send(name, path, file)

    store = Racing(tmp_path / "store")
    with pytest.raises(ArtifactError, match="changed while it was uploaded"):
        store.put("a", model(tmp_path / "m"))
    assert store.list() == ()


def test_an_upload_that_is_interrupted_leaves_nothing_visible(tmp_path):
    class Interrupted(DirectoryStore):
        def _write(self, name: str, data: bytes) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interrupted(tmp_path / "store").put("a", model(tmp_path / "m"))
    assert DirectoryStore(tmp_path / "store").list() == ()


def test_a_fetch_that_is_interrupted_leaves_nothing(tmp_path):
    class Interrupted(DirectoryStore):
        def _fetch(self, name: str, path: Path) -> bool:
            path.write_bytes(b"half")
            raise KeyboardInterrupt

    put = DirectoryStore(tmp_path / "store").put("a", model(tmp_path / "m"))
    with pytest.raises(KeyboardInterrupt):
        Interrupted(tmp_path / "store").get("a", put.version, tmp_path / "out" / "back")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_place_that_can_not_be_written_is_named(tmp_path):
    store = DirectoryStore(tmp_path / "store")
    put = store.put("a", model(tmp_path / "m"))
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="back can't be written"):
        store.get("a", put.version, tmp_path / "file" / "back")


def test_a_root_that_is_a_file_is_named(tmp_path):
    (tmp_path / "store").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="can't be part of the store"):
        DirectoryStore(tmp_path / "store").put("a", model(tmp_path / "m"))


def test_a_disk_that_fails_is_unreachable_not_a_user_s_fault(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UnreachableError, match="No space left on device"):
        DirectoryStore(tmp_path / "store").put("a", model(tmp_path / "m"))
    assert DirectoryStore(tmp_path / "store").list() == ()


def test_two_models_under_one_key_are_refused(tmp_path):
    one = model(tmp_path / "m")
    with pytest.raises(ArtifactError, match="given more than once: a"):
        upload_models([("a", one), ("b", one), ("a", one)], DirectoryStore(tmp_path / "store"))
    assert not (tmp_path / "store").exists()
