"""What every artifact store promises, over a directory and over a real S3 server."""

from __future__ import annotations

import io
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.errors import ArtifactError, UnreachableError
from serving.store import ArtifactStore, Limits, make_store, upload_models
from serving.store.content import ContentFile
from serving.store.s3 import S3Store, access_from
from tests.s3_server import SECRET_KEY, S3Server, s3_server

BUCKET = "models"
VERSION_LENGTH = 12
TWO_PAGES_KEYS = 3
TWO_PARTS_BYTES = 17 * 2**20


class Keeping:
    """A store, and a way to look behind its back."""

    def __init__(self, store: ArtifactStore, **hands: Callable):
        self.store = store
        self.read, self.write = hands["read"], hands["write"]
        self.names, self.remove = hands["names"], hands["remove"]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        running.client().make_bucket(BUCKET)
        yield running


@pytest.fixture(params=["directory", pytest.param("s3", marks=pytest.mark.slow)])
def keeping(request: pytest.FixtureRequest, tmp_path: Path) -> Keeping:
    if request.param == "directory":
        return _directory(tmp_path / "kept")
    return _bucket(request.getfixturevalue("server"), request.node.name)


def _directory(root: Path) -> Keeping:
    def write(name: str, data: bytes) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)

    def names() -> list[str]:
        return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())

    return Keeping(
        make_store(str(root)),
        read=lambda name: (root / name).read_bytes(),
        write=write,
        names=names,
        remove=lambda name: (root / name).unlink(),
    )


