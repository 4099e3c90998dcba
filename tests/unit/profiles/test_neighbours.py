"""Neighbours keep the other cores busy, and go when they are no longer wanted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from profiles.neighbours import busy_neighbours

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
several = pytest.mark.skipif(len(CORES) < 2, reason="one core has no neighbour")


def children() -> set[str]:
    here = Path(f"/proc/self/task/{os.getpid()}/children")
    return set(here.read_text().split())


@several
def test_every_other_core_gets_one_and_none_is_left() -> None:
    before = children()
    with busy_neighbours(str(CORES[-1])) as count:
        assert count == len(CORES) - 1
        assert len(children() - before) == count
    assert children() == before


@several
def test_none_is_left_when_the_measuring_fails() -> None:
    before = children()
    with pytest.raises(RuntimeError), busy_neighbours(str(CORES[-1])):
        raise RuntimeError
    assert children() == before


def test_without_a_core_of_its_own_a_replica_has_no_neighbours() -> None:
    with busy_neighbours("") as count:
        assert count == 0
