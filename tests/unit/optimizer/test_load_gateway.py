import math
from typing import Any

import pytest

from optimizer.load import GatewayLoad
from penstock.domain import Load
from penstock.errors import SourceError

NOW_S = 1_000.5
GOOD = {"step_s": 1.0, "end_s": 1_000.0, "values_rps": [3, 0, 4.5]}


def window(**fields: Any) -> Load:
    answer = {**GOOD, **fields}
    source = GatewayLoad(url="http://gateway/", window_steps=4, fetch=lambda url, **_: answer)
    return source.window(NOW_S)


def test_the_gateways_counts_become_the_load() -> None:
    assert window() == Load(values_rps=(3.0, 0.0, 4.5), step_s=1.0, end_s=1_000.0)


def test_it_asks_for_the_steps_it_wants() -> None:
    asked = []
    source = GatewayLoad(
        url="http://gateway/",
        window_steps=12,
        step_s=10.0,
        fetch=lambda url, **_: asked.append(url) or {**GOOD, "step_s": 10},
    )
    source.window(NOW_S)
    assert asked == ["http://gateway/-/load?steps=12&step_s=10"]


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (None, ("gap",)),
        (math.nan, ("gap", "nan")),
        (-1, ("gap", "negative")),
        (10**400, ("gap", "infinite")),
        ("7", ("gap",)),
        (True, ("gap",)),
    ],
)
def test_a_value_that_is_no_rate_is_replaced_and_flagged(value: Any, flags: tuple[str]) -> None:
    load = window(values_rps=[3, value, 4])
    assert (load.values_rps, load.flags) == ((3.0, 4.0, 4.0), flags)


@pytest.mark.parametrize(("end_s", "flags"), [(990, ("stale",)), (1_010, ("clock",)), (999, ())])
def test_an_old_answer_is_stale_and_one_from_the_future_a_clock_fault(
    end_s: int, flags: tuple[str]
) -> None:
    assert window(end_s=end_s).flags == flags


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"step_s": 2.0}, "step_s: asked for 1, got 2.0"),
        ({"step_s": None}, "step_s"),
        ({"end_s": "now"}, "end_s: must be a time, got 'now'"),
        ({"end_s": math.inf}, "end_s"),
        ({"values_rps": None}, "list of at most 4 rates"),
        ({"values_rps": [1] * 5}, "list of at most 4 rates"),
        ({"values_rps": []}, "no usable sample"),
        ({"values_rps": [None, math.nan]}, "no usable sample"),
    ],
)
def test_an_answer_of_another_shape_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        window(**fields)


def test_every_fault_of_an_answer_is_named_at_once() -> None:
    with pytest.raises(SourceError, match=r"step_s.*end_s.*values_rps"):
        window(step_s=None, end_s=None, values_rps=None)
