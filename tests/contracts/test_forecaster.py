"""What every forecaster promises, the trained LSTM and the guarded one included."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest

from optimizer.forecast import Forecaster, WithFallback, make_forecaster
from penstock.domain import Load
from penstock.errors import PenstockError, SourceError
from tests.forecaster_folders import TRAINED_CONFIG, trained

HORIZON_S = TRAINED_CONFIG.horizon_s
WINDOW = TRAINED_CONFIG.window_steps

CURVES = {
    "steady": [40.0] * WINDOW,
    "rising": [10.0 * (i + 1) for i in range(WINDOW)],
    "falling": [10.0 * (WINDOW - i) for i in range(WINDOW)],
    "spike": [1.0] * (WINDOW - 1) + [1_000.0],
    "idle": [0.0] * WINDOW,
    "first-request": [0.0] * (WINDOW - 1) + [1.0],
    "huge": [1e9] * WINDOW,
    "tiny": [1e-9] * WINDOW,
    "longer-than-the-window": [40.0] * (5 * WINDOW),
}


def named(name: str) -> Callable[[], Forecaster]:
    return lambda: make_forecaster(name, horizon_s=HORIZON_S, window_steps=WINDOW)


def lstm() -> Forecaster:
    return make_forecaster("lstm", horizon_s=HORIZON_S, folder=trained())


def guarded_lstm() -> Forecaster:
    return WithFallback(lstm(), named("max")(), window_steps=WINDOW)


MAKERS = [
    *(pytest.param(named(n), id=n) for n in ("last", "max", "mean", "quantile")),
    pytest.param(lstm, id="lstm", marks=pytest.mark.slow),
    pytest.param(guarded_lstm, id="guarded-lstm", marks=pytest.mark.slow),
]


@pytest.fixture(params=MAKERS)
def forecaster(request: pytest.FixtureRequest) -> Iterator[Forecaster]:
    return request.param()


def load(*values: float, flags: tuple[str, ...] = ()) -> Load:
    return Load(values_rps=values, step_s=TRAINED_CONFIG.step_s, end_s=100.0, flags=flags)


@pytest.mark.parametrize("curve", sorted(CURVES))
def test_rates_are_finite_and_never_negative(forecaster: Forecaster, curve: str) -> None:
    made = forecaster.forecast(load(*CURVES[curve]))
    rates = [made.load_rps, *made.quantiles_rps.values()]
    assert all(math.isfinite(rate) and rate >= 0 for rate in rates)


@pytest.mark.parametrize("curve", sorted(CURVES))
def test_higher_quantiles_are_never_lower(forecaster: Forecaster, curve: str) -> None:
    quantiles = list(forecaster.forecast(load(*CURVES[curve])).quantiles_rps.values())
    assert quantiles == sorted(quantiles)


@pytest.mark.parametrize("rate", [0.5, 40.0, 20_000.0])
def test_steady_load_is_expected_to_stay(forecaster: Forecaster, rate: float) -> None:
    assert forecaster.forecast(load(*[rate] * WINDOW)).load_rps == pytest.approx(rate, rel=0.25)


def test_the_same_load_gives_the_same_forecast(forecaster: Forecaster) -> None:
    seen = load(*CURVES["rising"])
    assert forecaster.forecast(seen) == forecaster.forecast(seen)


def test_the_forecast_says_who_made_it_and_how_far_it_reaches(forecaster: Forecaster) -> None:
    made = forecaster.forecast(load(*CURVES["steady"]))
    assert (made.forecaster, made.horizon_s, made.flags) == (forecaster.name, HORIZON_S, ())


def test_the_loads_flags_are_passed_on(forecaster: Forecaster) -> None:
    made = forecaster.forecast(load(*CURVES["steady"], flags=("stale", "nan")))
    assert made.flags[:2] == ("stale", "nan")


def test_no_load_at_all_is_a_source_error(forecaster: Forecaster) -> None:
    with pytest.raises(SourceError):
        forecaster.forecast(load())


def test_guarded_it_answers_a_load_shorter_than_its_window(forecaster: Forecaster) -> None:
    guarded = WithFallback(forecaster, named("max")(), window_steps=WINDOW)
    made = guarded.forecast(load(3.0, 7.0))
    assert (made.load_rps, made.forecaster, made.flags) == (7.0, "max", ("fallback", "short"))


@pytest.mark.slow
def test_a_spike_beyond_all_training_is_still_answered_within_the_guard() -> None:
    seen = load(*CURVES["spike"])
    try:
        made = guarded_lstm().forecast(seen)
    except PenstockError as err:
        pytest.fail(f"the guard let an error through: {err}")
    assert made.load_rps <= 5 * max(seen.values_rps)
