"""Series of a run, and drawings for a page: themed, deterministic, safe to put side by side."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from components.pages.charts import profile_curves
from components.pages.svg import RUNGS, TOKENS, rung
from penstock.domain import Mode, Plan
from tests.builders import option, plan, promise
from tests.recordings import (
    profiled,
    recording,
    request,
    run_info,
    sample,
    simulated,
    tick,
)
from workflows import charts
from workflows.recorded import (
    Decided,
    Outcome,
    Sample,
)
from workflows.series import by_second, running_capacity, spans_of, used_plans
from workflows.summary import summarize_run

LADDERS = {"locate": ("det-s", "det-m", "det-l"), "classify": ("cls-s", "cls-m", "cls-l")}
RUNS = ("adaptive", "lightest", "heaviest")


@pytest.fixture(scope="module")
def runs():
    return {name: simulated(name) for name in RUNS}


@pytest.fixture(scope="module")
def drawn(runs):
    return {
        "story": charts.story(runs["adaptive"], LADDERS),
        "beside": charts.beside(runs),
        "trade-off": charts.trade_off({n: summarize_run(r) for n, r in runs.items()}),
        "tail": charts.tail(runs),
        "profiles": profile_curves(profiled(), LADDERS),
        "ladder": charts.accuracy_ladder(profiled(), LADDERS),
    }


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_every_chart_is_well_formed(drawn):
    assert {ET.fromstring(svg).tag for svg in drawn.values()} == {"svg"}


def test_nothing_in_a_chart_points_outside(drawn):
    assert not [name for name, svg in drawn.items() if "http" in svg or "<script" in svg]


def test_colours_are_left_to_the_page(drawn):
    used = set().union(*(re.findall(r"var\(--([a-z0-9-]+)\)", svg) for svg in drawn.values()))
    assert used <= set(TOKENS.values())
    assert not [name for name, svg in drawn.items() if re.search(r"#[0-9a-f]{6}", svg)]


def test_ids_of_different_charts_never_meet(drawn):
    ids = [i for svg in drawn.values() for i in re.findall(r'\bid="([^"]+)"', svg)]
    assert len(ids) == len(set(ids))


def test_what_a_chart_refers_to_is_inside_it(drawn):
    for svg in drawn.values():
        wanted = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg))
        assert {a or b for a, b in wanted} <= set(re.findall(r'\bid="([^"]+)"', svg))


def test_the_same_run_is_drawn_with_the_same_bytes(runs, drawn):
    assert charts.tail(runs) == drawn["tail"]


def test_axes_name_their_units(drawn):
    assert {"rate [req/s]", "cores", "latency [s]", "items right [%]", "replicas"} <= set(
        texts(drawn["story"])
    )
    assert "core time per request [ms]" in texts(drawn["ladder"])


def test_every_variant_is_named_in_the_story(drawn):
    assert {"det-s", "det-m", "det-l", "cls-s", "cls-m", "cls-l"} <= set(texts(drawn["story"]))


def test_lost_requests_are_marked():
    lost = request(latency_s=None, status=0, correct=None)
    bare = recording(requests=(lost, request(scheduled_s=3.0)))
    assert "requests lost" in texts(charts.story(bare, {"locate": ("det-s",)}))


def test_a_run_without_requests_or_samples_can_be_drawn():
    empty = recording(requests=(), timeline=(), ticks=())
    assert "Cost" in texts(charts.story(empty, {}))
    assert "none" in texts(charts.beside({"adaptive": empty}))
    assert charts.tail({"adaptive": empty}).startswith("<svg")
    assert charts.trade_off({"adaptive": summarize_run(empty)}).startswith("<svg")


def test_names_are_text_and_not_markup():
    odd = recording(timeline=(sample(variant="<b>$x$"),))
    svg = charts.story(odd, {"locate": ("<b>$x$",)})
    assert "&lt;b&gt;$x$" in texts(svg)
    assert ET.fromstring(svg) is not None


def test_a_second_holds_its_requests():
    requests = (
        request(scheduled_s=0.1, latency_s=0.2),
        request(scheduled_s=0.9, latency_s=0.6),
        request(scheduled_s=2.0, latency_s=None, status=0),
        request(scheduled_s=9.0, latency_s=0.3),
    )
    seconds = by_second(recording(requests=requests, info=run_info(duration_s=4.0)))
    np.testing.assert_allclose(seconds.p50_s, [0.4, np.nan, np.nan, 0.3])
    np.testing.assert_allclose(seconds.missed, [0.5, np.nan, 1.0, 0.0])
    np.testing.assert_allclose(seconds.lost, [0, 0, 1, 0])


def test_accuracy_is_taken_over_the_seconds_around():
    requests = tuple(request(scheduled_s=float(s), correct=s, total=10) for s in range(10))
    seconds = by_second(recording(requests=requests))
    np.testing.assert_allclose(seconds.accuracy[[0, 5, 9]], [0.1, 0.5, 0.8])


def test_bands_join_what_did_not_change():
    timeline = (
        sample(0.0, "a"),
        sample(1.0, "a"),
        sample(2.0, "b"),
        sample(3.0, "b", replicas=2),
    )
    assert spans_of("locate", timeline, end_s=10.0) == [
        (0.0, 2.0, "a", 1),
        (2.0, 3.0, "b", 1),
        (3.0, 10.0, "b", 2),
    ]


def capacities(*ticks) -> list[float]:
    timeline = (sample(0.0, "det-s", replicas=1), sample(9.0, "det-l", replicas=1))
    return [rps for _, rps in running_capacity(recording(ticks=ticks, timeline=timeline))]


def found(variant: str, capacity_rps: float) -> Plan:
    return plan(stages=(option("locate", variant),), promise=promise(capacity_rps=capacity_rps))


def test_a_plan_that_was_found_and_not_taken_gives_no_capacity():
    assert np.isnan(capacities(tick(plan=found("det-l", 7.0)))).all()


def test_a_kept_plan_gives_its_capacity_when_it_is_the_one_that_runs():
    kept = tick(time_s=1.0, plan=found("det-s", 7.0))
    other = tick(time_s=2.0, plan=found("det-l", 9.0))
    assert capacities(kept, other, tick(time_s=3.0, plan=None)) == [7.0, 7.0, 7.0]


@pytest.mark.parametrize(
    ("fields", "capacity_rps"),
    [
        ({}, 9.0),
        ({"result": None}, 9.0),
        ({"result": Outcome(ok=False)}, 7.0),
        ({"mode": Mode.ADVISE}, 7.0),
    ],
)
def test_only_a_move_that_went_well_changes_the_capacity(fields, capacity_rps):
    before = tick(time_s=1.0, plan=found("det-s", 7.0))
    move = Decided(kind="move", reason="more load")
    moved = tick(time_s=2.0, plan=found("det-l", 9.0), decision=move, **fields)
    assert capacities(before, moved) == [7.0, capacity_rps]


def seen(variant: str, *, time_s: float, replicas: int = 1) -> Sample:
    return sample(time_s, variant, replicas=replicas)


def test_what_ran_is_told_with_its_share_of_the_time_and_its_loads():
    plans = [
        plan(load_rps=load_rps, stages=(option("locate", name),))
        for load_rps, name in ((5.0, "det-s"), (20.0, "det-l"), (7.0, "det-s"))
    ]
    ticks = [tick(plan=one) for one in plans[:2]] + [tick(plan=None, target=plans[2])]
    timeline = [seen("det-s", time_s=-1.0), seen("det-l", time_s=6.0)]
    timeline += [seen("det-m", time_s=8.0), seen("det-s", time_s=9.0)]
    found = used_plans(recording(ticks=tuple(ticks), timeline=tuple(timeline)))
    assert [(one.plan.variants, one.share, one.loads_rps) for one in found] == [
        (("det-s",), pytest.approx(0.7), (5.0, 7.0)),
        (("det-l",), pytest.approx(0.2), (20.0, 20.0)),
    ]


def test_a_plan_with_other_replicas_is_another_and_a_run_without_samples_used_none():
    ticks = (tick(plan=plan(stages=(option("locate", "det-s"),))),)
    timeline = (seen("det-s", time_s=0.0, replicas=2),)
    assert used_plans(recording(ticks=ticks, timeline=timeline)) == ()
    assert used_plans(recording(ticks=ticks, timeline=())) == ()


def test_a_stage_that_never_ran_has_no_band():
    assert spans_of("other", (sample(),), end_s=10.0) == []


def test_the_palette_reaches_from_its_first_step_to_its_last():
    assert [rung(i, 3) for i in range(3)] == [0, 2, RUNGS - 1]
    assert rung(0, 1) == 0
    assert max(rung(i, 40) for i in range(40)) == RUNGS - 1
