"""What is beside a plan, in tables: the front by number, what ran, what the next step costs."""

from __future__ import annotations

from collections.abc import Iterator

from components.pages.choice import Choice
from components.pages.page import Cell, Change, Table
from optimizer.options import TOLERANCE
from penstock.domain import Plan

DIGITS = {
    "accuracy [%]": 2,
    "accuracy [points]": 2,
    "cost [cores]": 2,
    "latency [ms]": 1,
    "of the time [%]": 1,
}


def front_table(choice: Choice) -> Table:
    """Return the plans that nothing beats, numbered as in the chart, then those that are faster."""
    rows: list[tuple[Cell, ...]] = [
        (str(number), *_row(plan)) for number, plan in enumerate(choice.front, start=1)
    ]
    for level in choice.faster:
        within = f"within {1e3 * level.within_s:g} ms"
        rows += [(within, *_row(plan)) for plan in level.front]
    return Table(
        title="Plans that nothing beats",
        columns=(
            "",
            "variants",
            f"cost [{choice.plan.promise.cost_unit}]",
            "accuracy [%]",
            "latency [ms]",
        ),
        rows=rows,
        digits=DIGITS,
    )


def used_table(choice: Choice) -> Table:
    """Return what ran, the longest first."""
    return Table(
        title="What the run used",
        columns=(
            *("variants", "of the time [%]", "planned for [req/s]"),
            *(f"cost [{choice.plan.promise.cost_unit}]", "accuracy [%]"),
        ),
        rows=[
            (
                variants_of(one.plan),
                100 * one.share,
                " to ".join(dict.fromkeys(f"{load:.1f}" for load in one.loads_rps)),
                one.plan.promise.cost,
                100 * one.plan.promise.accuracy,
            )
            for one in choice.used
        ],
        digits=DIGITS,
    )


def next_steps(choice: Choice) -> Table | None:
    """Return what moving each limit would change, and the runner-up; ``None`` where not known."""
    if choice.insight is None or choice.insight.outcome.plan is None:
        return None
    best, unit = choice.insight.outcome.plan, choice.plan.promise.cost_unit
    return Table(
        title="What the next step costs",
        columns=(
            *("what", "would then run", f"cost [{unit}]"),
            *("accuracy [points]", "latency [ms]", "objective"),
        ),
        rows=[_step(what, then, best) for what, then in _moves(choice)],
        digits=DIGITS,
    )


def binding(choice: Choice) -> str:
    """Return in a sentence which limits bind the plan, and whether it still is the best."""
    if choice.insight is None:
        return ""
    limits, best = choice.insight.binding, choice.insight.outcome.plan
    if best is None:
        return f"No plan is feasible: {' and '.join(limits)} would have to give way."
    said = f"Limits that bind: {', '.join(limits) or 'none'}."
    now, then = choice.plan.promise.objective, best.promise.objective
    if then - now > TOLERANCE * abs(now):
        said += f" Solved anew from these profiles, another plan is better: {variants_of(best)}."
    return said


def variants_of(plan: Plan) -> str:
    """Return the variants of a plan with their replicas, in a line."""
    return " + ".join(f"{o.variant} \u00d7{o.replicas}" for o in plan.stages)


def _moves(choice: Choice) -> Iterator[tuple[str, Plan | None]]:
    insight = choice.insight
    assert insight is not None, "asked for by next_steps alone"
    for worth in insight.worths:
        yield worth.what.replace("-", "\u2212"), worth.plan
    if insight.runner_up is not None:
        yield "the runner-up", insight.runner_up


def _step(what: str, then: Plan | None, now: Plan) -> tuple[Cell, ...]:
    if then is None:
        return (what, "can't be had", "", "", "", "")
    before, after = now.promise, then.promise
    return (
        what,
        _changed(then, now) or "the same plan",
        Change(then.promise.cost - now.promise.cost),
        Change(100 * (after.accuracy - before.accuracy)),
        Change(1e3 * (after.latency_s - before.latency_s)),
        Change(after.objective - before.objective),
    )


def _changed(then: Plan, now: Plan) -> str:
    return "; ".join(
        f"{b.stage}: {b.variant} \u00d7{b.replicas} at batch {b.batch_size}"
        for a, b in zip(now.stages, then.stages, strict=True)
        if (a.variant, a.batch_size, a.replicas, a.cpu_cores)
        != (b.variant, b.batch_size, b.replicas, b.cpu_cores)
    )


def _row(plan: Plan) -> tuple[Cell, ...]:
    promise = plan.promise
    return (variants_of(plan), plan.promise.cost, 100 * promise.accuracy, 1e3 * promise.latency_s)
