"""How often batches are repeated, and in which order."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import pytest

from penstock.errors import DomainError
from profiles.measure import MeasurePlan, Stop, confidence_half_width, measure


class Replica:
    """A probe whose batches take given seconds of a virtual time."""

    def __init__(self, seconds_of: Callable[[int], float]) -> None:
        self._seconds_of = seconds_of
        self.now_s = 0.0
        self.asked: list[int] = []

    def run(self, batch_size: int) -> float:
        seconds = self._seconds_of(batch_size)
        self.now_s += seconds
        self.asked.append(batch_size)
        return seconds

    def timer(self) -> float:
        return self.now_s


def plan(**fields: float) -> MeasurePlan:
    return MeasurePlan(**{"warmup": 0, "warmup_s": 0.0, "budget_s": 1000.0, **fields})


def measured(replica: Replica, sizes: tuple[int, ...], plan: MeasurePlan, **more):
    return measure(replica, sizes, plan, timer=replica.timer, **more)


def noisy(spread: float) -> Callable[[int], float]:
    generator = random.Random(7)
    return lambda batch: 0.01 * batch * (1 + spread * generator.random())


def test_a_steady_replica_is_measured_until_p95_can_be_bounded():
    (samples,) = measured(Replica(lambda _: 0.01), (1,), plan())
    assert samples.stop is Stop.CONFIDENT
    assert 73 <= len(samples.seconds) <= 120
    assert set(samples.seconds) == {0.01}


def test_a_noisy_replica_takes_more_samples_than_a_steady_one():
    counts = [
        len(measured(Replica(noisy(spread)), (1,), plan(max_samples=5000, ci=0.02))[0].seconds)
        for spread in (0.1, 1.0)
    ]
    assert counts[0] < counts[1]


def test_it_gives_up_at_the_greatest_number_of_samples():
    (samples,) = measured(Replica(noisy(5)), (1,), plan(max_samples=30, ci=0.001))
    assert (samples.stop, len(samples.seconds)) == (Stop.ENOUGH, 30)


def test_it_stops_when_the_time_is_spent():
    replica = Replica(lambda batch: 0.1 * batch)
    samples = measured(replica, (1, 2), plan(budget_s=6.0, min_samples=2))
    assert {s.stop for s in samples} == {Stop.BUDGET}
    assert 5.5 <= replica.now_s <= 6.5


def test_the_least_number_of_samples_is_taken_whatever_the_time():
    samples = measured(Replica(lambda _: 10.0), (1, 8), plan(budget_s=0.0, min_samples=5))
    assert [len(s.seconds) for s in samples] == [5, 5]


def test_time_that_one_batch_size_spares_goes_to_the_others():
    replica = Replica(lambda batch: 0.001 if batch == 1 else 0.1)
    spared = measured(replica, (1, 2), plan(budget_s=8.0))[1]
    assert len(spared.seconds) * 0.1 > 6.0


def test_batch_sizes_are_visited_up_and_down():
    replica = Replica(lambda _: 1.0)
    measured(replica, (4, 1, 2), plan(budget_s=0.0, min_samples=2))
    assert [size for size, _ in itertools.groupby(replica.asked)] == [1, 2, 4, 2, 1]


def test_warm_up_batches_are_not_among_the_samples():
    waits = iter([9.0, 9.0, 9.0, *[0.01] * 500])
    (samples,) = measured(Replica(lambda _: next(waits)), (1,), plan(warmup=3, rounds=1))
    assert max(samples.seconds) == 0.01


def test_warming_up_lasts_as_long_as_a_cpu_share_needs_to_settle():
    replica = Replica(lambda _: 0.01)
    (samples,) = measured(replica, (1,), plan(warmup=1, warmup_s=0.15, rounds=1))
    assert len(replica.asked) - len(samples.seconds) in (15, 16)


def test_a_replica_that_needs_no_more_is_not_warmed_up_again():
    replica = Replica(lambda _: 0.01)
    samples = measured(replica, (1, 2), plan(warmup=10))
    warmed = len(replica.asked) - sum(len(s.seconds) for s in samples)
    assert warmed == 20


def test_progress_rises_to_one():
    seen = []
    measured(Replica(lambda _: 0.01), (1, 2), plan(), on_progress=seen.append)
    assert [p.share for p in seen] == [0.25, 0.5, 0.75, 1.0]
    assert [p.batch_size for p in seen] == [1, 2, 2, 1]


@pytest.mark.parametrize("count", [0, 1, 20, 40])
def test_few_samples_do_not_bound_p95(count):
    assert confidence_half_width([0.01] * count, 0.95) == math.inf


def test_the_interval_covers_the_true_quantile_about_as_often_as_it_says():
    generator = random.Random(3)
    covered = sum(_covers([generator.random() for _ in range(200)], 0.5) for _ in range(300))
    assert 0.92 <= covered / 300 <= 0.99


def _covers(seconds: list[float], true: float) -> bool:
    # uniform on [0, 1]: the quantile is its own value
    ordered = sorted(seconds)
    centre = ordered[math.ceil(len(seconds) * true) - 1]
    return abs(centre - true) <= confidence_half_width(seconds, true) * centre


@pytest.mark.parametrize(
    "wrong",
    [
        {"warmup": -1},
        {"min_samples": 0},
        {"rounds": 0},
        {"min_samples": 9, "max_samples": 8},
        {"budget_s": math.nan},
        {"ci": -0.1},
    ],
)
def test_plans_that_make_no_sense_are_refused(wrong):
    with pytest.raises(DomainError, match="measure plan"):
        plan(**wrong)
