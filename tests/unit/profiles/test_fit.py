"""From samples to points, and from points to those between them."""

from __future__ import annotations

import pytest

from penstock.domain import ProfilePoint
from penstock.errors import ProfileError
from profiles.fit import QUANTILES, fill, fit_latency, point_of, quantile_of, residuals
from profiles.measure import Samples, Stop
from tests.builders import point


def samples(batch_size: int, *seconds: float) -> Samples:
    return Samples(batch_size=batch_size, seconds=seconds, stop=Stop.CONFIDENT)


def curve(*sizes: int, quadratic: float = 0.0001, linear: float = 0.002, constant: float = 0.003):
    return tuple(point(b, quadratic * b * b + linear * b + constant, samples=9) for b in sizes)


@pytest.mark.parametrize(
    ("quantile", "expected"), [(0.5, 10), (0.51, 11), (0.9, 18), (0.95, 19), (0.99, 20)]
)
def test_a_quantile_is_the_smallest_sample_that_enough_do_not_exceed(quantile, expected):
    assert quantile_of([float(i) for i in range(1, 21)], quantile) == expected


def test_one_sample_is_every_quantile():
    assert [quantile_of([7.0], q) for q in QUANTILES] == [7.0] * 4


def test_a_point_has_rising_quantiles_that_really_occurred():
    made = point_of(samples(2, 0.03, 0.01, 0.02, 0.09), cpu_cores=0.5)
    assert list(made.latency_s.items()) == [(0.5, 0.02), (0.9, 0.09), (0.95, 0.09), (0.99, 0.09)]
    assert (made.batch_size, made.cpu_cores, made.samples) == (2, 0.5, 4)


def test_throughput_is_the_batch_over_the_mean_cycle():
    assert point_of(samples(4, 0.1, 0.3), cpu_cores=1).throughput_rps == pytest.approx(20.0)


def test_a_batch_that_never_ran_has_no_point():
    with pytest.raises(ProfileError, match="batch size 4 was never measured"):
        point_of(samples(4), cpu_cores=1)


def test_a_parabola_is_found_again():
    fit = fit_latency({b: 0.0001 * b * b + 0.002 * b + 0.003 for b in (1, 2, 4, 8, 16)})
    assert (fit.quadratic, fit.linear, fit.constant) == pytest.approx((0.0001, 0.002, 0.003))
    assert fit.residual == pytest.approx(0, abs=1e-9)


def test_the_residual_is_the_worst_relative_difference():
    fit = fit_latency({1: 0.01, 2: 0.04, 4: 0.02, 8: 0.05})
    expected = max(abs(fit.at(b) - y) / y for b, y in {1: 0.01, 2: 0.04, 4: 0.02, 8: 0.05}.items())
    assert fit.residual == pytest.approx(expected)
    assert fit.residual > 0.1


def test_two_points_make_a_line():
    fit = fit_latency({1: 0.01, 3: 0.03})
    assert fit.quadratic == 0
    assert fit.at(2) == pytest.approx(0.02)


def test_a_parabola_that_would_dip_below_zero_gives_way_to_a_line():
    fit = fit_latency({1: 0.05, 8: 0.001, 16: 0.2})
    assert fit.quadratic == 0


@pytest.mark.parametrize("known", [{}, {4: 0.1}])
def test_one_point_is_no_fit(known):
    with pytest.raises(ProfileError, match="two measured batch sizes"):
        fit_latency(known)


def test_points_between_are_filled_and_marked_by_no_samples():
    filled = fill(curve(1, 2, 8, 16), (1, 2, 4, 8, 16))
    assert [p.batch_size for p in filled] == [1, 2, 4, 8, 16]
    assert [p.samples for p in filled] == [9, 9, 0, 9, 9]
    assert filled[2].latency_s[0.99] == pytest.approx(0.0001 * 16 + 0.002 * 4 + 0.003)
    assert filled[2].throughput_rps == pytest.approx(4 / filled[2].latency_s[0.5])


def test_measured_points_are_kept_as_they_are():
    points = curve(1, 4, 16)
    assert fill(points, (4,)) == points


@pytest.mark.parametrize("size", [1, 32])
def test_beyond_the_measured_batch_sizes_nothing_is_filled(size):
    with pytest.raises(ProfileError, match="does not extrapolate"):
        fill(curve(2, 4, 16), (size,))


def test_fitted_quantiles_rise_even_where_their_curves_cross():
    def of(b: int, p50: float, p99: float) -> ProfilePoint:
        latency_s = {0.5: p50, 0.99: p99}
        return ProfilePoint(
            batch_size=b, cpu_cores=1, latency_s=latency_s, throughput_rps=b / p50, samples=5
        )

    points = (of(1, 0.041, 0.091), of(2, 0.058, 0.059), of(8, 0.066, 0.067), of(16, 0.065, 0.066))
    low, high = (fit_latency({p.batch_size: p.latency_s[q] for p in points}) for q in (0.5, 0.99))
    assert low.at(7) > high.at(7)
    filled = next(p for p in fill(points, (7,)) if p.batch_size == 7)
    assert filled.latency_s == {0.5: low.at(7), 0.99: low.at(7)}


def test_measurements_that_no_line_fits_are_refused():
    with pytest.raises(ProfileError, match="stays positive: measure again"):
        fit_latency({1: 0.01, 8: 0.001, 16: 0.5})


def test_a_residual_needs_more_points_than_a_parabola_has_freedom():
    assert residuals(curve(1, 2, 4)) == {}
    assert residuals(curve(1, 2, 4, 8)) == pytest.approx({0.5: 0, 0.99: 0}, abs=1e-9)
