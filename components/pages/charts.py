"""The charts of the bootstrap's steps: profiles, a backtest, accuracy against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from components.pages.axes import LINES, MARKERS, Ladders, drawn, legend, plain_ticks
from components.pages.svg import COLOR, rung, to_svg
from optimizer.forecast.backtest import Trace
from penstock.domain import Profile, ProfilePoint, ProfileTable

MOST_STAGES = 6
"""Panels beside each other; further stages are in the tables alone."""
MOST_VARIANTS = 12
"""Lines of one panel."""
LEGEND_ROW_IN = 0.2
LONGEST_NAME = 20
"""Characters of a name in a chart; the tables have all of it."""
TRACE_COLOURS = {"candidate": "adaptive", "published": "heaviest", "last": "lightest"}


def profile_curves(table: ProfileTable, ladders: Ladders) -> str:
    """Draw latency and throughput over batch size: a column per stage, a line per variant.

    Of more than ``MOST_STAGES`` stages and ``MOST_VARIANTS`` variants the first are drawn.
    """
    shown = {stage: ladders[stage][:MOST_VARIANTS] for stage in list(ladders)[:MOST_STAGES]}
    columns = max(1, 8 // len(shown))
    rows = max(-(-len(variants) // columns) for variants in shown.values())
    with drawn("profiles", height_in=5.0 + LEGEND_ROW_IN * rows) as figure:
        grid = figure.subplots(2, len(shown), squeeze=False, sharex="col", sharey="row")
        for (latency, throughput), (stage, variants) in zip(grid.T, shown.items(), strict=True):
            found = [p for p in (table.find(stage, v) for v in variants) if p is not None]
            for profile in found:
                _draw_profile(latency, throughput, profile, variants)
            batches = sorted({p.batch_size for profile in found for p in profile.points})
            throughput.set(xscale="log", yscale="log", xlabel="batch size [requests]")
            throughput.set_xticks(batches, labels=[str(b) for b in batches])
            throughput.xaxis.set_minor_formatter(NullFormatter())
            latency.set_yscale("log")
            latency.set_title(_short(stage))
            plain_ticks(latency.yaxis, throughput.yaxis)
            legend(latency, columns=min(columns, len(found)))
        grid[0, 0].set_ylabel("latency of a full batch [s]")
        grid[1, 0].set_ylabel("throughput [req/s]")
        figure.align_ylabels(grid[:, 0])
        title = "Latency and throughput over batch size of each variant"
        return to_svg(figure, name="profiles", title=title)


def backtest(trace: Trace) -> str:
    """Draw what came, and what each forecaster had said of it, on steps that nobody learnt from."""
    with drawn("backtest", height_in=3.4) as figure:
        axis = figure.subplots()
        axis.step(
            trace.time_s, trace.actual_rps, where="post", color=COLOR["load"], lw=2, label="came"
        )
        for line, (name, rates) in zip(LINES, trace.forecast_rps.items(), strict=False):
            colour = COLOR[TRACE_COLOURS.get(name, "muted")]
            axis.step(trace.time_s, rates, where="post", color=colour, lw=1.1, ls=line, label=name)
        axis.set_ylim(bottom=0)
        axis.set_xlim(trace.time_s[0], trace.time_s[-1])
        axis.set(xlabel="time in the held-out history [s]", ylabel="highest rate ahead [req/s]")
        legend(axis)
        return to_svg(figure, name="backtest", title="Forecasts beside what came")


def ladders_of(table: ProfileTable, stages: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Return the stages that have profiles, and the variants of each from least to most accurate.

    Args:
        table: The profiles.
        stages: Names of the stages, in their order.
    """
    ranked = sorted(table.profiles, key=lambda p: (p.accuracy, p.variant))
    found = {stage: tuple(p.variant for p in ranked if p.stage == stage) for stage in stages}
    return {stage: variants for stage, variants in found.items() if variants}


def _draw_profile(
    latency: Axes, throughput: Axes, profile: Profile, variants: Sequence[str]
) -> None:
    """Draw p99 as a line down to the median as a band, and throughput; a line for each CPU."""
    position = variants.index(profile.variant)
    colour = COLOR[f"rung-{rung(position, len(variants))}"]
    marker = MARKERS[position % len(MARKERS)]
    by_cpu = sorted(profile.points, key=lambda p: (-p.cpu_cores, p.batch_size))
    for line, (cores, group) in zip(
        LINES, groupby(by_cpu, key=lambda p: p.cpu_cores), strict=False
    ):
        points: list[ProfilePoint] = list(group)
        batches = [p.batch_size for p in points]
        name = _short(profile.variant)
        if len({p.cpu_cores for p in by_cpu}) > 1:
            name += f", {cores:g} cores"
        high = [p.latency_at(0.99) for p in points]
        latency.plot(batches, high, marker, ls=line, color=colour, ms=4.5, label=name)
        middle = [p.latency_at(0.5) for p in points]
        latency.fill_between(batches, middle, high, color=colour, alpha=0.15, lw=0)
        rates = [p.throughput_rps for p in points]
        throughput.plot(batches, rates, marker, ls=line, color=colour, ms=4.5)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}\u2026"
