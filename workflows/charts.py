"""The charts of the report: values in, inline SVG out.

Every chart has units on its axes, a legend outside of its data, and tells its series apart by more
than colour. Importing this module imports matplotlib; whoever draws nothing doesn't pay for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from components.pages.axes import LINES, MARKERS, Ladders, drawn, legend, plain_ticks
from components.pages.svg import COLOR, rung, to_svg
from penstock.domain import Profile, ProfileTable
from workflows.recorded import Recording
from workflows.series import SMOOTH_S, Seconds, by_second, running_capacity, spans_of
from workflows.summary import PROMISED_ATTAINMENT, RunSummary, accuracy

NAMED_FROM = 0.08
"""A band has room for its variant's name from this share of the run on."""


def story(recording: Recording, ladders: Ladders) -> str:
    """Draw one run from top to bottom: load, what ran, its cost, how fast and how right it was."""
    stages = sorted(
        {stage for s in recording.timeline for stage in s.stages}, key=list(ladders).index
    )
    heights = [2.3, *([1.0] * len(stages)), 1.0, 1.9, 1.2]
    with drawn("story", height_in=sum(heights) + 0.45 * len(heights)) as figure:
        axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        _draw_load(axes[0], recording)
        for axis, stage in zip(axes[1:], stages, strict=False):
            _draw_stage(axis, stage, recording, ladders[stage])
        _draw_cores(axes[-3], recording)
        _draw_latency(axes[-2], recording)
        _draw_accuracy(axes[-1], recording, COLOR["adaptive"])
        for axis in axes:
            _mark_moves(axis, recording)
        axes[-1].set_xlim(0, recording.info.duration_s)
        axes[-1].set_xlabel("time since the start of the load [s]")
        figure.align_ylabels(axes)
        return to_svg(figure, name="story", title="The adaptive run over time")


def beside(recordings: Mapping[str, Recording]) -> str:
    """Draw the runs beside each other under the same load, on shared axes."""
    with drawn("beside", height_in=7.2) as figure:
        grid = figure.subplots(4, len(recordings), sharex=True, sharey="row", squeeze=False)
        for column, (name, recording) in enumerate(recordings.items()):
            seconds, colour = by_second(recording), _run_colour(name)
            latency, missed, right, cores = grid[:, column]
            latency.set_title(name, color=colour)
            _draw_quantiles(latency, seconds, colour)
            _draw_slo(latency, recording.info.slo_s)
            missed.fill_between(
                seconds.start_s, 100 * seconds.missed, step="post", color=colour, alpha=0.55, lw=0
            )
            missed.set_ylim(0, 100)
            right.plot(seconds.start_s + 0.5, 100 * seconds.accuracy, color=colour)
            _draw_steps(cores, recording, colour)
            if not np.nansum(seconds.missed):
                missed.text(0.5, 0.5, "none", transform=missed.transAxes, ha="center", alpha=0.6)
            cores.set_xlabel("time [s]")
            cores.set_xlim(0, recording.info.duration_s)
        names = ("p50 and p99 latency [s]", "missed or lost [%]", "accuracy [%]", "cost [cores]")
        for axis, label in zip(grid[:, 0], names, strict=True):
            axis.set_ylabel(label)
        grid[3, 0].set_ylim(bottom=0)
        figure.align_ylabels(grid[:, 0])
        return to_svg(figure, name="beside", title="The three runs beside each other")


def trade_off(runs: Mapping[str, RunSummary]) -> str:
    """Draw accuracy against cost; a run that misses its objective is hollow."""
    with drawn("trade-off", width_in=5.3, height_in=3.4) as figure:
        axis = figure.subplots()
        for marker, (name, run) in zip(MARKERS, runs.items(), strict=False):
            if run.mean_cores is None or run.mean_accuracy is None:
                continue
            colour, kept = _run_colour(name), run.slo_attainment >= PROMISED_ATTAINMENT
            at = (run.mean_cores, 100 * run.mean_accuracy)
            face = colour if kept else COLOR["surface"]
            axis.plot(*at, marker, ms=11, mec=colour, mew=2, mfc=face)
            text = f"{name}\n{100 * run.slo_attainment:.1f} % within the SLO"
            axis.annotate(text, at, (0, 12), textcoords="offset points", ha="center", color=colour)
        axis.margins(0.35, 0.35)
        axis.set_xlabel("mean cost [cores] \u2013 less is better")
        axis.set_ylabel("mean accuracy [%] \u2013 more is better")
        return to_svg(figure, name="trade-off", title="Mean accuracy against mean cost of the runs")