def _bucket(server: S3Server, test: str) -> Keeping:
    client = server.client()
    prefix = "".join(c if c.isalnum() else "-" for c in test)

    def read(name: str) -> bytes:
        response = client.get_object(BUCKET, f"{prefix}/{name}")
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()

    def write(name: str, data: bytes) -> None:
        client.put_object(BUCKET, f"{prefix}/{name}", io.BytesIO(data), len(data))

    def names() -> list[str]:
        found = client.list_objects(BUCKET, f"{prefix}/", recursive=True)
        return sorted(o.object_name.removeprefix(f"{prefix}/") for o in found)

    store = make_store(f"s3://{BUCKET}/{prefix}", environment=server.environment())
    return Keeping(
        store,
        read=read,
        write=write,
        names=names,
        remove=lambda name: client.remove_object(BUCKET, f"{prefix}/{name}"),
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return folder(tmp_path / "model", {"model.onnx": b"\x00weights" * 999, "sub/a b.json": b"{}"})


def folder(at: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_bytes(data)
    return at


def contents(of: Path) -> dict[str, bytes]:
    return {p.relative_to(of).as_posix(): p.read_bytes() for p in of.rglob("*") if p.is_file()}


def test_what_was_put_comes_back_byte_for_byte(keeping, model, tmp_path):
    put = keeping.store.put("digits/locate/small", model)
    got = keeping.store.get("digits/locate/small", put.version, tmp_path / "back")
    assert got == put
    assert contents(tmp_path / "back") == contents(model)


def test_the_version_is_the_start_of_the_content_digest(keeping, model):
    put = keeping.store.put("a", model)
    assert put.version == put.digest[:VERSION_LENGTH]
    assert dict(put.files) == {"model.onnx": 8 * 999, "sub/a b.json": 2}
    assert put.uri.endswith(f"/a/{put.version}")


def test_putting_again_changes_nothing(keeping, model):
    first = keeping.store.put("a", model)
    names = keeping.names()
    assert keeping.store.put("a", model) == first
    assert keeping.names() == names


def test_other_content_is_another_version(keeping, model):
    first = keeping.store.put("a", model)
    (model / "model.onnx").write_bytes(b"better")
    second = keeping.store.put("a", model)
    assert {a.version for a in keeping.store.list("a")} == {first.version, second.version}


def test_an_empty_store_lists_nothing_and_knows_nothing(keeping):
    assert keeping.store.list() == ()
    assert keeping.store.stat("a", "0" * 12) is None


def test_listing_takes_a_prefix_of_keys_in_order(keeping, model):
    for key in ("b/two", "a/one", "b/one"):
        keeping.store.put(key, model)
    assert [a.key for a in keeping.store.list()] == ["a/one", "b/one", "b/two"]
    assert [a.key for a in keeping.store.list("b/")] == ["b/one", "b/two"]


def test_stat_finds_what_is_visible(keeping, model):
    put = keeping.store.put("a", model)
    assert keeping.store.stat("a", put.version) == put
    assert keeping.store.stat("b", put.version) is None


def test_an_upload_that_broke_is_invisible_and_is_resumed(keeping, model):
    whole = keeping.store.put("probe", model)
    keeping.write(f"a/{whole.version}/model.onnx", b"\x00weights" * 999)
    keeping.write(f"a/{whole.version}/sub/a b.json", b"{")
    assert keeping.store.list("a") == ()
    assert keeping.store.stat("a", whole.version) is None
    assert keeping.store.put("a", model).digest == whole.digest
    assert keeping.read(f"a/{whole.version}/sub/a b.json") == b"{}"


def test_a_broken_upload_can_not_be_fetched(keeping, model, tmp_path):
    version = keeping.store.put("probe", model).version
    keeping.write(f"a/{version}/model.onnx", b"half")
    with pytest.raises(ArtifactError, match="is not there: the store has no a"):
        keeping.store.get("a", version, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_corrupted_file_is_refused_and_leaves_nothing(keeping, model, tmp_path):
    put = keeping.store.put("a", model)
    keeping.write(f"a/{put.version}/model.onnx", b"\x01weights" * 999)
    with pytest.raises(
        ArtifactError, match=r"model\.onnx is missing or does not have the checksum"
    ):
        keeping.store.get("a", put.version, tmp_path / "into" / "back")
    assert list((tmp_path / "into").iterdir()) == []


def test_a_visible_version_is_never_overwritten(keeping, model):
    put = keeping.store.put("a", model)
    keeping.write(f"a/{put.version}/model.onnx", b"tampered")
    with pytest.raises(ArtifactError, match="a version is never overwritten"):
        keeping.store.put("a", model)
    assert keeping.read(f"a/{put.version}/model.onnx") == b"tampered"


@pytest.mark.parametrize(
    "manifest", [b"", b"{", b"[]", b"null", b'{"key": "a"}', b'{"files": {"x": 1}}', b"\xff"]
)
def test_a_damaged_manifest_is_named(keeping, model, manifest):
    put = keeping.store.put("a", model)
    keeping.write(f"a/{put.version}/manifest.json", manifest)
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged"):
        keeping.store.stat("a", put.version)


def test_a_manifest_that_was_moved_is_refused(keeping, model):
    put = keeping.store.put("a", model)
    manifest = keeping.read(f"a/{put.version}/manifest.json")
    keeping.write(f"b/{put.version}/manifest.json", manifest)
    with pytest.raises(ArtifactError, match="does not describe b"):
        keeping.store.stat("b", put.version)


def test_a_manifest_that_climbs_out_is_refused(keeping, model, tmp_path):
    put = keeping.store.put("a", model)
    manifest = keeping.read(f"a/{put.version}/manifest.json")
    keeping.write(
        f"a/{put.version}/manifest.json", manifest.replace(b"model.onnx", b"../../stolen")
    )
    with pytest.raises(ArtifactError, match="stolen"):
        keeping.store.get("a", put.version, tmp_path / "back")


@pytest.mark.parametrize("key", ["", "/a", "a/", "../a", "a/../b", "a b", ".a", "a\\b", "0" * 12])
def test_keys_that_could_leave_the_store_are_refused(keeping, model, key):
    with pytest.raises(ArtifactError, match="can't be the key"):
        keeping.store.put(key, model)
    with pytest.raises(ArtifactError, match="can't be the key"):
        keeping.store.stat(key, "0" * 12)


@pytest.mark.parametrize("version", ["", "..", "latest", "0" * 11, "G" * 12, "0" * 12 + "\n"])
def test_versions_that_are_none_are_refused(keeping, tmp_path, version):
    with pytest.raises(ArtifactError, match="is no version"):
        keeping.store.get("a", version, tmp_path / "back")


def test_fetching_twice_into_one_folder_is_fine(keeping, model, tmp_path):
    put = keeping.store.put("a", model)
    (tmp_path / "back").mkdir()
    keeping.store.get("a", put.version, tmp_path / "back")
    assert keeping.store.get("a", put.version, tmp_path / "back") == put


def test_fetching_over_something_else_is_refused(keeping, model, tmp_path):
    put = keeping.store.put("a", model)
    mine = folder(tmp_path / "mine", {"notes.txt": b"mine"})
    with pytest.raises(ArtifactError, match="holds something else"):
        keeping.store.get("a", put.version, mine)
    assert contents(mine) == {"notes.txt": b"mine"}


def test_models_are_uploaded_in_order_and_reported(keeping, model, tmp_path):
    other = folder(tmp_path / "other", {"model.onnx": b"other"})
    seen = []
    uploaded = upload_models([("z", model), ("a", other)], keeping.store, seen.append)
    assert [a.key for a in uploaded] == ["z", "a"]
    assert tuple(seen) == uploaded


@pytest.mark.slow
class TestAnS3Server:
    def test_that_is_not_there_is_unreachable(self, model, tmp_path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            absent = S3Server(port=free.getsockname()[1], disk=tmp_path)
            store = make_store("s3://models", environment=absent.environment())
            with pytest.raises(UnreachableError, match=f"127.0.0.1:{absent.port}") as caught:
                store.put("a", model)
        assert SECRET_KEY not in str(caught.value)

    def test_without_the_bucket_says_so(self, server, model):
        store = make_store("s3://absent", environment=server.environment())
        with pytest.raises(ArtifactError, match=r"bucket is not there: create it.*NoSuchBucket"):
            store.put("a", model)
        with pytest.raises(ArtifactError, match="NoSuchBucket"):
            store.list()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"PENSTOCK_S3_ACCESS_KEY": "penstock:nobody"},
            {"PENSTOCK_S3_SECRET_KEY": f"{SECRET_KEY}-of-yesterday"},
        ],
        ids=["access", "secret"],
    )
    def test_that_does_not_accept_the_keys_says_so(self, server, model, wrong):
        store = make_store("s3://models", environment=server.environment(**wrong))
        for call in (lambda: store.put("a", model), store.list, lambda: store.stat("a", "0" * 12)):
            with pytest.raises(ArtifactError, match=rf"check .*{next(iter(wrong))}") as caught:
                call()
            assert SECRET_KEY not in f"{caught.value!r} {caught.value} {store!r}"

    def test_in_another_region_says_so(self, server, model):
        elsewhere = server.environment(PENSTOCK_S3_REGION="eu-west-1")
        with pytest.raises(ArtifactError, match="set PENSTOCK_S3_REGION"):
            make_store("s3://models", environment=elsewhere).put("a", model)

    def test_tells_its_region_to_who_names_none(self, server, model):
        anywhere = server.environment(PENSTOCK_S3_REGION="")
        store = make_store("s3://models/anywhere", environment=anywhere)
        put = store.put("a", model)
        assert store.stat("a", put.version) == put

    def test_that_speaks_another_protocol_is_unreachable(self, server, model):
        wrong = server.environment(PENSTOCK_S3_SECURE="true")
        with pytest.raises(UnreachableError, match="PENSTOCK_S3_SECURE"):
            make_store("s3://models", environment=wrong).put("a", model)

    def test_that_lost_its_disk_is_unreachable_until_it_is_back(self, server, model, tmp_path):
        keeping = _bucket(server, "outage")
        put = keeping.store.put("a", model)
        with server.without_disk():
            with pytest.raises(UnreachableError, match=r"try again later \(ServiceUnavailable\)"):
                keeping.store.get("a", put.version, tmp_path / "back")
            assert not (tmp_path / "back").exists()
        assert keeping.store.get("a", put.version, tmp_path / "back") == put

    def test_that_loses_its_disk_amid_an_upload_is_unreachable(self, server, model):
        class Unseeing(S3Store):
            def _read(self, name: str) -> bytes | None:
                return None

        store = Unseeing(access_from(server.environment()), bucket=BUCKET, prefix="amid")
        with server.without_disk(), pytest.raises(UnreachableError, match=r"can't look up.*503"):
            store.put("a", model)

    def test_lists_more_than_one_page(self, server, model):
        keeping = _bucket(server, "pages")
        keys = [f"k{number}" for number in range(TWO_PAGES_KEYS)]
        for key in keys:
            keeping.store.put(key, model)
        assert [a.key for a in keeping.store.list()] == keys

    def test_takes_a_large_file_in_few_parts_and_knows_it_again(self, server, tmp_path):
        data = random.Random(0).randbytes(TWO_PARTS_BYTES)
        large = folder(tmp_path / "large", {"model.onnx": data})
        keeping = _bucket(server, "parts")
        put = keeping.store.put("a", large)
        keeping.remove(f"a/{put.version}/manifest.json")
        assert _silent(server, "parts").put("a", large) == put
        keeping.store.get("a", put.version, tmp_path / "back")
        assert contents(tmp_path / "back") == contents(large)

    def test_that_has_the_files_already_is_not_sent_them_again(self, server, model):
        keeping = _bucket(server, "resume")
        put = keeping.store.put("a", model)
        keeping.remove(f"a/{put.version}/manifest.json")
        assert _silent(server, "resume").put("a", model) == put

    def test_limits_hold_for_s3_too(self, server, model):
        small = Limits(max_files=1)
        store = make_store("s3://models", environment=server.environment(), limits=small)
        with pytest.raises(ArtifactError, match="more than 1 files"):
            store.put("a", model)


class _Silent(S3Store):
    def _send(self, name: str, path: Path, file: ContentFile) -> tuple[str, int]:
        raise AssertionError(f"{name} was sent again")


def _silent(server: S3Server, prefix: str) -> S3Store:
    return _Silent(access_from(server.environment()), bucket=BUCKET, prefix=prefix)
