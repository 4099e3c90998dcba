from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from optimizer.load import PrometheusLoad
from optimizer.promql import SELECTORS, missing_query, preset_query
from penstock.errors import DomainError, SourceError

NOW_S = 1_000.0


def series(*values: str | None) -> dict[str, Any]:
    """A matrix whose last value stands at NOW_S; None leaves a step out."""
    first_s = NOW_S - 10.0 * (len(values) - 1)
    return matrix([[first_s + 10.0 * i, v] for i, v in enumerate(values) if v is not None])


def matrix(*of: list[Any]) -> dict[str, Any]:
    result = [{"metric": {}, "values": samples} for samples in of]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def source(answer: dict[str, Any], **fields: Any) -> PrometheusLoad:
    known = {
        "url": "http://prometheus:9090",
        "query": "rate(x[1m])",
        "window_steps": 4,
        "step_s": 10.0,
        "fetch": lambda url, **_: answer,
    }
    return PrometheusLoad(**{**known, **fields})


def window(*values: str | None) -> tuple[tuple[float, ...], tuple[str, ...]]:
    load = source(series(*values)).window(NOW_S)
    return load.values_rps, load.flags


def test_a_whole_series_gives_its_rates_without_a_flag() -> None:
    load = source(series("1", "2.5", "3", "4")).window(NOW_S)
    assert (load.values_rps, load.flags) == ((1.0, 2.5, 3.0, 4.0), ())
    assert (load.step_s, load.end_s) == (10.0, NOW_S)


def test_true_zero_is_load_like_any_other() -> None:
    assert window("0", "0", "0", "0") == ((0.0, 0.0, 0.0, 0.0), ())


def test_a_young_pipeline_gives_a_short_window_without_a_flag() -> None:
    assert window(None, None, "3", "4") == ((3.0, 4.0), ())


def test_a_missing_step_takes_the_larger_neighbour_and_is_flagged() -> None:
    assert window("9", None, "3", "4") == ((9.0, 9.0, 3.0, 4.0), ("gap",))


def test_an_outage_holds_the_last_rate_and_is_stale() -> None:
    assert window("5", "6", None, None) == ((5.0, 6.0, 6.0, 6.0), ("stale",))


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("NaN", "nan"),
        ("+Inf", "infinite"),
        ("-Inf", "infinite"),
        ("-1", "negative"),
        ("1e12", "absurd"),
    ],
)
def test_a_rate_that_no_load_can_have_is_replaced_and_named(text: str, flag: str) -> None:
    assert window("5", text, "7", "8") == ((5.0, 7.0, 7.0, 8.0), (*sorted({flag, "gap"}),))


def test_of_two_samples_for_one_step_the_larger_counts() -> None:
    answer = matrix([[970, "1"], [980, "9"], [980.1, "2"], [990, "3"], [1000, "4"]])
    load = source(answer).window(NOW_S)
    assert (load.values_rps, load.flags) == ((1.0, 9.0, 3.0, 4.0), ("duplicate",))


@pytest.mark.parametrize("time_s", [500.0, 1011.0, 1e308])
def test_a_sample_outside_the_window_is_left_out_and_flagged(time_s: float) -> None:
    answer = matrix([[time_s, "99"], [980, "2"], [990, "3"], [1000, "4"]])
    load = source(answer, step_s=10.0).window(NOW_S)
    assert (load.values_rps, load.flags) == ((2.0, 3.0, 4.0), ("misplaced",))


