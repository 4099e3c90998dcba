"""Profile tables as files."""

from __future__ import annotations

import json
import math
import stat
from typing import Any

import pytest

from penstock.domain import ProfileTable
from penstock.errors import ProfileError, SpecError
from profiles import table
from tests.builders import profile, profile_table


def document(**changed: Any) -> dict[str, Any]:
    whole = profile_table(joint_accuracy={("small", "large"): 0.7})
    return {**json.loads(table.render(whole)), **changed}


def faults(of: object) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        table.parse(json.dumps(of), source="profiles.json")
    return caught.value.faults


def test_a_table_survives_a_file(tmp_path):
    known = profile_table(joint_accuracy={("small", "large"): 0.7})
    table.save(known, tmp_path / "deep" / "profiles.json")
    assert table.load(tmp_path / "deep" / "profiles.json") == known


def test_the_same_table_gives_the_same_bytes():
    one = profile_table(joint_accuracy={("small", "large"): 0.7, ("large", "small"): 0.6})
    other = profile_table(joint_accuracy={("large", "small"): 0.6, ("small", "large"): 0.7})
    assert table.render(one) == table.render(other)
    assert table.render(table.parse(table.render(one), source="x")) == table.render(one)


def test_the_file_may_be_read_by_others_and_no_part_is_left(tmp_path):
    path = tmp_path / "profiles.json"
    table.save(profile_table(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_can_not_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ProfileError, match=r"profiles\.json can't be written"):
        table.save(profile_table(), tmp_path / "file" / "profiles.json")


def test_a_missing_file_says_what_to_run(tmp_path):
    with pytest.raises(ProfileError, match="run `penstock profile` first"):
        table.load(tmp_path / "profiles.json")


def test_every_fault_is_told_with_its_path():
    wrong = document(kind="Table", bogus=1)
    wrong["profiles"][0]["points"][1]["throughput_rps"] = -5
    wrong["profiles"][0]["points"][0]["latency_s"] = {"0.5": 0.2, "0.99": 0.1}
    wrong["profiles"][1]["accuracy"] = 1.5
    wrong["profiles"][2]["points"][0]["latency_s"] = {"99": 0.1}
    del wrong["profiles"][3]["stage"]
    wrong["joint_accuracy"][0]["accuracy"] = "high"
    found = {fault.partition(":")[0] for fault in faults(wrong)}
    assert found == {
        "kind",
        "bogus",
        "profiles[0].points[1]",
        "profiles[0].points[0]",
        "profiles[1]",
        "profiles[2].points[0].latency_s.99",
        "profiles[3].stage",
        "joint_accuracy[0].accuracy",
    }


def test_faults_between_entries_are_found():
    wrong = document()
    wrong["profiles"].append(wrong["profiles"][0])
    assert "given more than once" in faults(wrong)[0]
    wrong = document()
    wrong["joint_accuracy"] *= 2
    assert "more than once" in faults(wrong)[0]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"kind": NaN}', '{"a": 1, "a": 2}', "1"])
def test_text_that_is_no_table_is_refused(text):
    with pytest.raises(SpecError, match=r"profiles\.json"):
        table.parse(text, source="profiles.json")


@pytest.mark.parametrize("key", ["0", "1", "1.5", "nan", "p99", ".5", "0.50", "-0.5", ""])
def test_quantiles_have_one_spelling(key):
    wrong = document()
    wrong["profiles"][0]["points"][0]["latency_s"] = {key: 0.1}
    assert f"must be a quantile between 0 and 1, such as 0.99, got {key!r}" in faults(wrong)[0]


@pytest.mark.parametrize("value", ["4", True, 4.5, None, 10**400], ids=lambda v: str(v)[:5])
def test_numbers_are_not_guessed_from_other_things(value):
    wrong = document()
    wrong["profiles"][0]["points"][0]["batch_size"] = value
    wrong["profiles"][1]["accuracy"] = "0.5"
    assert len(faults(wrong)) == 2


def test_in_a_merge_the_last_word_counts():
    old = ProfileTable(
        profiles=(profile("a", "x", accuracy=0.1), profile("a", "y")),
        joint_accuracy={("x",): 0.1, ("y",): 0.2},
    )
    new = ProfileTable(profiles=(profile("a", "x", accuracy=0.9),), joint_accuracy={("x",): 0.9})
    merged = table.merge([old, new])
    assert merged.find("a", "x").accuracy == 0.9
    assert [p.variant for p in merged.profiles] == ["x", "y"]
    assert merged.joint_accuracy == {("x",): 0.9, ("y",): 0.2}


def test_merging_nothing_is_an_empty_table():
    assert table.merge([]) == ProfileTable(profiles=())


def test_the_product_of_stage_accuracies_is_told_beside_what_was_measured():
    known = ProfileTable(
        profiles=(profile("a", "x", accuracy=0.8), profile("b", "y", accuracy=0.5)),
        joint_accuracy={("x", "y"): 0.3},
    )
    (row,) = table.overstatements(known, ("a", "b"))
    assert (row.measured, row.product) == (0.3, pytest.approx(0.4))
    assert row.share == pytest.approx(1 / 3)


def test_nothing_right_is_overstated_beyond_measure():
    row = table.Overstatement(variants=("x",), measured=0.0, product=0.4)
    assert row.share == math.inf


@pytest.mark.parametrize("names", [("x",), ("x", "unknown"), ("x", "y", "z")])
def test_a_combination_that_fits_no_profiles_is_refused(names):
    known = ProfileTable(
        profiles=(profile("a", "x"), profile("b", "y")), joint_accuracy={names: 0.3}
    )
    with pytest.raises(ProfileError, match="does not fit the stages a, b"):
        table.overstatements(known, ("a", "b"))
