from collections.abc import Iterable

import pytest

from optimizer.counter_load import CounterLoad, CounterQuery
from penstock.errors import DomainError, SourceError

TEXT = """\
# HELP penstock_arrivals_total Requests at arrival.
# TYPE penstock_arrivals_total counter
penstock_arrivals_total{pipeline="digits"} 40.0
penstock_arrivals_total{pipeline="fashion"} 2.0
process_open_fds 9.0
"""


class Counted(CounterQuery):
    """A query that reads its values from a list instead of the network."""

    def __init__(self, values: Iterable[float]) -> None:
        super().__init__(url="http://gateway/metrics")
        object.__setattr__(self, "_values", iter(values))

    def read(self) -> float:
        return next(self._values)


def scraped(values: list[float], times_s: list[float], **fields: float) -> CounterLoad:
    """A source that has sampled at all times but the last."""
    source = CounterLoad(Counted(values), **{"window_steps": 3, "step_s": 1.0, **fields})
    for time_s in times_s[:-1]:
        source.sample(time_s)
    return source


def test_differences_become_rates() -> None:
    load = scraped([5, 15, 35, 35], [0, 1, 2, 3]).window(3.0)
    assert (load.values_rps, load.end_s, load.flags) == ((10.0, 20.0, 0.0), 3.0, ())


def test_uneven_scrapes_are_spread_over_the_steps_they_span() -> None:
    load = scraped([0, 20, 35], [0, 2, 3.5]).window(3.5)
    assert load.values_rps == pytest.approx((10.0, 10.0, 10.0))


def test_a_restarted_counter_counts_from_zero_and_is_flagged() -> None:
    load = scraped([100, 110, 4, 14], [0, 1, 2, 3]).window(3.0)
    assert (load.values_rps, load.flags) == ((10.0, 4.0, 10.0), ("reset",))


def test_a_reset_is_forgotten_with_its_window() -> None:
    load = scraped([100, 0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6]).window(6.0)
    assert (load.values_rps, load.flags) == ((1.0, 1.0, 1.0), ())


def test_scrapes_too_far_apart_are_a_gap() -> None:
    load = scraped([0, 10, 50], [0, 1, 5]).window(5.0)
    assert (load.values_rps, load.flags) == ((10.0, 10.0, 10.0), ("gap",))


def test_a_young_source_gives_the_steps_it_has() -> None:
    assert scraped([0, 7], [0, 1.9]).window(1.9).values_rps == pytest.approx((7 / 1.9,))


def test_one_scrape_is_no_rate() -> None:
    with pytest.raises(SourceError, match="a rate needs 1 s"):
        scraped([5], [0]).window(0.0)


def test_a_scrape_at_the_same_time_changes_nothing() -> None:
    load = scraped([0, 10, 99], [0, 1, 1]).window(1.0)
    assert load.values_rps == (10.0,)


def test_memory_stays_bounded() -> None:
    source = scraped([float(i) for i in range(1_000)], [float(i) for i in range(1_000)])
    assert len(source._times_s) <= 5


def test_the_counter_is_found_by_its_labels() -> None:
    one = CounterQuery(url="http://gateway/metrics", labels={"pipeline": "digits"})
    assert one.total(TEXT) == 40.0


def test_without_labels_all_pipelines_are_added_up() -> None:
    assert CounterQuery(url="http://gateway/metrics").total(TEXT) == 42.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no penstock_arrivals_total"),
        ("<html>", "does not serve metrics"),
        ("penstock_arrivals_total NaN", "no counter can be"),
        ("penstock_arrivals_total -1", "no counter can be"),
        ("penstock_arrivals_total +Inf", "no counter can be"),
    ],
)
def test_what_is_no_counter_is_refused(text: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        CounterQuery(url="http://gateway/metrics").total(text)


def test_a_window_without_steps_is_refused() -> None:
    with pytest.raises(DomainError, match="window_steps >= 1"):
        scraped([], [0], window_steps=0)
