from __future__ import annotations

import pytest
import yaml

from tests.golden.write import GOLDEN, examples, golden_files


def test_every_example_with_a_document_has_golden_files() -> None:
    assert examples()
    assert [name for name in examples() if not (GOLDEN / name / "bootstrap.yaml").exists()] == []


@pytest.mark.parametrize("example", examples())
def test_the_code_writes_the_golden_files(example: str) -> None:
    folder = GOLDEN / example
    committed = {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.yaml")
    }
    assert golden_files(example) == committed, "run `make golden` and review the difference"


@pytest.mark.parametrize("example", examples())
def test_golden_files_are_yaml(example: str) -> None:
    for path in (GOLDEN / example).rglob("*.yaml"):
        assert list(yaml.safe_load_all(path.read_text())), path
