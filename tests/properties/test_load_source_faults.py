"""Whatever a server answers, a source gives usable rates or a SourceError."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from optimizer.load import GatewayLoad, PrometheusLoad
from penstock.errors import SourceError

NOW_S = 100.0
STEPS = 5

NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([0, -0.0, 10**400, True]))
JSON = st.recursive(
    st.one_of(st.none(), NUMBERS, st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["status", "data", "result", "values", "resultType"]), inner, max_size=4
        ),
    ),
    max_leaves=15,
)
TIMES = st.one_of(st.integers(90, 105), st.floats(90, 105), NUMBERS)
TEXTS = st.one_of(
    st.floats().map(str), st.sampled_from(["NaN", "+Inf", "-Inf", "0", "-1", ""]), JSON
)
SAMPLES = st.lists(st.one_of(st.tuples(TIMES, TEXTS).map(list), JSON), max_size=8)


def matrix(samples: Any) -> dict[str, Any]:
    return {
        "status": "success",
        "data": {"resultType": "matrix", "result": [{"metric": {}, "values": samples}]},
    }


def gives_rates_or_source_error(source: PrometheusLoad | GatewayLoad) -> None:
    try:
        load = source.window(NOW_S)
    except SourceError:
        return
    assert 1 <= len(load.values_rps) <= STEPS
    assert all(math.isfinite(v) and v >= 0 for v in load.values_rps)


def prometheus(answer: dict[str, Any]) -> PrometheusLoad:
    return PrometheusLoad(
        url="http://x", query="q", window_steps=STEPS, step_s=1.0, fetch=lambda url, **_: answer
    )


@given(st.one_of(SAMPLES.map(matrix), st.dictionaries(st.text(max_size=6), JSON), JSON))
def test_prometheus_answers_never_leak(answer: Any) -> None:
    gives_rates_or_source_error(prometheus(answer if isinstance(answer, dict) else matrix(answer)))


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 1e9)), min_size=STEPS, max_size=STEPS),
)
def test_a_flag_is_set_exactly_when_a_step_after_the_first_is_missing(
    values: list[float | None],
) -> None:
    samples = [[NOW_S - STEPS + 1 + i, str(v)] for i, v in enumerate(values) if v is not None]
    assume(samples)
    load = prometheus(matrix(samples)).window(NOW_S)
    first = next(i for i, v in enumerate(values) if v is not None)
    assert bool(load.flags) == (None in values[first:])
    for filled, known in zip(load.values_rps, values[first:], strict=True):
        assert known is None or filled == known


@given(
    st.fixed_dictionaries(
        {
            "step_s": st.one_of(st.just(1.0), JSON),
            "end_s": st.one_of(st.just(NOW_S), JSON),
            "values_rps": st.one_of(st.lists(st.one_of(NUMBERS, JSON), max_size=STEPS), JSON),
        }
    )
)
def test_gateway_answers_never_leak(answer: dict[str, Any]) -> None:
    read_back = json.loads(json.dumps(answer))
    source = GatewayLoad(url="http://x", window_steps=STEPS, fetch=lambda url, **_: read_back)
    gives_rates_or_source_error(source)
