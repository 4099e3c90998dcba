from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from optimizer.latency import (
    MAX_UTILISATION,
    fill_wait_s,
    find_point,
    max_wait_s,
    queue_wait_s,
    replicas_needed,
    service_s,
    stage_capacity_rps,
    stage_latency_s,
    utilisation,
)
from penstock.domain import ProfilePoint
from tests.builders import point, profile


def test_first_of_a_batch_waits_for_all_others() -> None:
    assert fill_wait_s(batch_size=8, rate_rps=10, max_wait_s=9) == pytest.approx(0.7)


def test_fill_wait_ends_at_the_predictors_limit() -> None:
    assert fill_wait_s(batch_size=8, rate_rps=10, max_wait_s=0.05) == 0.05


def test_without_load_the_predictors_limit_is_the_wait() -> None:
    assert fill_wait_s(batch_size=8, rate_rps=0, max_wait_s=0.05) == 0.05


def test_a_batch_of_one_never_waits_to_fill() -> None:
    assert fill_wait_s(batch_size=1, rate_rps=0, max_wait_s=0.05) == 0


def test_max_wait_is_the_service_time_rounded_up_to_a_tenth_of_a_millisecond() -> None:
    assert max_wait_s(point(4, 0.02501)) == pytest.approx(0.0251)
    assert max_wait_s(point(4, 0.025)) == pytest.approx(0.025)
    assert max_wait_s(point(1, 0.025)) == 0


def test_service_and_utilisation_come_from_the_throughput() -> None:
    measured = point(4, 0.02, throughput_rps=160.0)

    assert service_s(measured) == pytest.approx(0.025)
    assert utilisation(measured, rate_rps=40) == pytest.approx(0.25)


def test_queue_wait_is_that_of_an_md1_queue() -> None:
    # s / (2 (1 - rho)) ln(rho / (1 - q)) with s = 10 ms, rho = 0.5, q = 0.99
    wait_s = queue_wait_s(point(1, 0.01), rate_rps=50, quantile=0.99)

    assert wait_s == pytest.approx(0.01 * math.log(50))


def test_queue_is_empty_at_the_quantile_when_nearly_idle() -> None:
    assert queue_wait_s(point(1, 0.01), rate_rps=1, quantile=0.99) == 0


@pytest.mark.parametrize("rate_rps", [100.0, 1000.0])
def test_queue_has_no_bound_without_spare_capacity(rate_rps: float) -> None:
    assert queue_wait_s(point(1, 0.01), rate_rps=rate_rps, quantile=0.99) == math.inf


def test_queue_wait_rises_with_the_rate() -> None:
    waits = [queue_wait_s(point(2, 0.01), rate_rps=r, quantile=0.99) for r in range(0, 190, 10)]

    assert waits == sorted(waits)
    assert math.isfinite(waits[-1])


def test_uneven_service_lengthens_the_queue_at_most_to_that_of_exponential_service() -> None:
    def wait_s(p99_s: float) -> float:
        uneven = replace(point(1, 0.01), latency_s={0.5: 0.01, 0.99: p99_s})
        return queue_wait_s(uneven, rate_rps=50, quantile=0.99)

    assert wait_s(0.01) < wait_s(0.02) < wait_s(0.04)
    assert wait_s(5.0) == pytest.approx(2 * wait_s(0.01))


def test_at_the_median_the_tail_says_nothing_about_unevenness() -> None:
    wait_s = queue_wait_s(point(1, 0.01), rate_rps=60, quantile=0.5)

    assert wait_s == pytest.approx(0.01 / (2 * 0.4) * math.log(1.2))


def test_stage_latency_adds_fill_queue_and_service() -> None:
    measured = point(4, 0.02)
    waits_s = queue_wait_s(measured, rate_rps=100, quantile=0.99) + 0.02
    # 3 more requests take 30 ms, the predictor holds a batch no longer than 20 ms.
    latency_s = stage_latency_s(measured, load_rps=50, visit_ratio=4.0, replicas=2, quantile=0.99)

    assert latency_s == pytest.approx(0.02 + waits_s)


def test_no_replica_serves_no_load_in_service_time_and_any_other_never() -> None:
    latencies = [
        stage_latency_s(point(), load_rps=load, visit_ratio=1, replicas=0, quantile=0.99)
        for load in (0.0, 1.0)
    ]

    assert latencies == [0.01, math.inf]


def test_capacity_is_counted_at_the_entry() -> None:
    assert stage_capacity_rps(point(1, 0.01), replicas=3, visit_ratio=2.0) == pytest.approx(150)


@pytest.mark.parametrize(
    ("load_rps", "headroom", "replicas"),
    [(0, 0.1, 0), (90, 0.1, 1), (91, 0.1, 2), (100, 1.0, 2), (95, 0.0, 1), (96, 0.0, 2)],
)
def test_replicas_carry_load_and_headroom(load_rps: int, headroom: float, replicas: int) -> None:
    needed = replicas_needed(point(1, 0.01), load_rps=load_rps, visit_ratio=1, headroom=headroom)

    assert needed == replicas
    if replicas:
        assert load_rps / (replicas * 100) <= MAX_UTILISATION


def test_rounding_does_not_cost_a_replica() -> None:
    # 0.1 + 0.2 is a little more than 0.3.
    exact = point(1, 0.01, throughput_rps=0.1 * 1.1)

    assert replicas_needed(exact, load_rps=0.1 + 0.2, visit_ratio=1, headroom=0.1) == 3


def test_points_are_found_by_batch_and_cpu() -> None:
    measured = profile(points=(point(1), point(1, cpu_cores=2.0), point(2)))

    assert find_point(measured, batch_size=1, cpu_cores=2.0) is measured.points[1]
    assert find_point(measured, batch_size=1, cpu_cores=1.0 + 1e-12) is measured.points[0]
    assert find_point(measured, batch_size=4, cpu_cores=1.0) is None


def simulated_p99_s(measured: ProfilePoint, rate_rps: float, *, requests: int = 20_000) -> float:
    """One replica under Poisson load; batches close when full or after the wait."""
    rng, now_s = random.Random(1), 0.0
    arrivals = [now_s := now_s + rng.expovariate(rate_rps) for _ in range(requests)]
    b, wait_s, service = measured.batch_size, max_wait_s(measured), service_s(measured)
    i, free_s, latencies = 0, 0.0, []
    while i < requests:
        full_s = arrivals[i + b - 1] if i + b <= requests else math.inf
        start_s = max(free_s, min(full_s, arrivals[i] + wait_s))
        batch = [a for a in arrivals[i : i + b] if a <= start_s]
        free_s = start_s + service
        latencies += [free_s - a for a in batch]
        i += len(batch)
    return sorted(latencies)[int(0.99 * requests)]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("utilised", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_latency_bounds_a_simulated_replica(batch_size: int, utilised: float) -> None:
    measured = point(batch_size, 0.1)
    rate_rps = utilised * measured.throughput_rps
    promised_s = stage_latency_s(
        measured, load_rps=rate_rps, visit_ratio=1, replicas=1, quantile=0.99
    )

    seen_s = simulated_p99_s(measured, rate_rps)

    assert 0.6 * promised_s < seen_s <= promised_s
