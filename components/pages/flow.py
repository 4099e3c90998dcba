"""A pipeline's graph as a drawing: nested nodes, what each stage runs, the slowest path.

A Sequence lies from left to right, the branches of every other node one above the other. Lengths
are pixels: the drawing is never scaled, so that its text stays readable, and a wide one scrolls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from penstock.domain import Node, NodeKind, Option, Pipeline, Plan, Step
from penstock.graph import count_paths, node_names, nodes_of
from penstock.plan import slowest_path

MOST_STAGES = 60
"""Stages that a drawing has room for; a larger pipeline is in the tables alone."""
WIDE, HIGH = 212, 86
GAP = 38
BETWEEN = 14
PAD = 14
HEAD = 20
FAN = 36
"""Where a line to a branch rises or falls; behind it there is room for what stands on the line."""
ROOM = {NodeKind.ENSEMBLE: 14, NodeKind.SWITCH: 140, NodeKind.SPLITTER: 50}
LONGEST = {"name": 25, "small": 34, "": 16, "condition": 22}
"""Characters that a kind of text has room for; the whole is its tooltip."""

Part = Node | str
Spot = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Extent:
    """How far a part reaches to the right, above and below the line that leads to it."""

    width: float
    above: float
    below: float


def draw_flow(plan: Plan, pipeline: Pipeline) -> str:
    """Return the pipeline's graph with the plan's options as an ``<svg>`` element.

    Empty when the pipeline has more than ``MOST_STAGES`` stages.
    """
    if len(pipeline.stages) > MOST_STAGES:
        return ""
    graph = pipeline.shape
    drawing = _Drawing(
        options={option.stage: option for option in plan.stages},
        visits={stage.name: pipeline.visited(stage).visit_ratio for stage in pipeline.stages},
        slowest=slowest_path(plan, graph) if count_paths(graph) > 1 else (),
        names={id(node): name for node, name in _named(graph)},
    )
    reach = drawing.extent(graph, is_root=True)
    wide, high, y = reach.width + 2 * GAP, reach.above + reach.below + 4, reach.above + 2
    inner = "\n".join(
        [
            _line((0, y), (GAP, y), is_arrow=True),
            *drawing.part(graph, (GAP, y), is_root=True),
            _line((GAP + reach.width, y), (wide - 2, y), is_arrow=True),
        ]
    )
    return (
        f'<svg class="flow" viewBox="0 0 {wide:g} {high:g}" role="img" '
        f'style="width:{wide:g}px;min-width:0;max-width:none" '
        f'aria-label="{escape(_told(plan, drawing.slowest))}">{inner}</svg>'
    )


def _told(plan: Plan, slowest: Sequence[str]) -> str:
    stages = ", ".join(f"{o.stage} runs {o.variant} x{o.replicas}" for o in plan.stages)
    return f"The pipeline: {stages}" + (f"; slowest: {' > '.join(slowest)}" if slowest else "")


def _named(graph: Node) -> Iterator[tuple[Node, str]]:
    names = node_names(graph)
    for place, node in nodes_of(graph):
        yield node, names[place]


@dataclass(frozen=True, slots=True)
class _Drawing:
    """What is drawn: each stage's option and visits, and which stages the slowest path has."""

    options: dict[str, Option]
    visits: dict[str, float]
    slowest: tuple[str, ...]
    names: dict[int, str]

    def extent(self, part: Part, *, is_root: bool = False) -> _Extent:
        """Return how much room a part takes."""
        if isinstance(part, str):
            return _Extent(WIDE, HIGH / 2, HIGH / 2)
        below = [self.extent(step.to) for step in part.steps]
        if part.kind is NodeKind.SEQUENCE:
            width = sum(one.width for one in below) + sum(map(_gap, part.steps[1:]))
            bare = _Extent(width, max(e.above for e in below), max(e.below for e in below))
            return bare if is_root else _framed(bare, 2 * PAD)
        high = sum(e.above + e.below for e in below) + BETWEEN * (len(below) - 1)
        bare = _Extent(max(e.width for e in below), high / 2, high / 2)
        return _framed(bare, FAN + ROOM[part.kind] + FAN)

    def part(self, part: Part, at: Spot, *, is_root: bool = False) -> Iterator[str]:
        """Yield a part's elements; ``at`` is where a line leads to it, on its left edge."""
        if isinstance(part, str):
            yield self._stage(part, at)
        elif part.kind is not NodeKind.SEQUENCE:
            yield self._frame(part, at)
            yield from self._branches(part, at)
        elif is_root:
            yield from self._chain(part, at)
        else:
            (x, y), width = at, self.extent(part).width
            yield self._frame(part, at)
            yield _line(at, (x + PAD, y), is_slow=self._is_slow(part))
            yield from self._chain(part, (x + PAD, y))
            yield _line((x + width - PAD, y), (x + width, y), is_slow=self._is_slow(part))

    def _chain(self, node: Node, at: Spot) -> Iterator[str]:
        (x, y), is_slow = at, self._is_slow(node)
        for i, step in enumerate(node.steps):
            if i:
                gap = _gap(step)
                yield _line((x, y), (x + gap, y), is_slow=is_slow, is_arrow=True)
                yield _text((x + gap / 2 - 2, y - 7), _fan_out(step), kind="middle")
                x += gap
            yield from self.part(step.to, (x, y))
            x += self.extent(step.to).width

    def _branches(self, node: Node, at: Spot) -> Iterator[str]:
        whole = self.extent(node)
        left, right = at[0] + FAN + ROOM[node.kind], at[0] + whole.width
        top = at[1] - whole.above + PAD + HEAD
        for step in node.steps:
            reach, is_slow = self.extent(step.to), self._is_slow(step.to)
            y = top + reach.above
            yield _line(at, (at[0] + FAN, y), is_slow=is_slow)
            yield _line((at[0] + FAN, y), (left, y), is_slow=is_slow, is_arrow=True)
            yield _line((left + reach.width, y), (right - FAN, y), is_slow=is_slow)
            yield _line((right - FAN, y), (right, at[1]), is_slow=is_slow)
            yield from _label(node, step, ((at[0] + FAN + left) / 2 - 3, y))
            yield from self.part(step.to, (left, y))
            top = y + reach.below + BETWEEN

    def _is_slow(self, part: Part) -> bool:
        below = part.stages() if isinstance(part, Node) else (part,)
        return any(name in self.slowest for name in below)

    def _frame(self, node: Node, at: Spot) -> str:
        reach, name = self.extent(node), self.names[id(node)]
        merge = f", {node.merge} of the accuracies" if node.kind is NodeKind.ENSEMBLE else ""
        top = at[1] - reach.above
        return (
            f'<g class="node"><title>{escape(name + merge)}</title>'
            f'<rect x="{at[0]:g}" y="{top:g}" width="{reach.width:g}" '
            f'height="{reach.above + reach.below:g}" rx="10" '
            'style="fill:none;stroke:var(--muted);stroke-opacity:.55;stroke-dasharray:4 4"/>'
            f"{_text((at[0] + 11, top + 19), f'{node.kind.value} {node.name}', kind='small')}</g>"
        )

    def _stage(self, name: str, at: Spot) -> str:
        option, is_slow = self.options[name], name in self.slowest
        x, y, right = at[0], at[1] - HIGH / 2, at[0] + WIDE - 11
        colour, thick = ("var(--slo)", 2.6) if is_slow else ("var(--muted)", 1)
        each = f"{_count(option.replicas, 'replica')}, {_count(option.cpu_cores, 'core')} each"
        return "".join(
            (
                f'<g class="{"stage slow" if is_slow else "stage"}">',
                f'<rect x="{x:g}" y="{y:g}" width="{WIDE}" height="{HIGH}" rx="8" '
                f'style="fill:var(--surface);stroke:{colour};stroke-width:{thick}"/>',
                _text((x + 11, y + 21), name, kind="name"),
                _text((x + 11, y + 39), option.variant),
                _text((right, y + 39), f"batch {option.batch_size}", kind="end"),
                _text((x + 11, y + 57), each, kind="small"),
                _text(
                    (x + 11, y + 75),
                    f"{_count(self.visits[name], 'visit')} a request",
                    kind="small",
                ),
                _text((right, y + 75), _milliseconds(option.latency_s), kind="strong"),
                "</g>",
            )
        )


