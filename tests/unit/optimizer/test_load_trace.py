import pytest

from optimizer.load import TraceLoad
from penstock.errors import DomainError, SourceError


def trace(*values: float, **fields: float) -> TraceLoad:
    return TraceLoad(values, **{"step_s": 10.0, "start_s": 100.0, "window_steps": 3, **fields})


def test_only_whole_steps_of_the_past_are_seen() -> None:
    load = trace(1, 2, 3, 4, 5).window(129.9)
    assert (load.values_rps, load.end_s, load.flags) == ((1.0, 2.0), 120.0, ())


def test_the_window_moves_with_time() -> None:
    assert trace(1, 2, 3, 4, 5).window(140.0).values_rps == (2.0, 3.0, 4.0)


def test_rounding_does_not_lose_a_step() -> None:
    source = TraceLoad([1, 2, 3], step_s=0.1, window_steps=3)
    assert source.window(0.1 + 0.2).values_rps == (1.0, 2.0, 3.0)


def test_past_its_end_the_trace_is_stale() -> None:
    load = trace(1, 2, 3, 4).window(500.0)
    assert (load.values_rps, load.end_s, load.flags) == ((2.0, 3.0, 4.0), 140.0, ("stale",))


def test_a_bad_value_is_flagged_like_any_sources() -> None:
    load = trace(1, float("nan"), 3).window(130.0)
    assert (load.values_rps, load.flags) == ((1.0, 3.0, 3.0), ("gap", "nan"))


def test_before_the_first_whole_step_there_is_no_load() -> None:
    with pytest.raises(SourceError, match="no whole step before 109 s"):
        trace(1, 2).window(109.0)


def test_an_empty_trace_has_no_load() -> None:
    with pytest.raises(SourceError, match="no whole step"):
        trace().window(1_000.0)


def test_a_step_must_last() -> None:
    with pytest.raises(DomainError, match="step_s > 0"):
        trace(1, step_s=0.0)
