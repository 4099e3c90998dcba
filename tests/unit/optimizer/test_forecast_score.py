import numpy as np
import pytest

from optimizer.forecast import make_forecaster
from optimizer.forecast.score import (
    excess_pct,
    mae_rps,
    score,
    score_table,
    smape_pct,
    spread,
    under_share,
    windows_of,
)
from optimizer.history import History
from penstock.domain import Forecast, Load
from penstock.errors import DomainError


def history(*values: float) -> History:
    return History(values_rps=np.array(values, float), step_s=10.0, source="test")


def row(*values: float) -> np.ndarray:
    return np.array(values, float)


class Certain:
    """A forecaster that says 10 to 20 whatever it sees."""

    name = "certain"

    def forecast(self, load: Load) -> Forecast:
        return Forecast(
            load_rps=10.0, horizon_s=20.0, forecaster="certain", quantiles_rps={0.5: 10, 0.9: 20}
        )


def test_smape_is_the_mean_of_each_steps_own_error() -> None:
    # 200 x 10/30 and 200 x 0/40, their mean.
    assert smape_pct(row(10, 20), row(20, 20)) == pytest.approx(100 / 3)


def test_smape_of_nothing_against_nothing_is_zero() -> None:
    assert smape_pct(row(0, 0), row(0, 4)) == pytest.approx(100)


def test_the_other_errors_on_paper() -> None:
    actual, forecast = row(10, 20, 30), row(13, 18, 30)
    assert mae_rps(actual, forecast) == pytest.approx(5 / 3)
    assert under_share(actual, forecast) == pytest.approx(1 / 3)
    assert excess_pct(actual, forecast) == pytest.approx(5.0)


def test_nothing_is_in_excess_without_load() -> None:
    assert excess_pct(row(0, 0), row(1, 1)) == 0.0


@pytest.mark.parametrize("error", [smape_pct, mae_rps, under_share, excess_pct])
def test_a_column_is_never_spread_against_a_row(error) -> None:
    with pytest.raises(DomainError, match=r"same length, got \(3,\) and \(3, 1\)"):
        error(row(1, 2, 3), row(1, 2, 3)[:, None])


def test_errors_of_no_step_are_refused() -> None:
    with pytest.raises(DomainError, match="same length"):
        mae_rps(row(), row())


def test_windows_are_followed_by_their_horizons_maximum() -> None:
    windows, targets = windows_of(history(1, 2, 3, 9, 4, 5), window_steps=2, horizon_steps=2)
    assert windows.tolist() == [[1, 2], [2, 3], [3, 9]]
    assert targets.tolist() == [9, 9, 5]


def test_a_history_too_short_for_one_window_is_refused() -> None:
    with pytest.raises(DomainError, match="has 3 steps of 10 s; a window and its horizon need 4"):
        windows_of(history(1, 2, 3), window_steps=2, horizon_steps=2)


def test_a_score_holds_a_forecaster_against_what_came() -> None:
    found = score(Certain(), history(5, 5, 10, 10, 30, 5, 15), window_steps=2, horizon_steps=2)
    # Targets: 10, 30, 30, 15.
    assert (found.forecaster, found.windows) == ("certain", 4)
    assert found.mae_rps == pytest.approx((0 + 20 + 20 + 5) / 4)
    assert found.under_share == 0.75
    assert dict(found.coverage) == {0.5: 0.25, 0.9: 0.5}


def test_a_table_scores_all_on_the_same_windows() -> None:
    both = [make_forecaster(name, horizon_s=20.0) for name in ("last", "max")]
    last, highest = score_table(both, history(4, 2, 6, 2), window_steps=2, horizon_steps=1)
    assert (last.forecaster, last.mae_rps) == ("last", 4.0)
    assert (highest.forecaster, highest.mae_rps) == ("max", 3.0)


def test_a_long_history_is_judged_on_windows_spread_over_it() -> None:
    found = score(Certain(), history(*range(200)), window_steps=2, horizon_steps=2, max_windows=10)
    assert found.windows == 10
    assert spread(197, 10).tolist()[:2] == [0, 22]
    assert spread(197, 10).tolist()[-1] == 196


def test_a_score_can_be_written_as_json() -> None:
    found = score(Certain(), history(5, 5, 10, 10), window_steps=2, horizon_steps=2).to_dict()
    assert found["coverage"] == {"0.5": 1.0, "0.9": 1.0}
    assert found["windows"] == 1