def tail(recordings: Mapping[str, Recording]) -> str:
    """Draw the share of requests that took longer than a latency; lost ones took for ever."""
    with drawn("tail", width_in=5.3, height_in=3.4) as figure:
        axis = figure.subplots()
        for line, (name, recording) in zip(LINES, recordings.items(), strict=False):
            if not recording.requests:
                continue
            latencies = np.sort(
                [r.latency_s for r in recording.requests if not r.lost and r.latency_s is not None]
            )
            slower = 1 - np.arange(1, len(latencies) + 1) / len(recording.requests)
            axis.plot(latencies, 100 * slower, ls=line, color=_run_colour(name), label=name)
        slo_s = next(iter(recordings.values())).info.slo_s
        axis.axvline(slo_s, color=COLOR["slo"], lw=1.2, ls="--", label=f"SLO {slo_s:g} s")
        axis.axhline(100 * (1 - PROMISED_ATTAINMENT), color=COLOR["muted"], lw=0.8, ls=":")
        axis.set(xscale="log", yscale="log", xlabel="latency [s]", ylabel="requests slower [%]")
        axis.set_ylim(0.05, 130)
        plain_ticks(axis.xaxis, axis.yaxis)
        legend(axis)
        return to_svg(figure, name="tail", title="Share of requests slower than a latency")


def accuracy_ladder(table: ProfileTable, ladders: Ladders) -> str:
    """Draw accuracy over the core time that one request costs at the best batch size."""
    with drawn("ladder", height_in=3.2) as figure:
        grid = figure.subplots(1, len(ladders), squeeze=False, sharey=True)[0]
        for axis, (stage, variants) in zip(grid, ladders.items(), strict=True):
            found = [p for p in (table.find(stage, v) for v in variants) if p is not None]
            at = [(_core_ms(profile), 100 * profile.accuracy) for profile in found]
            axis.plot(*zip(*at, strict=True), color=COLOR["muted"], lw=0.9, ls=":")
            for position, (profile, spot) in enumerate(zip(found, at, strict=True)):
                colour = COLOR[f"rung-{rung(position, len(found))}"]
                axis.plot(*spot, MARKERS[position % len(MARKERS)], color=colour, ms=8)
                axis.annotate(
                    profile.variant, spot, (0, 8), textcoords="offset points", ha="center"
                )
            axis.set(xscale="log", xlabel="core time per request [ms]", title=stage)
            axis.margins(0.18, 0.22)
            plain_ticks(axis.xaxis)
        grid[0].set_ylabel("accuracy [%]")
        return to_svg(figure, name="ladder", title="Accuracy and cost of each variant")


def _draw_load(axis: Axes, recording: Recording) -> None:
    curve, ticks = recording.info.load_curve_rps, recording.ticks
    curve += curve[-1:]  # the last second ends where the next would begin
    axis.fill_between(range(len(curve)), curve, step="post", color=COLOR["load"], alpha=0.18, lw=0)
    axis.step(range(len(curve)), curve, where="post", color=COLOR["load"], label="offered load")
    known = running_capacity(recording)
    if known:
        times, capacity = zip(*known, (recording.info.duration_s, known[-1][1]), strict=True)
        axis.step(
            times,
            capacity,
            where="post",
            color=COLOR["capacity"],
            ls=LINES[1],
            label="capacity of the running plan",
        )
    label = "forecast of the highest load ahead, its quantiles"
    for tick in ticks:
        if tick.forecast is not None:
            span = (tick.time_s, tick.time_s + tick.forecast.horizon_s)
            rates = (tick.forecast.load_rps,) * 2
            axis.plot(span, rates, color=COLOR["forecast"], lw=2.2, label=label)
            axis.plot(span[0], rates[0], "o", ms=4, color=COLOR["forecast"])
            label = "_"
            around = (*rates, *tick.forecast.quantiles_rps.values())
            edges = (min(around), max(around))
            axis.fill_between(span, *edges, color=COLOR["forecast"], alpha=0.13, lw=0)
    axis.set_ylim(bottom=0)
    axis.set(title="Load, forecast and capacity", ylabel="rate [req/s]")
    legend(axis)


