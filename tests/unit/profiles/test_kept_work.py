"""What a run keeps, and when it counts as not there."""

from __future__ import annotations

import pytest

from penstock.dataset import LabelledRequest
from penstock.errors import ProfileError
from profiles.accuracy import Accuracies
from profiles.kept import Kept, fingerprint, folder_digest, requests_digest
from tests.builders import profile

ACCURACIES = Accuracies(stages={("a", "x"): 0.5}, joint={("x", "y"): 0.25})


def test_a_kept_profile_comes_back(tmp_path):
    Kept(tmp_path).keep_profile(profile("a", "x"), "f1")
    assert Kept(tmp_path).profile("a", "x", "f1") == profile("a", "x")


def test_kept_accuracies_come_back(tmp_path):
    Kept(tmp_path).keep_accuracies(ACCURACIES, "f1")
    assert Kept(tmp_path).accuracies("f1") == ACCURACIES


def test_other_circumstances_find_nothing(tmp_path):
    kept = Kept(tmp_path)
    kept.keep_profile(profile("a", "x"), "f1")
    kept.keep_accuracies(ACCURACIES, "f1")
    assert kept.profile("a", "x", "f2") is None
    assert kept.accuracies("f2") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stages": [["a"]], "joint": []}', "null"])
def test_a_damaged_file_counts_as_not_there(tmp_path, text):
    kept = Kept(tmp_path)
    kept.keep_profile(profile("a", "x"), "f1")
    kept.keep_accuracies(ACCURACIES, "f1")
    for path in tmp_path.iterdir():
        path.write_text(text)
    assert kept.profile("a", "x", "f1") is None
    assert kept.accuracies("f1") is None


def test_a_folder_s_digest_follows_names_and_contents(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "model.onnx").write_bytes(b"one")
    first = folder_digest(tmp_path)
    (tmp_path / "sub" / "model.onnx").write_bytes(b"two")
    second = folder_digest(tmp_path)
    (tmp_path / "sub" / "model.onnx").rename(tmp_path / "sub" / "other.onnx")
    assert len({first, second, folder_digest(tmp_path)}) == 3


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ProfileError, match="train or upload the model first"):
        folder_digest(tmp_path / "absent")


def test_a_request_s_digest_follows_body_and_labels():
    made = {
        requests_digest([LabelledRequest(body=body, boxes=((0, 0, 1, 1),), labels=(label,))])
        for body in (b"a", b"b")
        for label in (1, 2)
    }
    assert len(made) == 4


def test_a_fingerprint_tells_facts_apart_that_look_alike():
    assert fingerprint(1, "1") != fingerprint("1", 1)
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
