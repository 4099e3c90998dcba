"""The front: exactly the plans that trade_off finds, the chosen one, what ran, the limits."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from matplotlib.figure import Figure

from components.pages.choice import Choice, Level, Used
from components.pages.front import draw_front, fill_front
from components.pages.next_step import binding, front_table, next_steps, used_table
from components.steps.alternatives import FASTER, LEVEL_POINTS, MOST_EXPLAINED, alternatives
from optimizer.plan import solve_plan
from optimizer.solvers import make_solver
from optimizer.trade_off import cheapest_each, trade_off
from penstock.domain import Objective, Pipeline, Plan, Prices, Slo
from penstock.errors import UserError
from tests.builders import pipeline, profile_table, stage, variant

SOLVER = make_solver("exhaustive")
LOAD_RPS = 150.0
ODD = "<b>$x$</b>"


def planned(of: Pipeline, load_rps: float = LOAD_RPS) -> Plan:
    found = solve_plan(of, profile_table(of), load_rps, solver=SOLVER).plan
    assert found is not None
    return found


@pytest.fixture(scope="module")
def of() -> Pipeline:
    return pipeline(slo=Slo(latency_s=0.2), max_cores=12.0)


@pytest.fixture(scope="module")
def choice(of: Pipeline) -> Choice:
    used = [Used(plan=planned(of, 40.0), share=0.625, loads_rps=(31.0, 40.0))]
    return alternatives(planned(of), of, profile_table(of), solver=SOLVER, used=used)


@pytest.fixture(scope="module")
def figure(choice: Choice, of: Pipeline) -> Figure:
    filled = Figure()
    fill_front(filled, choice, of)
    return filled


@pytest.fixture(scope="module")
def text(choice: Choice, of: Pipeline) -> str:
    return draw_front(choice, of)


def spots(plans: object) -> set[tuple[float, float]]:
    return {
        (round(p.promise.cost, 9), round(100 * p.promise.accuracy, 9))  # type: ignore[attr-defined]
        for p in plans  # type: ignore[attr-defined]
    }


def series(figure: Figure, label: str) -> set[tuple[float, ...]]:
    (line,) = [one for one in figure.axes[0].lines if one.get_label() == label]
    return points([line])


def points(lines: object) -> set[tuple[float, ...]]:
    return {tuple(round(v, 9) for v in xy) for line in lines for xy in line.get_xydata()}  # type: ignore[attr-defined]


def test_the_front_that_is_drawn_is_the_trade_off(figure: Figure, of: Pipeline) -> None:
    front = trade_off(of, profile_table(of), LOAD_RPS, solver=SOLVER)
    assert len(front) > 1
    assert series(figure, "nothing beats it within 200 ms") == spots(front)


def test_each_tighter_latency_has_its_own_trade_off(
    choice: Choice, figure: Figure, of: Pipeline
) -> None:
    assert choice.faster
    for level in choice.faster:
        tighter = replace(of, slo=replace(of.slo, latency_s=level.within_s))
        front = trade_off(tighter, profile_table(of), LOAD_RPS, solver=SOLVER, points=LEVEL_POINTS)
        assert level.within_s / of.slo.latency_s in FASTER
        assert all(plan.promise.latency_s <= level.within_s for plan in level.front)
        label = f"nothing beats it within {1e3 * level.within_s:g} ms"
        assert series(figure, label) == spots(front)


def test_the_chosen_plan_and_what_ran_and_what_is_beaten_are_marked(
    choice: Choice, figure: Figure, of: Pipeline
) -> None:
    others = cheapest_each(of, profile_table(of), LOAD_RPS, solver=SOLVER)
    assert series(figure, "cheapest of other variants") == spots(others)
    above, below = (points(axes.lines) for axes in figure.axes)
    assert spots([choice.plan, *(one.plan for one in choice.used)]) <= above
    promise = choice.plan.promise
    assert (round(promise.cost_cores, 9), round(1e3 * promise.latency_s, 9)) in below
    assert series(figure, "chosen") == set()  # the legend's own mark
    assert "62 %" in [written.get_text() for written in figure.axes[0].texts]


def test_the_limits_are_said() -> None:
    of = pipeline(max_cores=3.0, objective=Objective(accuracy_floor=0.5))
    plan = planned(of, 40.0)
    text = draw_front(Choice(plan=plan, front=[plan]), of)
    for words in ("SLO 500 ms", "max_cores 3<", "accuracy_floor 50 %"):
        assert words in text
    far = draw_front(Choice(plan=plan, front=[plan]), replace(of, max_cores=600.0))
    assert "max_cores 600, not in the picture" in far


def test_money_is_told_from_cores() -> None:
    of = pipeline(prices=Prices(cpu_core_hour=0.04), max_cost_per_hour=0.1, max_cores=4.0)
    plan = planned(of, 10.0)
    text = draw_front(Choice(plan=plan, front=[plan]), of)
    assert "cost [per hour]" in text
    assert "max_cost_per_hour 0.1" in text
    assert "max_cores 4, not in the picture" in text


def test_labels_of_near_marks_do_not_lie_on_each_other(of: Pipeline) -> None:
    plan = planned(of)
    front = [replace(plan, promise=replace(plan.promise, accuracy=0.7 + i / 1e4)) for i in range(6)]
    figure = Figure()
    fill_front(figure, Choice(plan=plan, front=front), of)
    written = [text for text in figure.axes[0].texts if " ms" in text.get_text()]
    boxes = [text.get_window_extent() for text in written]
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_same_choice_is_drawn_with_the_same_bytes(
    choice: Choice, of: Pipeline, text: str
) -> None:
    assert draw_front(choice, replace(of, name=ODD)) == text


def test_charts_of_one_page_share_no_ids(choice: Choice, of: Pipeline, text: str) -> None:
    ids = set(re.findall(r'\bid="([^"]+)"', text))
    assert ids
    assert not ids & set(re.findall(r'\bid="([^"]+)"', draw_front(choice, of, name="b")))
    assert ET.fromstring(text).tag == "svg"


def test_the_tables_hold_what_the_chart_numbers(choice: Choice) -> None:
    rows = front_table(choice).rows
    assert [row[0] for row in rows[: len(choice.front)]] == [
        str(number) for number in range(1, len(choice.front) + 1)
    ]
    assert len(rows) == len(choice.front) + sum(len(level.front) for level in choice.faster)
    assert used_table(choice).rows[0][1:3] == (62.5, "31.0 to 40.0")


def test_the_next_step_is_the_difference_of_two_plans(choice: Choice) -> None:
    table = next_steps(choice)
    assert table is not None
    assert choice.insight is not None
    assert choice.insight.runner_up is not None
    steps = {row[0]: row[1:] for row in table.rows}
    assert set(steps) == {
        "+10 ms of SLO",
        "\u221210 ms of SLO",
        "one point more of accuracy",
        "the runner-up",
    }
    then, now = choice.insight.runner_up.promise, choice.plan.promise
    found = [float(figure) for figure in steps["the runner-up"][1:]]
    assert found == pytest.approx(
        [
            then.cost_cores - now.cost_cores,
            100 * (then.accuracy - now.accuracy),
            1e3 * (then.latency_s - now.latency_s),
            then.objective - now.objective,
        ]
    )


def test_a_step_that_can_not_be_had_and_one_that_changes_nothing_are_told() -> None:
    of = pipeline()
    best = alternatives(planned(of, 1.0), of, profile_table(of), solver=SOLVER)
    table = next_steps(best)
    assert table is not None
    steps = {row[0]: row[1] for row in table.rows}
    assert steps["+10 ms of SLO"] == "the same plan"
    assert steps["one point more of accuracy"] == "can't be had"


def test_a_plan_that_is_no_longer_the_best_is_told(of: Pipeline) -> None:
    dear = trade_off(of, profile_table(of), LOAD_RPS, solver=SOLVER)[-1]
    worse = alternatives(dear, of, profile_table(of), solver=SOLVER)
    assert "another plan is better" in binding(worse)


def test_a_load_that_nothing_serves_has_no_front_and_says_what_gives_way(of: Pipeline) -> None:
    none = alternatives(replace(planned(of), load_rps=1e6), of, profile_table(of), solver=SOLVER)
    assert (none.front, none.faster, next_steps(none)) == ((), (), None)
    assert "would have to give way" in binding(none)


def test_a_plan_of_another_document_is_refused(of: Pipeline) -> None:
    plan = planned(of)
    with pytest.raises(UserError, match="not one of this document"):
        alternatives(plan, replace(of, name="other"), profile_table(of), solver=SOLVER)
    fewer = replace(of, stages=of.stages[:1])
    with pytest.raises(UserError, match="with stages locate; plan with this document"):
        alternatives(plan, fewer, profile_table(of), solver=SOLVER)


def test_a_pipeline_of_many_stages_is_not_explained_here() -> None:
    names = [f"s{i}" for i in range(MOST_EXPLAINED + 1)]
    many = pipeline(stages=tuple(stage(n, variants=(variant(),)) for n in names))
    long = replace(many, slo=Slo(latency_s=10.0))
    plan = solve_plan(long, profile_table(long), 10.0, solver=make_solver("auto")).plan
    assert plan is not None
    found = alternatives(plan, long, profile_table(long), solver=make_solver("auto"))
    assert found.front
    assert found.insight is None


def test_a_choice_that_is_not_explained_has_no_next_step(of: Pipeline) -> None:
    plan = planned(of)
    bare = Choice(plan=plan, front=[plan], faster=[Level(within_s=0.1, front=())])
    assert next_steps(bare) is None
    assert binding(bare) == ""
    assert "within 100 ms" not in draw_front(bare, of)