def _draw_stage(axis: Axes, stage: str, recording: Recording, variants: Sequence[str]) -> None:
    """Height is replicas, colour is the variant; the name stands in the band where it has room."""
    timeline, end_s = recording.timeline, recording.info.duration_s
    spans = spans_of(stage, timeline, end_s=end_s)
    named: set[str] = set()
    for start, stop, variant, replicas in spans:
        step = rung(list(variants).index(variant), len(variants))
        label = "_" if variant in named else variant
        named.add(variant)
        axis.bar(
            start,
            replicas,
            stop - start,
            align="edge",
            facecolor=COLOR[f"rung-{step}"],
            edgecolor=COLOR["surface"],
            lw=0.8,
            label=label,
        )
        if stop - start >= NAMED_FROM * end_s:
            middle = ((start + stop) / 2, replicas / 2)
            axis.text(*middle, variant, color=COLOR[f"on-rung-{step}"], ha="center", va="center")
    ready = [(s.time_s, s.stages[stage].ready) for s in timeline if stage in s.stages]
    times, counts = zip(*ready, strict=True)
    axis.step(times, counts, where="post", color=COLOR["ink"], lw=0.9, ls=":", label="ready")
    axis.set_ylim(0, max(replicas for *_, replicas in spans) + 0.4)
    axis.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    axis.set(title=f"Stage {stage}: variant and replicas", ylabel="replicas")
    legend(axis, order=[*variants, "ready"])


def _draw_cores(axis: Axes, recording: Recording) -> None:
    _draw_steps(axis, recording, COLOR["adaptive"])
    axis.set_ylim(bottom=0)
    axis.set(title="Cost", ylabel="cores")


def _draw_latency(axis: Axes, recording: Recording) -> None:
    seconds = by_second(recording)
    _draw_quantiles(axis, seconds, COLOR["adaptive"])
    _draw_slo(axis, recording.info.slo_s)
    lost = seconds.lost > 0
    if lost.any():
        axis.plot(
            seconds.start_s[lost] + 0.5,
            np.full(int(lost.sum()), 0.95),
            "x",
            transform=axis.get_xaxis_transform(),
            color=COLOR["bad"],
            label="requests lost",
        )
    axis.set(title="End-to-end latency per second", ylabel="latency [s]")
    legend(axis)


def _draw_accuracy(axis: Axes, recording: Recording, colour: str) -> None:
    seconds = by_second(recording)
    axis.plot(
        seconds.start_s + 0.5, 100 * seconds.accuracy, color=colour, label=f"over {SMOOTH_S} s"
    )
    mean = accuracy(recording.requests)
    if mean is not None:
        label = f"mean of the run {100 * mean:.1f} %"
        axis.axhline(100 * mean, color=COLOR["muted"], lw=1, ls=LINES[2], label=label)
    axis.set(title="Accuracy of the answers", ylabel="items right [%]")
    legend(axis)


def _draw_quantiles(axis: Axes, seconds: Seconds, colour: str) -> None:
    middle = seconds.start_s + 0.5
    axis.fill_between(middle, seconds.p50_s, seconds.p99_s, color=colour, alpha=0.15, lw=0)
    axis.plot(middle, seconds.p99_s, color=colour, label="p99")
    axis.plot(middle, seconds.p50_s, color=colour, lw=1.2, ls=LINES[1], label="p50")
    axis.set_yscale("log")
    plain_ticks(axis.yaxis)


def _draw_slo(axis: Axes, slo_s: float) -> None:
    axis.axhline(slo_s, color=COLOR["slo"], lw=1.3, ls=LINES[3], label=f"SLO {slo_s:g} s")


def _draw_steps(axis: Axes, recording: Recording, colour: str) -> None:
    timeline = recording.timeline
    times = [s.time_s for s in timeline] + [recording.info.duration_s] * bool(timeline)
    cores = [s.cost_cores for s in (*timeline, *timeline[-1:])]
    axis.fill_between(times, cores, step="post", color=colour, alpha=0.18, lw=0)
    axis.step(times, cores, where="post", color=colour)


def _mark_moves(axis: Axes, recording: Recording) -> None:
    for tick in recording.ticks:
        if tick.decision.kind == "move":
            axis.axvline(tick.time_s, color=COLOR["muted"], lw=0.7, ls=LINES[2], zorder=0.5)


def _core_ms(profile: Profile) -> float:
    return min(1000 * p.cpu_cores / p.throughput_rps for p in profile.points)


def _run_colour(name: str) -> str:
    return COLOR.get(name, COLOR["muted"])
