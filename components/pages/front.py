"""The front: accuracy over cost with latency as the third dimension, and the chosen plan in it.

Latency is drawn twice, so that nobody has to tell colours apart: as the levels of the front (mark,
dash and size) above, and on an axis of its own below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.pages.axes import LINES, drawn, legend
from components.pages.choice import Choice, Level, Used
from components.pages.svg import COLOR, to_svg
from penstock.domain import Pipeline, Plan

LEVELS = (("o", 9.0, "rung-5"), ("s", 6.0, "rung-3"), ("^", 4.5, "rung-1"))
"""Mark, size and colour of the front under the SLO and under each tighter latency."""
LABEL = (58.0, 11.0)
"""Width and height [pt] that a label takes."""
NEAR = 1.6
"""A limit is drawn when it is at most so many times the dearest plan; otherwise it is only said."""

Spot = tuple[float, float]


def draw_front(choice: Choice, pipeline: Pipeline, *, name: str = "front") -> str:
    """Draw what could be had for the load of a plan, with what the pipeline's limits leave of it.

    The plans of ``choice.front`` are numbered by their place in it. ``name`` keeps the ids of
    several charts of a page apart.
    """
    with drawn(name, height_in=5.6, width_in=8.6) as figure:
        fill_front(figure, choice, pipeline)
        title = f"Accuracy, cost and latency of the plans for {choice.plan.load_rps:g} req/s"
        return to_svg(figure, name=name, title=title)


def fill_front(figure: Figure, choice: Choice, pipeline: Pipeline) -> None:
    """Put accuracy over cost into the upper half of a figure, latency over cost into the lower."""
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.6, 1.3))
    _draw_others(above, below, choice.others)
    for style, level in zip(LEVELS, _levels(choice, pipeline), strict=False):
        _draw_level(above, below, level, style)
    _draw_used(above, choice.used)
    above.plot(*_spot(choice.plan), **_CHOSEN, ms=14)
    above.plot([], [], **_CHOSEN, ms=7, label="chosen")
    below.plot(choice.plan.promise.cost, 1e3 * choice.plan.promise.latency_s, **_CHOSEN, ms=14)
    above.margins(0.1, 0.16)
    below.set_ylim(bottom=0)
    _draw_limits(above, below, pipeline, choice)
    above.set_ylabel("accuracy [%] \u2013 more is better")
    below.set_ylabel("latency [ms]")
    below.set_xlabel(f"cost [{choice.plan.promise.cost_unit}] \u2013 less is better")
    legend(above, columns=3)
    figure.align_ylabels((above, below))
    figure.draw_without_rendering()
    _label(figure, above, choice)


_CHOSEN: dict[str, Any] = {
    "marker": "D",
    "ls": "",
    "mfc": "none",
    "mew": 2.0,
    "mec": COLOR["adaptive"],
    "zorder": 5,
}


def _levels(choice: Choice, pipeline: Pipeline) -> Sequence[Level]:
    return (Level(within_s=pipeline.slo.latency_s, front=choice.front), *choice.faster)


def _draw_others(above: Axes, below: Axes, others: Sequence[Plan]) -> None:
    if not others:
        return
    faint: dict[str, Any] = {
        "ls": "",
        "marker": "x",
        "color": COLOR["muted"],
        "ms": 4.5,
        "alpha": 0.6,
    }
    costs, accuracies = zip(*map(_spot, others), strict=True)
    above.plot(costs, accuracies, **faint, label="cheapest of other variants")
    below.plot(costs, [1e3 * plan.promise.latency_s for plan in others], **faint)


def _draw_level(above: Axes, below: Axes, level: Level, style: tuple[str, float, str]) -> None:
    if not level.front:
        return
    marker, size, colour = style
    line = LINES[[one for one, *_ in LEVELS].index(marker)]
    how: dict[str, Any] = {"color": COLOR[colour], "marker": marker, "ms": size}
    costs, accuracies = zip(*map(_spot, level.front), strict=True)
    label = f"nothing beats it within {1e3 * level.within_s:g} ms"
    above.plot(costs, accuracies, **how, ls=line, drawstyle="steps-post", label=label)
    below.plot(costs, [1e3 * plan.promise.latency_s for plan in level.front], **how, ls="")


def _draw_used(above: Axes, used: Sequence[Used]) -> None:
    ring: dict[str, Any] = {"marker": "o", "ls": "", "mfc": "none", "mec": COLOR["ink"], "mew": 1.1}
    if used:
        above.plot([], [], **ring, ms=8, label="ran, for that share of the time")
    for one in used:
        above.plot(*_spot(one.plan), **ring, ms=18)


def _draw_limits(above: Axes, below: Axes, pipeline: Pipeline, choice: Choice) -> None:
    slo_ms = 1e3 * pipeline.slo.latency_s
    limit: dict[str, Any] = {"color": COLOR["slo"], "lw": 1.3, "ls": LINES[3]}
    below.axhline(slo_ms, **limit)
    below.annotate(
        f"SLO {slo_ms:g} ms",
        (0, slo_ms),
        (3, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color=COLOR["slo"],
    )
    below.set_ylim(top=1.25 * max(slo_ms, below.get_ylim()[1] / 1.05))
    dearest = max(plan.promise.cost for plan in (choice.plan, *choice.front, *choice.others))
    for path, most in budgets(pipeline):
        label = f"{path} {most:g}"
        if most <= NEAR * dearest and path == _path_of_cost(choice.plan):
            below.axvline(most, **limit)
            above.axvline(most, **limit, label=label)
        else:
            above.plot([], [], **limit, label=f"{label}, not in the picture")
    floor = pipeline.objective.accuracy_floor
    if floor is not None:
        above.axhline(100 * floor, **limit, label=f"accuracy_floor {100 * floor:g} %")


def budgets(pipeline: Pipeline) -> tuple[tuple[str, float], ...]:
    """Return the limits on cost that the pipeline has, by their name in the spec."""
    limits = (("max_cores", pipeline.max_cores), ("max_cost_per_hour", pipeline.max_cost_per_hour))
    return tuple((path, most) for path, most in limits if most is not None)


def _path_of_cost(plan: Plan) -> str:
    return "max_cores" if plan.promise.cost_per_hour is None else "max_cost_per_hour"


def _label(figure: Figure, axis: Axes, choice: Choice) -> None:
    """Write beside the marks: number and latency of the front above it, shares of time below."""
    front = [
        (_spot(plan), f"{number}: {1e3 * plan.promise.latency_s:.0f} ms")
        for number, plan in enumerate(choice.front, start=1)
    ]
    shares = [(_spot(one.plan), f"{100 * one.share:.0f} %") for one in choice.used]
    for labels, above in ((front, True), (shares, False)):
        for text, spot, up in _stacked(figure, axis, labels, above=above):
            axis.annotate(
                text,
                spot,
                (12 if above else -12, up),
                textcoords="offset points",
                ha="left" if above else "right",
                va="center",
                fontweight="normal" if above else "bold",
                bbox={"fc": COLOR["surface"], "ec": "none", "alpha": 0.75, "pad": 0.6},
            )


def _stacked(
    figure: Figure, axis: Axes, labels: Sequence[tuple[Spot, str]], *, above: bool
) -> Iterator[tuple[str, Spot, float]]:
    """Yield labels with how far [pt] over their spot they stand, so that none lies on another."""
    sign, least = (1, LABEL[1]) if above else (-1, 0.0)
    taken: list[Spot] = []
    for spot, text in sorted(labels, key=lambda label: sign * label[0][1]):
        x, y = axis.transData.transform(spot) * 72 / figure.dpi
        near = [sign * (v - y) for u, v in taken if abs(u - x) < LABEL[0]]
        up = sign * max(least, *(v + LABEL[1] for v in near), least)
        taken.append((x, y + up))
        yield text, spot, up


def _spot(plan: Plan) -> Spot:
    return (plan.promise.cost, 100 * plan.promise.accuracy)
