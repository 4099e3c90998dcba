from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from penstock.dataset import LabelledRequest, read_dataset, write_dataset
from penstock.errors import ArtifactError, DomainError


def request(**fields: Any) -> LabelledRequest:
    known = {"body": b'{"inputs":[]}', "boxes": ((0.0, 1.0, 5.0, 6.5),), "labels": (3,)}
    return LabelledRequest(**{**known, **fields})


def lines_of(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def rewrite(path: Path, lines: list[str]) -> None:
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl.gz"
    write_dataset(path, [request(), request(boxes=(), labels=())])
    return path


def test_what_was_written_is_read_back(dataset: Path):
    assert read_dataset(dataset) == (request(), request(boxes=(), labels=()))


def test_equal_requests_give_equal_bytes(dataset: Path, tmp_path: Path):
    other = tmp_path / "deeper" / "other.jsonl.gz"
    write_dataset(other, read_dataset(dataset))
    assert other.read_bytes() == dataset.read_bytes()


def test_nothing_but_the_dataset_is_left_behind(dataset: Path):
    assert list(dataset.parent.iterdir()) == [dataset]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"body": b""}, "body is empty"),
        ({"labels": (1, 2)}, "1 boxes but 2 labels"),
        ({"boxes": ((0.0, 0.0, 0.0, 1.0),)}, "x0 < x1"),
        ({"boxes": ((0.0, 0.0, 1.0),)}, "four finite numbers"),
        ({"boxes": ((0.0, 0.0, 1.0, float("inf")),)}, "four finite numbers"),
        ({"labels": (-1,)}, "whole number from 0"),
        ({"labels": (True,)}, "whole number from 0"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(fields: dict[str, Any], problem: str):
    with pytest.raises(DomainError, match=problem):
        request(**fields)


def test_an_empty_dataset_is_refused(tmp_path: Path):
    with pytest.raises(DomainError, match="1 to 100000 requests, got 0"):
        write_dataset(tmp_path / "x.gz", [])


def test_a_missing_dataset_says_who_writes_it(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"train\.py writes one"):
        read_dataset(tmp_path / "x.gz")


def test_a_file_cut_short_is_found_out(dataset: Path):
    dataset.write_bytes(dataset.read_bytes()[:-12])
    with pytest.raises(ArtifactError, match="no gzip file"):
        read_dataset(dataset)


def test_a_missing_line_is_found_out(dataset: Path):
    rewrite(dataset, lines_of(dataset)[:-1])
    with pytest.raises(ArtifactError, match="says it holds 2 requests, found 1"):
        read_dataset(dataset)


def test_an_edited_line_is_found_out(dataset: Path):
    header, first, second = lines_of(dataset)
    rewrite(dataset, [header, first.replace("[3]", "[4]"), second])
    with pytest.raises(ArtifactError, match="own checksum"):
        read_dataset(dataset)


@pytest.mark.parametrize("content", [b"", b"hello", b"[]", b'{"format": "other"}', b"[" * 9000])
def test_a_file_of_another_kind_is_refused(dataset: Path, content: bytes):
    dataset.write_bytes(gzip.compress(content))
    with pytest.raises(ArtifactError, match="no dataset"):
        read_dataset(dataset)


def test_bytes_that_are_no_text_are_refused(dataset: Path):
    dataset.write_bytes(gzip.compress(b"\xff\xfe"))
    with pytest.raises(ArtifactError, match="not UTF-8"):
        read_dataset(dataset)


def test_all_bad_lines_are_named(dataset: Path):
    from penstock.dataset import _digest

    bad = [
        '{"body": 1}',
        '{"body": "x", "boxes": [1], "labels": []}',
        '{"body": "x", "boxes": [[3, 0, 1, 1]], "labels": [1]}',
        "[",
    ]
    header = {"format": "penstock-dataset/1", "count": 4, "sha256": _digest(bad)}
    rewrite(dataset, [json.dumps(header), *bad])
    with pytest.raises(ArtifactError, match="4 bad requests") as caught:
        read_dataset(dataset)
    assert [f"line {n}" in str(caught.value) for n in (2, 3, 4, 5)] == [True] * 4
