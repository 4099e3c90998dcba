"""Rules of the forecasters that hold for any load."""

from __future__ import annotations

import functools
import math
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.forecast import Forecaster, WithFallback, make_forecaster
from optimizer.forecast.lstm import LstmForecaster
from penstock.domain import Forecast, Load
from penstock.errors import ArtifactError
from tests.forecaster_folders import CONFIG, handmade

RATES = st.floats(0, 1e9)
WINDOWS = st.lists(RATES, min_size=1, max_size=20).map(tuple)
FLAGS = st.lists(st.sampled_from(["stale", "gap", "nan"]), unique=True).map(tuple)
SIMPLE = st.sampled_from(["last", "max", "mean", "quantile"])


def load(values: tuple[float, ...], flags: tuple[str, ...] = ()) -> Load:
    return Load(values_rps=values, step_s=1.0, end_s=0.0, flags=flags)


def simple(name: str) -> Forecaster:
    return make_forecaster(name, horizon_s=CONFIG.horizon_s)


class Broken:
    """Answers anything, or nothing."""

    name = "broken"

    def __init__(self, rate: float | None) -> None:
        self._rate = rate

    def forecast(self, load: Load) -> Forecast:
        if self._rate is None:
            raise ArtifactError("no weights")
        return Forecast(load_rps=self._rate, horizon_s=1.0, forecaster="broken")


@functools.cache
def artifact() -> LstmForecaster:
    with tempfile.TemporaryDirectory() as folder:
        return LstmForecaster(handmade(Path(folder)))


@given(SIMPLE, WINDOWS)
def test_a_window_forecast_lies_within_its_window(name: str, values: tuple[float, ...]) -> None:
    assert min(values) <= simple(name).forecast(load(values)).load_rps <= max(values)


@given(SIMPLE, WINDOWS, st.floats(1e-3, 1e3))
def test_a_window_forecast_scales_with_the_load(
    name: str, values: tuple[float, ...], factor: float
) -> None:
    once = simple(name).forecast(load(values)).load_rps
    scaled = simple(name).forecast(load(tuple(factor * v for v in values))).load_rps
    assert math.isclose(scaled, factor * once, rel_tol=1e-9, abs_tol=1e-300)


@given(SIMPLE, WINDOWS, WINDOWS)
def test_more_load_in_every_step_never_forecasts_less(
    name: str, values: tuple[float, ...], more: tuple[float, ...]
) -> None:
    pairs = list(zip(values, more, strict=False))
    before = simple(name).forecast(load(tuple(v for v, _ in pairs))).load_rps
    after = simple(name).forecast(load(tuple(v + m for v, m in pairs))).load_rps
    assert after >= before or math.isclose(after, before, rel_tol=1e-9)


@given(
    st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)),
    WINDOWS,
    FLAGS,
    st.integers(1, 20),
)
def test_the_guard_gives_a_usable_forecast_whatever_it_guards(
    rate: float | None, values: tuple[float, ...], flags: tuple[str, ...], window_steps: int
) -> None:
    guard = WithFallback(Broken(rate), simple("max"), window_steps=window_steps)
    made = guard.forecast(load(values, flags))
    ceiling_rps = 5 * max(1.0, *values)
    assert 0 <= made.load_rps <= ceiling_rps
    assert ("fallback" in made.flags) == (made.forecaster == "max")
    assert set(flags) <= set(made.flags)
    if flags or len(values) < window_steps:
        assert made.forecaster == "max"


@settings(deadline=None)  # the first call loads ONNX Runtime
@given(st.lists(RATES, min_size=CONFIG.window_steps, max_size=20).map(tuple), FLAGS)
def test_a_loaded_artifact_answers_any_window_with_rising_quantiles(
    values: tuple[float, ...], flags: tuple[str, ...]
) -> None:
    made = artifact().forecast(load(values, flags))
    quantiles = list(made.quantiles_rps.values())
    assert quantiles == sorted(quantiles)
    assert math.isclose(
        made.load_rps, max(values[-CONFIG.window_steps :]), rel_tol=1e-6, abs_tol=1e-37
    )
    assert made.flags == flags
