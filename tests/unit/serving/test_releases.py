from __future__ import annotations

from pathlib import Path

import pytest

from serving.store import ArtifactStore, make_store
from serving.store.releases import newest, number_of, release

KEY = "digits/load_forecaster"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return make_store(str(tmp_path / "store"))


def folder(tmp_path: Path, text: str) -> Path:
    at = tmp_path / f"folder-{text}"
    at.mkdir(exist_ok=True)
    (at / "weights").write_text(text)
    return at


def test_before_the_first_release_there_is_none(store: ArtifactStore) -> None:
    assert newest(store, KEY) is None


def test_the_newest_release_is_in_use(store: ArtifactStore, tmp_path: Path) -> None:
    first = release(store, KEY, folder(tmp_path, "a"))
    second = release(store, KEY, folder(tmp_path, "b"))
    assert [number_of(one, KEY) for one in (first, second)] == [1, 2]
    assert newest(store, KEY) == second


def test_what_is_in_use_already_is_no_new_release(store: ArtifactStore, tmp_path: Path) -> None:
    first = release(store, KEY, folder(tmp_path, "a"))
    assert release(store, KEY, folder(tmp_path, "a")) == first
    assert len(store.list(KEY)) == 1


def test_going_back_is_one_more_release(store: ArtifactStore, tmp_path: Path) -> None:
    first = release(store, KEY, folder(tmp_path, "a"))
    release(store, KEY, folder(tmp_path, "b"))
    third = release(store, KEY, folder(tmp_path, "a"))
    assert newest(store, KEY) == third
    assert (third.version, number_of(third, KEY)) == (first.version, 3)


def test_other_artifacts_are_no_releases(store: ArtifactStore, tmp_path: Path) -> None:
    for key in (f"{KEY}/rest", f"{KEY}/r1", f"{KEY}s/r000009", "digits/r000001"):
        store.put(key, folder(tmp_path, "a"))
    assert newest(store, KEY) is None


def test_of_two_with_one_number_everybody_takes_the_same(
    store: ArtifactStore, tmp_path: Path
) -> None:
    both = [store.put(f"{KEY}/r000001", folder(tmp_path, text)) for text in "ab"]
    assert newest(store, KEY) == max(both, key=lambda one: one.version)
