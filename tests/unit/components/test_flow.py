"""The drawing of a pipeline's graph: every stage and node, where they nest, the slowest path."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from components.pages import flow
from components.pages.flow import draw_flow
from penstock.domain import Node, NodeKind, Pipeline, Plan, Step
from penstock.graph import nodes_of
from tests.builders import option, pipeline, plan, stage
from tests.graphs import random_graph

ODD = "<script>alert('x')</script>"
READING = Node(
    kind=NodeKind.SWITCH,
    steps=(
        Step(
            to=Node(
                kind=NodeKind.SEQUENCE,
                name="careful",
                steps=(
                    Step(
                        to=Node(
                            kind=NodeKind.ENSEMBLE,
                            name="readers",
                            steps=(Step(to="left"), Step(to="right", fan_out=2.5)),
                        )
                    ),
                    Step(to="judge"),
                ),
            ),
            probability=0.25,
            condition="parameters.careful",
        ),
        Step(to="quick", probability=0.75),
    ),
)
NAMES = ("quick", "left", "right", "judge")
LATENCIES_S = dict(zip(NAMES, (0.15, 0.04, 0.187, 0.05), strict=True))


def of(graph: Node | None, names: tuple[str, ...] = NAMES) -> tuple[Pipeline, Plan]:
    asked = pipeline(stages=tuple(stage(name) for name in names), graph=graph)
    options = tuple(
        option(name, "large", latency_s=LATENCIES_S.get(name, 0.1), batch_size=4, replicas=3)
        for name in names
    )
    return asked, plan(stages=options)


def drawing(graph: Node | None, names: tuple[str, ...] = NAMES) -> ET.Element:
    asked, chosen = of(graph, names)
    return ET.fromstring(draw_flow(chosen, asked))


def groups(svg: ET.Element, kind: str) -> list[ET.Element]:
    return [g for g in svg.iter("g") if kind in g.attrib["class"].split()]


def texts(element: ET.Element) -> list[str]:
    return [text.text or "" for text in element.iter("text")]


def frame(group: ET.Element) -> tuple[float, float, float, float]:
    rect = group.find("rect")
    assert rect is not None
    x, y, width, height = (float(rect.attrib[k]) for k in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def test_a_stage_says_what_runs_how_often_and_how_long() -> None:
    boxes = {texts(box)[0]: texts(box)[1:] for box in groups(drawing(READING), "stage")}
    assert set(boxes) == set(NAMES)
    said = ["large", "batch 4", "3 replicas, 1 core each", "0.625 visits a request", "187 ms"]
    assert boxes["right"] == said


def test_the_slowest_path_is_marked_by_more_than_colour() -> None:
    svg = drawing(READING)
    assert [texts(box)[0] for box in groups(svg, "slow")] == ["right", "judge"]
    widths = {box.find("rect").attrib["style"].split("width:")[1] for box in groups(svg, "slow")}  # type: ignore[union-attr]
    assert widths == {"2.6"}
    assert "slowest: right > judge" in svg.attrib["aria-label"]


def test_a_chain_has_one_path_and_none_is_marked() -> None:
    svg = drawing(None)
    assert groups(svg, "slow") == []
    assert groups(svg, "node") == []
    boxes = [frame(box) for box in groups(svg, "stage")]
    assert boxes == sorted(boxes)
    assert len({y for _, y, *_ in boxes}) == 1


def test_nodes_are_named_and_their_branches_say_when_they_are_taken() -> None:
    svg = drawing(READING)
    names = [texts(node)[0].strip() for node in groups(svg, "node")]
    assert names == ["Switch", "Sequence careful", "Ensemble readers"]
    said = texts(svg)
    assert {"25 %", "75 %", "parameters.careful", "otherwise", "\u00d72.5"} <= set(said)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_nests_is_inside_and_nothing_lies_on_another(seed: int) -> None:
    names = tuple(f"s{i}" for i in range(9))
    graph = random_graph(random.Random(seed), names)
    svg = drawing(graph, names)
    boxes = [frame(box) for box in groups(svg, "stage")]
    frames = [frame(node) for node in groups(svg, "node")]
    framed = [n for place, n in nodes_of(graph) if place or n.kind is not NodeKind.SEQUENCE]
    kinds = Counter(texts(node)[0].split()[0] for node in groups(svg, "node"))
    assert Counter(texts(box)[0] for box in groups(svg, "stage")) == Counter(names)
    assert kinds == Counter(str(n.kind) for n in framed)
    for i, one in enumerate(boxes + frames):
        for other in (boxes + frames)[:i]:
            assert is_apart(one, other) or is_inside(one, other) or is_inside(other, one)
    for box, other in ((a, b) for a in boxes for b in boxes if a is not b):
        assert is_apart(box, other)
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    assert all(is_inside(one, (0, 0, width, height)) for one in boxes + frames)


def is_apart(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def is_inside(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] >= b[0] and a[1] >= b[1] and a[2] <= b[2] and a[3] <= b[3]


def test_names_are_text_and_long_ones_are_whole_in_their_tooltip() -> None:
    asked, chosen = of(None, ("locate", "classify"))
    odd = replace(chosen, stages=(option("locate", ODD), option("classify", "v" * 63)))
    text = draw_flow(odd, asked)
    assert "<script" not in text
    tips = [title.text for title in ET.fromstring(text).iter("title")]
    assert tips == [ODD, "v" * 63]


def test_more_stages_than_a_drawing_has_room_for_are_left_to_the_table() -> None:
    names = tuple(f"s{i}" for i in range(flow.MOST_STAGES + 1))
    asked, chosen = of(None, names)
    assert draw_flow(chosen, asked) == ""