def test_a_warning_of_the_server_makes_the_load_partial() -> None:
    answer = series("1", "2", "3", "4") | {"warnings": ["a store was not reached"]}
    assert source(answer).window(NOW_S).flags == ("partial",)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({}, "status None"),
        ({"status": "error", "error": "parse error"}, "parse error"),
        ({"status": "success"}, "not a matrix"),
        ({"status": "success", "data": {"resultType": "vector", "result": []}}, "not a matrix"),
        ({"status": "success", "data": {"resultType": "matrix", "result": {}}}, "not a matrix"),
        ({"status": "success", "data": {"resultType": "matrix", "result": [7]}}, "without values"),
        (matrix(), "no series"),
        (matrix([[1000, "1"]], [[1000, "2"]]), "2 series"),
        (matrix([]), "no usable sample"),
        (matrix([[1000, "NaN"]]), "no usable sample"),
        (matrix([[1000, 7]]), "no \\[time, text\\]"),
        (matrix([[1000, "many"]]), "no \\[time, text\\]"),
        (matrix([[None, "7"]]), "no \\[time, text\\]"),
        (matrix([["1000", "7"]]), "no \\[time, text\\]"),
        (matrix([[1000]]), "no \\[time, text\\]"),
    ],
)
def test_an_answer_without_usable_rates_is_refused(answer: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        source(answer).window(NOW_S)


def test_the_query_asks_for_just_the_window() -> None:
    asked = []

    def fetch(url: str, **limits: Any) -> dict[str, Any]:
        asked.append((url, limits))
        return series("1", "2", "3", "4")

    source({}, fetch=fetch, headers={"Authorization": "Bearer x"}).window(NOW_S)
    ((url, limits),) = asked
    assert url == (
        "http://prometheus:9090/api/v1/query_range?"
        "query=rate%28x%5B1m%5D%29&start=970.0&end=1000.0&step=10.0"
    )
    assert limits["headers"] == {"Authorization": "Bearer x"}


def test_credentials_do_not_show_in_the_repr() -> None:
    assert "secret" not in repr(source({}, headers={"Authorization": "secret"}))


def test_the_gateways_preset_counts_one_pipeline() -> None:
    assert preset_query("gateway", name="digits", range_s=1.5) == (
        'sum(rate(penstock_arrivals_total{pipeline="digits",namespace="default"}[1500ms]))'
    )


@pytest.mark.parametrize("preset", sorted(SELECTORS))
def test_every_preset_names_what_it_counts_and_sums_it(preset: str) -> None:
    query = preset_query(preset, name="digits", namespace="vision", range_s=60.0)
    assert query.startswith("sum(rate(")
    assert '"digits' in query
    assert "[60000ms]" in query


def test_a_name_cannot_break_out_of_its_quotes() -> None:
    query = preset_query("istio", name='a"} or vector(0) #', range_s=60.0)
    assert 'destination_service_name="a\\"} or vector(0) #"' in query


def test_an_unknown_preset_is_answered_with_those_there_are() -> None:
    with pytest.raises(DomainError, match="gateway, kserve"):
        preset_query("graphite", name="digits", range_s=60.0)


@pytest.mark.parametrize(
    "url", ["", "prometheus:9090", "file:///etc/passwd", "http://", "http://x:y"]
)
def test_only_http_addresses_are_taken(url: str) -> None:
    with pytest.raises(DomainError, match="is no address"):
        source({}, url=url)


@pytest.mark.parametrize("fields", [{"window_steps": 0}, {"step_s": 0.0}, {"step_s": float("nan")}])
def test_a_window_without_steps_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(DomainError, match="needs window_steps >= 1"):
        source({}, **fields)


class Answers:
    """Answers the load, the missing series and the server's time, each its own."""

    def __init__(self, load: dict[str, Any], missing: dict[str, Any], time_s: Any = NOW_S) -> None:
        clock = {"status": "success", "data": {"resultType": "scalar", "result": [time_s, "0"]}}
        self._known = {"up": load, "missing": missing, "time()": clock}

    def __call__(self, url: str, **_: Any) -> dict[str, Any]:
        return self._known[parse_qs(urlsplit(url).query)["query"][0]]


def watched(*lost: str | None, time_s: Any = NOW_S) -> PrometheusLoad:
    answers = Answers(series("8", "8", "4", "4"), series(*lost), time_s)
    known = {"url": "http://x", "query": "up", "window_steps": 4, "step_s": 10.0}
    return PrometheusLoad(**known, missing="missing", fetch=answers)


def test_a_step_at_which_a_pod_was_not_scraped_is_no_lighter_load() -> None:
    load = watched("0", "0", "1", "1").window(NOW_S)
    assert load.values_rps == (8.0, 8.0, 8.0, 8.0)
    assert load.flags == ("partial", "stale")


def test_with_all_pods_scraped_a_lighter_load_is_one() -> None:
    load = watched("0", "0", "0", "0").window(NOW_S)
    assert (load.values_rps, load.flags) == ((8.0, 8.0, 4.0, 4.0), ())


@pytest.mark.parametrize(("time_s", "flag"), [(NOW_S + 3600, "clock"), (NOW_S - 3600, "stale")])
def test_a_server_with_another_time_is_flagged(time_s: float, flag: str) -> None:
    assert watched("0", "0", "0", "0", time_s=time_s).window(NOW_S).flags == (flag,)


@pytest.mark.parametrize("time_s", [None, "x", float("nan")])
def test_a_server_that_does_not_know_the_time_is_not_believed(time_s: Any) -> None:
    with pytest.raises(SourceError, match="what time it is"):
        watched("0", "0", "0", "0", time_s=time_s).window(NOW_S)


def test_the_missing_series_are_those_of_the_same_selector() -> None:
    query = missing_query("gateway", name="digits", range_s=60.0)
    assert query.count('penstock_arrivals_total{pipeline="digits",namespace="default"}') == 3
    assert "[60000ms]" in query
    with pytest.raises(DomainError, match="no metric source"):
        missing_query("graphite", name="digits", range_s=60.0)
