from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.predictor.cpu_share import CFS_PERIOD_S, CpuShare


class Machine:
    """A process that works and pauses in virtual time."""

    def __init__(self, cores):
        self.now_s = self.cpu_s = 0.0
        self.share = CpuShare(cores, now_s=0.0, cpu_s=0.0)
        self.used = []

    def call(self, work_s):
        self.settle()
        self.used.append((self.now_s, self.now_s + work_s))
        self.now_s += work_s
        self.cpu_s += work_s
        self.settle()

    def settle(self):
        self.now_s += self.share.pause_s(now_s=self.now_s, cpu_s=self.cpu_s)

    def used_between(self, start_s, end_s):
        return sum(max(0.0, min(b, end_s) - max(a, start_s)) for a, b in self.used)


def test_work_within_one_period_runs_at_full_speed():
    machine = Machine(0.25)
    machine.call(0.02)
    assert machine.now_s == pytest.approx(0.02)


def test_longer_work_takes_its_cpu_time_over_the_share_less_one_quota():
    machine = Machine(0.25)
    machine.call(0.1)
    assert machine.now_s == pytest.approx((0.1 - 0.25 * CFS_PERIOD_S) / 0.25)


def test_idle_time_is_not_saved_up():
    machine = Machine(0.5)
    machine.now_s = 100.0
    machine.call(1.0)
    assert machine.now_s - 100.0 == pytest.approx((1.0 - 0.5 * CFS_PERIOD_S) / 0.5)


def test_no_share_means_no_pause():
    share = CpuShare(0.0, now_s=0.0, cpu_s=0.0)
    assert share.pause_s(now_s=1.0, cpu_s=50.0) == 0.0


@pytest.mark.parametrize("cores", [-0.1, float("nan")])
def test_a_share_that_makes_no_sense_is_refused(cores):
    with pytest.raises(ValueError, match="cores"):
        CpuShare(cores, now_s=0.0, cpu_s=0.0)


@given(
    st.sampled_from([0.1, 0.25, 0.5, 0.9]),
    st.lists(st.floats(0.0005, 0.02), min_size=100, max_size=300),
)
def test_over_any_second_the_process_keeps_to_its_share_and_a_tenth(cores, calls):
    machine = Machine(cores)
    for work_s in calls:
        machine.call(work_s)
    starts = [a for a, _ in machine.used if a + 1.0 <= machine.now_s]
    longest = max(calls)
    for start_s in starts[::10]:
        used_s = machine.used_between(start_s, start_s + 1.0)
        assert used_s <= cores * 1.1 + longest + 1e-9


def test_a_busy_process_gets_all_of_its_share():
    machine = Machine(0.25)
    while machine.now_s < 20.0:
        machine.call(0.013)
    assert machine.cpu_s / machine.now_s == pytest.approx(0.25, rel=0.02)
