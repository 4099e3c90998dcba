"""The pipeline document: every fault with its path, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.domain import AccuracyMode, Adaptation, Mode
from penstock.errors import SpecError
from penstock.spec import format_pipeline, parse_pipeline, read_pipeline
from tests.builders import pipeline

GOOD = """
apiVersion: penstock.dev/v1
kind: Pipeline
metadata: {name: video}
spec:
  slo: {latency_s: 0.8}
  objective: {mode: joint}
  stages:
    - name: detect
      variants:
        - {name: small, artifact: models/small, batch_sizes: [1, 2], cpu_cores: 2}
"""


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        parse_pipeline(text, source="video.yaml")
    return caught.value.faults


def test_a_short_document_gets_every_default() -> None:
    parsed = parse_pipeline(GOOD)
    assert parsed.slo.quantile == 0.99
    assert parsed.objective.mode is AccuracyMode.JOINT
    assert parsed.adaptation.mode is Mode.APPLY
    assert parsed.stages[0].variants[0].cpu_cores == 2.0
    assert parsed.max_cores is None


def test_all_faults_come_in_one_answer_with_their_paths() -> None:
    text = (
        GOOD.replace("0.8", "-1").replace("[1, 2]", "[2, 1, 0]").replace("cpu_cores: 2", "cpus: 2")
    )
    text = text.replace("kind: Pipeline", "kind: Pipe").replace("joint", "best")
    found = faults_of(text)
    assert "kind: must be 'Pipeline', got 'Pipe'" in found
    assert "spec.slo.latency_s: must be greater than 0, got -1" in found
    assert "spec.stages[0].variants[0].cpus: no such key" in found
    assert (
        "spec.stages[0].variants[0].batch_sizes: must rise without repeats, got [2, 1, 0]" in found
    )
    assert any(f.startswith("spec.objective.mode: must be 'product'") for f in found)
    assert any(f.startswith("spec.stages[0].variants[0].batch_sizes[2]:") for f in found)


def test_what_a_change_takes_is_read_and_written_back() -> None:
    adaptation = (
        "  adaptation: {solve_s: 0, start_s: 3, rollout_s: 4.5, drain_s: 1, switch_weight: 2, "
        "max_step: 1, band_quantiles: [0.4, 0.95]}\n"
    )
    parsed = parse_pipeline(GOOD.replace("spec:\n", f"spec:\n{adaptation}"))
    assert parsed.adaptation == Adaptation(
        solve_s=0.0,
        start_s=3.0,
        rollout_s=4.5,
        drain_s=1.0,
        switch_weight=2.0,
        max_step=1,
        band_quantiles=(0.4, 0.95),
    )
    assert parse_pipeline(format_pipeline(parsed)) == parsed


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("start_s: -1", "spec.adaptation.start_s: must be greater than or equal to 0, got -1"),
        ("max_step: -1", "spec.adaptation.max_step: must be greater than or equal to 0, got -1"),
        ("band_quantiles: [0.9, 1]", "spec.adaptation.band_quantiles[1]: must be less than 1"),
        ("band_quantiles: [0.9, 0.5]", "band_quantiles must rise within (0, 1)"),
    ],
)
def test_what_a_change_cannot_take_is_a_fault(key: str, fault: str) -> None:
    (found,) = faults_of(GOOD.replace("spec:\n", f"spec:\n  adaptation: {{{key}}}\n"))
    assert fault in found


def test_a_faulty_entry_does_not_make_its_list_too_short() -> None:
    found = faults_of(GOOD.replace("artifact: models/small, ", ""))
    assert found == ("spec.stages[0].variants[0].artifact: is missing",)


def test_names_given_twice_are_told_with_both_places() -> None:
    twice = GOOD + "        - {name: small, artifact: models/other}\n"
    first = "spec.stages[0].variants[0]"
    assert faults_of(twice) == (
        f"spec.stages[0].variants[1].name: 'small' is already the name of {first}",
    )


def test_bounds_between_fields_are_checked() -> None:
    text = GOOD.replace("- name: detect", "- name: detect\n      min_replicas: 9")
    assert faults_of(text) == (
        "spec.stages[0].min_replicas: must be at most max_replicas (8), got 9",
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be a mapping, got NoneType"),
        ("- 1", "must be a mapping, got list"),
        ("a: [", "is not YAML"),
        ("a: 1\na: 2", "key 'a' is given twice"),
        (GOOD.replace("0.8", "yes"), "spec.slo.latency_s: must be a valid number, got True"),
        (GOOD.replace("0.8", ".nan"), "spec.slo.latency_s"),
        (GOOD.replace("name: video", "name: Video"), "metadata.name: must match pattern"),
        (GOOD.replace("spec:", "sepc:"), "spec: is missing"),
    ],
)
def test_a_broken_document_is_told_in_words(text: str, says: str) -> None:
    assert any(says in fault for fault in faults_of(text)), faults_of(text)


def test_a_document_can_not_run_code() -> None:
    assert "is not YAML" in faults_of("!!python/object/apply:os.system ['true']")[0]


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.yaml: 1 fault\n  can't be read: No such file"):
        read_pipeline(tmp_path / "none.yaml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="is not UTF-8"):
        read_pipeline(tmp_path / "binary")
    (tmp_path / "big").write_bytes(b"#" * 1_000_001)
    with pytest.raises(SpecError, match="at most 1000000 are read"):
        read_pipeline(tmp_path / "big")


def test_a_pipeline_written_is_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(format_pipeline(pipeline(max_cores=3.5)))
    assert read_pipeline(path) == pipeline(max_cores=3.5)
