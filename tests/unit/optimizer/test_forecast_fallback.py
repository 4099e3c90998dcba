import math

import pytest

from optimizer.forecast import WithFallback, make_forecaster
from penstock.domain import Forecast, Load
from penstock.errors import ArtifactError, DomainError, SourceError


class Says:
    """A forecaster that answers what it was told, or fails with it."""

    name = "says"

    def __init__(self, *rates: float, error: Exception | None = None) -> None:
        self._rates = rates
        self._error = error

    def forecast(self, load: Load) -> Forecast:
        if self._error:
            raise self._error
        quantiles = dict(zip((0.9, 0.99), self._rates[1:], strict=False))
        return Forecast(
            load_rps=self._rates[0], horizon_s=1.0, forecaster="says", quantiles_rps=quantiles
        )


def load(*values: float, flags: tuple[str, ...] = ()) -> Load:
    return Load(values_rps=values, step_s=1.0, end_s=0.0, flags=flags)


def made(primary: Says, seen: Load) -> Forecast:
    backup = make_forecaster("max", horizon_s=1.0)
    return WithFallback(primary, backup, window_steps=3, absurd_factor=4.0).forecast(seen)


def test_a_good_forecast_passes_as_it_is() -> None:
    found = made(Says(9.0, 10.0, 12.0), load(5, 8, 6))
    assert (found.load_rps, found.forecaster, found.flags) == (9.0, "says", ())


def test_a_failing_forecaster_is_replaced() -> None:
    found = made(Says(error=ArtifactError("broken")), load(5, 8, 6))
    assert (found.load_rps, found.forecaster) == (8.0, "max")
    assert found.flags == ("fallback", "failed")


@pytest.mark.parametrize("rate", [math.nan, math.inf, -1.0])
def test_a_rate_that_is_none_is_a_failure(rate: float) -> None:
    assert made(Says(rate), load(5, 8, 6)).flags == ("fallback", "failed")


@pytest.mark.parametrize("rates", [(32.1,), (9.0, 10.0, 33.0), (1.2,)])
def test_an_absurd_forecast_is_replaced(rates: tuple[float, ...]) -> None:
    found = made(Says(*rates), load(5, 8, 6))
    assert (found.load_rps, found.flags) == (8.0, ("fallback", "absurd"))


@pytest.mark.parametrize(("rate", "flags"), [(4.0, ()), (4.1, ("fallback", "absurd"))])
def test_an_idle_pipeline_may_expect_a_little(rate: float, flags: tuple[str, ...]) -> None:
    assert made(Says(rate), load(0, 0, 0)).flags == flags


def test_only_the_window_decides_what_is_absurd() -> None:
    assert made(Says(40.0), load(100, 5, 8, 6)).flags == ("fallback", "absurd")


def test_a_short_load_is_left_to_the_backup() -> None:
    found = made(Says(7.0), load(5, 8))
    assert (found.load_rps, found.flags) == (8.0, ("fallback", "short"))


def test_flagged_load_is_left_to_the_backup_and_says_why() -> None:
    found = made(Says(7.0), load(5, 8, 6, flags=("stale",)))
    assert (found.load_rps, found.flags) == (8.0, ("stale", "fallback"))


def test_an_error_that_is_not_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        made(Says(error=ZeroDivisionError()), load(5, 8, 6))


def test_without_load_the_backup_cannot_help() -> None:
    with pytest.raises(SourceError):
        made(Says(7.0), load())


def test_a_failure_is_logged_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    made(Says(error=ArtifactError("weights are gone")), load(5, 8, 6))
    assert "weights are gone" in caplog.text


@pytest.mark.parametrize(("steps", "factor"), [(0, 4.0), (3, 1.0), (3, math.nan)])
def test_a_guard_that_guards_nothing_is_refused(steps: int, factor: float) -> None:
    with pytest.raises(DomainError, match="absurd_factor > 1"):
        WithFallback(Says(1.0), Says(1.0), window_steps=steps, absurd_factor=factor)
