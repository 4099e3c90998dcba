from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import DomainError, UserError
from serving.loadgen import (
    LoadResult,
    Sample,
    quantile,
    read_samples,
    write_samples,
)
from serving.poisson import LoadCurve, constant_arrivals, poisson_arrivals


def test_the_same_seed_gives_the_same_arrivals():
    curve = LoadCurve(rates_rps=(20.0, 5.0))
    assert poisson_arrivals(curve, seed=1) == poisson_arrivals(curve, seed=1)
    assert poisson_arrivals(curve, seed=1) != poisson_arrivals(curve, seed=2)


def test_each_step_gets_the_rate_of_the_curve():
    curve = LoadCurve(rates_rps=(100.0, 0.0, 300.0), step_s=20.0)
    times = poisson_arrivals(curve, seed=5)
    counts = [sum(1 for t in times if i * 20 <= t < (i + 1) * 20) for i in range(3)]
    assert counts[1] == 0
    assert counts[0] == pytest.approx(2000, abs=5 * math.sqrt(2000))
    assert counts[2] == pytest.approx(6000, abs=5 * math.sqrt(6000))


def test_arrivals_are_spread_over_the_second_as_a_poisson_process_is():
    times = poisson_arrivals(LoadCurve(rates_rps=(200.0,) * 50), seed=9)
    early = sum(1 for t in times if t % 1.0 < 0.1) / len(times)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert early == pytest.approx(0.1, abs=0.02)
    assert spread / mean == pytest.approx(1.0, abs=0.05)


@given(st.lists(st.floats(0, 50), min_size=1, max_size=5), st.integers(0, 1000))
def test_arrivals_rise_and_stay_inside_the_curve(rates, seed):
    curve = LoadCurve(rates_rps=tuple(rates), step_s=0.5)
    times = poisson_arrivals(curve, seed=seed)
    assert list(times) == sorted(times)
    assert all(0 <= t < curve.seconds and curve.at(t) > 0 for t in times)


def test_constant_arrivals_are_evenly_spaced():
    assert constant_arrivals(4.0, seconds=1.0) == (0.0, 0.25, 0.5, 0.75)


@pytest.mark.parametrize("fields", [{"rates_rps": ()}, {"rates_rps": (-1.0,)}])
def test_a_curve_that_makes_no_sense_is_refused(fields):
    with pytest.raises(DomainError, match="load curve"):
        LoadCurve(**fields)


def test_the_quantile_is_a_value_that_was_seen():
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert quantile([], 0.5) is None


def samples():
    return (
        Sample(scheduled_s=0.5, latency_s=0.01, status=200, index=3, lag_s=0.001),
        Sample(scheduled_s=0.7, latency_s=30.0, status=0, index=1),
    )


def test_only_a_2xx_answer_counts():
    assert LoadResult(started_s=0.0, samples=samples()).lost == 1


def test_samples_survive_the_file(tmp_path):
    path = tmp_path / "samples.csv"
    write_samples(LoadResult(started_s=0.0, samples=samples()), path)
    assert read_samples(path) == samples()
    assert [one.name for one in tmp_path.iterdir()] == ["samples.csv"]


def test_a_file_without_samples_is_refused(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="no samples"):
        read_samples(path)
