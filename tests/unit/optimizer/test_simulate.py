from __future__ import annotations

import random

import pytest

from optimizer.simulate import Station, simulate_station
from optimizer.tail import all_busy

SERVICE_S = 0.01


def mean_wait_s(station: Station, *, rate_rps: float, seed: int, requests: int = 150_000) -> float:
    rng = random.Random(seed)
    arrivals, now_s = [], 0.0
    for _ in range(requests):
        now_s += rng.expovariate(rate_rps)
        arrivals.append(now_s)
    left = simulate_station(arrivals, station)
    return sum(e - a for e, a in zip(left, arrivals, strict=True)) / requests - SERVICE_S


@pytest.mark.parametrize(("servers", "rho"), [(1, 0.5), (2, 0.7), (4, 0.8)])
def test_the_mean_wait_is_that_of_m_m_c(servers: int, rho: float) -> None:
    # Erlang C: W = C s / (c (1 - rho))
    rng = random.Random(1)
    station = Station(
        replicas=servers,
        batch_size=1,
        max_wait_s=0.0,
        draw=lambda _: rng.expovariate(1 / SERVICE_S),
        shares_queue=True,
    )
    expected = all_busy(servers, rho) * SERVICE_S / (servers * (1 - rho))

    found = mean_wait_s(station, rate_rps=rho * servers / SERVICE_S, seed=2)

    assert found == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.8])
def test_the_mean_wait_is_that_of_m_d_1(rho: float) -> None:
    # Pollaczek-Khinchine: W = rho s / (2 (1 - rho))
    station = Station(replicas=1, batch_size=1, max_wait_s=0.0, draw=lambda _: SERVICE_S)

    found = mean_wait_s(station, rate_rps=rho / SERVICE_S, seed=3)

    assert found == pytest.approx(rho * SERVICE_S / (2 * (1 - rho)), rel=0.03)


def test_a_full_batch_closes_at_once_and_a_lonely_request_after_the_limit() -> None:
    station = Station(replicas=1, batch_size=2, max_wait_s=0.5, draw=lambda k: 0.1 * k)

    assert simulate_station([0.0, 0.1, 5.0], station) == pytest.approx([0.3, 0.3, 5.6])


def test_a_busy_replica_lets_its_batch_fill() -> None:
    station = Station(replicas=1, batch_size=4, max_wait_s=0.0, draw=lambda _: 1.0)

    assert simulate_station([0.0, 0.1, 0.2, 0.3], station) == pytest.approx([1.0, 2.0, 2.0, 2.0])


def test_requests_join_the_shortest_queue() -> None:
    station = Station(replicas=2, batch_size=1, max_wait_s=0.0, draw=lambda _: 1.0)

    assert simulate_station([0.0, 0.1, 0.2], station) == pytest.approx([1.0, 1.1, 2.0])


@pytest.mark.parametrize(("servers", "rho", "expected"), [(1, 0.5, 0.5), (2, 0.5, 1 / 3)])
def test_erlangs_c(servers: int, rho: float, expected: float) -> None:
    assert all_busy(servers, rho) == pytest.approx(expected)
