"""What each step has to show, as a page: values in, HTML out."""

from __future__ import annotations

from collections.abc import Sequence

from components.pages import charts
from components.pages.choice import Choice
from components.pages.flow import draw_flow
from components.pages.front import draw_front
from components.pages.next_step import front_table, next_steps
from components.pages.page import Cell, Table, write_page
from optimizer.forecast.backtest import Verdict
from penstock.domain import Pipeline, ProfileTable

PLAN_COLUMNS = (
    *("stage", "variant", "replicas", "batch", "cores each"),
    *("latency [ms]", "capacity [req/s]", "accuracy [%]"),
)


def profiles_page(table: ProfileTable, stages: Sequence[str], title: str) -> str:
    """Show what one replica of each variant can do."""
    rows: list[tuple[Cell, ...]] = [
        (
            f"{profile.stage}/{profile.variant}",
            point.batch_size,
            point.cpu_cores,
            1e3 * point.latency_at(0.5),
            1e3 * point.latency_at(0.99),
            point.throughput_rps,
            100 * profile.accuracy,
        )
        for profile in table.profiles
        for point in profile.points
    ]
    columns = ("variant", "batch", "cores", "p50 [ms]", "p99 [ms]", "req/s", "accuracy [%]")
    tables = [Table(title="One replica", columns=columns, rows=rows)]
    if table.joint_accuracy:
        ranked = sorted(table.joint_accuracy.items(), key=lambda item: -item[1])
        tables.append(
            Table(
                title="The pipeline, end to end",
                columns=("variants", "accuracy [%]"),
                rows=[(" + ".join(names), 100 * share) for names, share in ranked],
            )
        )
    return write_page(
        title,
        "Measured on the predictor server that serves it; the line is p99, the band reaches down "
        "to the median.",
        charts=[charts.profile_curves(table, charts.ladders_of(table, stages))],
        tables=tables,
    )


def backtest_page(verdict: Verdict, pipeline: str) -> str:
    """Show how the load predictors did on the held-out history, and which is published."""
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            score.smape_pct,
            score.mae_rps,
            100 * score.under_share,
            score.excess_pct,
            score.windows,
        )
        for name, score in verdict.scores.items()
    ]
    columns = ("forecaster", "sMAPE [%]", "MAE [req/s]", "too low [%]", "excess [%]", "windows")
    return write_page(
        f"Load predictor of {pipeline}: {'published' if verdict.publish else 'not published'}",
        f"Because its {verdict.reason}.",
        charts=[charts.backtest(verdict.trace)],
        tables=[Table(title="Errors on held-out load", columns=columns, rows=rows)],
    )


def plan_page(choice: Choice, pipeline: Pipeline) -> str:
    """Show the plan with its promises among the plans that nothing beats."""
    plan, promise = choice.plan, choice.plan.promise
    options: list[tuple[Cell, ...]] = [
        (
            o.stage,
            o.variant,
            o.replicas,
            o.batch_size,
            o.cpu_cores,
            1e3 * o.latency_s,
            o.capacity_rps,
            100 * o.accuracy,
        )
        for o in plan.stages
    ]
    promises: list[tuple[Cell, ...]] = [
        ("latency [ms]", 1e3 * promise.latency_s, f"SLO {1e3 * pipeline.slo.latency_s:g}"),
        ("capacity [req/s]", promise.capacity_rps, f"asked for {plan.load_rps:g}"),
        ("cost [cores]", promise.cost_cores, _at_most(pipeline.max_cores)),
        ("accuracy [%]", 100 * promise.accuracy, f"product {100 * promise.accuracy_product:.2f}"),
        ("objective", promise.objective, choice.how_sure),
    ]
    if promise.cost_per_hour is not None:
        limit = _at_most(pipeline.max_cost_per_hour)
        promises.insert(3, ("cost [per hour]", promise.cost_per_hour, limit))
    tables = [
        Table(title="The plan", columns=PLAN_COLUMNS, rows=options),
        Table(title="What it promises", columns=("", "promise", "asked"), rows=promises),
        front_table(choice),
        next_steps(choice),
    ]
    drawings = [draw_flow(plan, pipeline), draw_front(choice, pipeline) if choice.front else ""]
    return write_page(
        f"Plan of {plan.pipeline} for {plan.load_rps:g} req/s",
        "What each stage runs, thick where the slowest path goes; then what could be had: each "
        "point on a line is the most accurate plan that a limit on cost allows.",
        charts=[one for one in drawings if one],
        tables=[one for one in tables if one is not None],
    )


def _at_most(limit: float | None) -> str:
    return "no limit" if limit is None else f"at most {limit:g}"