def _framed(bare: _Extent, room: float) -> _Extent:
    return _Extent(bare.width + room, bare.above + PAD + HEAD, bare.below + PAD)


def _gap(step: Step) -> float:
    """Return the room between two steps of a Sequence, with what stands on the line."""
    return GAP + 8 * len(_fan_out(step))


def _count(number: float, what: str) -> str:
    return f"{number:.3g} {what}{'' if number == 1 else 's'}"


def _label(node: Node, step: Step, at: Spot) -> Iterator[str]:
    """Yield what stands on the line to a branch: its share and its condition."""
    share = {
        NodeKind.SWITCH: f"{100 * (step.probability or 0):.3g} %",
        NodeKind.SPLITTER: f"{step.weight or 0} %",
    }.get(node.kind, "")
    yield _text((at[0], at[1] - 7), f"{share} {_fan_out(step)}".strip(), kind="middle")
    if node.kind is NodeKind.SWITCH:
        yield _text((at[0], at[1] + 16), step.condition or "otherwise", kind="condition")


def _fan_out(step: Step) -> str:
    return "" if step.fan_out == 1 else f"\u00d7{step.fan_out:.3g}"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.0f} ms" if seconds >= 0.01 else f"{1e3 * seconds:.1f} ms"


_KINDS = {
    "": "fill:var(--ink);font-size:12.5px",
    "name": "fill:var(--ink);font-size:13.5px;font-weight:650",
    "small": "fill:var(--muted);font-size:12px",
    "end": "fill:var(--ink);font-size:12.5px;text-anchor:end",
    "strong": "fill:var(--ink);font-size:12.5px;font-weight:650;text-anchor:end",
    "condition": "fill:var(--muted);font-size:11.5px;text-anchor:middle",
    "middle": "fill:var(--ink);font-size:12px;text-anchor:middle",
}


def _text(at: Spot, text: str, *, kind: str = "") -> str:
    if not text:
        return ""
    longest = LONGEST.get(kind, LONGEST[""])
    short = text if len(text) <= longest else f"{text[: longest - 1]}\u2026"
    tip = "" if short == text else f"<title>{escape(text)}</title>"
    return f'<text x="{at[0]:g}" y="{at[1]:g}" style="{_KINDS[kind]}">{escape(short)}{tip}</text>'


def _line(start: Spot, end: Spot, *, is_slow: bool = False, is_arrow: bool = False) -> str:
    """Draw a line that leaves and arrives level; thick where the slowest path runs."""
    middle = (start[0] + end[0]) / 2
    colour, thick = ("var(--slo)", 2.6) if is_slow else ("var(--muted)", 1.2)
    (x, y), (u, v) = start, end
    path = f"M{x:g} {y:g}C{middle:g} {y:g} {middle:g} {v:g} {u:g} {v:g}"
    head = f"M{u - 7:g} {v - 4:g}L{u:g} {v:g}L{u - 7:g} {v + 4:g}"
    return (
        f'<path d="{path}{head if is_arrow else ""}" '
        f'style="fill:none;stroke:{colour};stroke-width:{thick}"/>'
    )
