from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.predictor.batching import BatchFile, BatchLimits, BatchQueue


def queue(size=2, wait_s=1.0, *, max_queue=10):
    return BatchQueue(BatchLimits(max_batch_size=size, max_wait_s=wait_s), max_queue=max_queue)


def test_a_full_batch_closes_at_once():
    waiting = queue(size=2)
    waiting.put("a", now_s=0.0)
    assert waiting.take(now_s=0.0) == []
    waiting.put("b", now_s=0.2)
    assert waiting.take(now_s=0.2) == [(0.2, "a"), (0.0, "b")]


def test_a_batch_closes_when_its_oldest_has_waited_long_enough():
    waiting = queue(size=3, wait_s=1.0)
    waiting.put("a", now_s=5.0)
    assert waiting.closes_s() == 6.0
    assert waiting.take(now_s=5.99) == []
    assert waiting.take(now_s=6.0) == [(1.0, "a")]


def test_without_a_wait_an_idle_model_takes_what_is_there():
    waiting = queue(size=8, wait_s=0.0)
    waiting.put("a", now_s=1.0)
    assert waiting.take(now_s=1.0) == [(0.0, "a")]


def test_what_piled_up_is_taken_up_to_the_limit_first_come_first_served():
    waiting = queue(size=2)
    for index in range(5):
        waiting.put(index, now_s=0.0)
    taken = [[item for _, item in waiting.take(now_s=9.0)] for _ in range(4)]
    assert taken == [[0, 1], [2, 3], [4], []]


def test_a_full_queue_takes_no_more():
    waiting = queue(max_queue=1)
    assert waiting.put("a", now_s=0.0)
    assert waiting.full
    assert not waiting.put("b", now_s=0.0)
    assert len(waiting) == 1


def test_new_limits_hold_for_the_batch_that_is_filling():
    waiting = queue(size=8, wait_s=60.0)
    waiting.put("a", now_s=0.0)
    waiting.limits = BatchLimits(max_batch_size=1)
    assert waiting.due(now_s=0.0)


@pytest.mark.parametrize("fields", [{"max_batch_size": 0}, {"max_wait_s": -1.0}])
def test_limits_that_make_no_sense_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        BatchLimits(**fields)


@given(
    st.lists(st.floats(0, 10), max_size=30).map(sorted),
    st.integers(1, 5),
    st.floats(0, 3),
)
def test_nobody_is_lost_doubled_or_kept_beyond_the_wait(arrivals, size, wait_s):
    waiting = queue(size=size, wait_s=wait_s, max_queue=100)
    taken = []
    for index, now_s in enumerate(arrivals):
        waiting.put(index, now_s=now_s)
        while batch := waiting.take(now_s=now_s):
            assert len(batch) <= size
            taken += batch
    while (closes_s := waiting.closes_s()) is not None:
        taken += waiting.take(now_s=closes_s)
    assert [item for _, item in taken] == list(range(len(arrivals)))


def batch_file(tmp_path, text):
    path = tmp_path / "limits.json"
    path.write_text(text)
    return path, BatchFile(path)


def test_the_batch_file_is_read_once_per_change(tmp_path):
    _, file = batch_file(tmp_path, json.dumps({"max_batch_size": 4, "max_wait_s": 0.01}))
    assert file.poll() == BatchLimits(max_batch_size=4, max_wait_s=0.01)
    assert file.poll() is None


def test_a_batch_file_that_was_swapped_is_noticed(tmp_path):
    path, file = batch_file(tmp_path, '{"max_batch_size": 4}')
    file.poll()
    other = tmp_path / "other"
    other.write_text('{"max_batch_size": 8}')
    other.replace(path)
    assert file.poll() == BatchLimits(max_batch_size=8)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"max_batch_size": 0}',
        '{"max_batch_size": 1.5}',
        '{"max_batch_size": true}',
        '{"max_wait_s": "1"}',
        '{"max_wait_s": NaN}',
    ],
)
def test_a_malformed_batch_file_changes_nothing_and_is_counted(tmp_path, text):
    _, file = batch_file(tmp_path, text)
    assert file.poll() is None
    assert file.faults == 1


def test_a_missing_batch_file_is_waited_for(tmp_path):
    path = tmp_path / "later.json"
    file = BatchFile(path)
    assert file.poll() is None
    path.write_text('{"max_batch_size": 2}')
    assert file.poll() == BatchLimits(max_batch_size=2)
    assert file.faults == 0
