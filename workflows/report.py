"""The report: one HTML file that shows what the three runs did, and says openly what did not hold.

The page is self-contained: styles and charts are inside, nothing is fetched, no script runs.
Figures are computed from the recordings each time, so that the page can't disagree with them. What
is missing beside the recordings (profiles, a forecaster, a plan) is a sentence in its section.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from markupsafe import Markup

from components import pages
from components.pages.choice import Choice
from components.pages.next_step import binding, front_table, next_steps, used_table
from components.pages.page import make_environment
from components.steps.alternatives import alternatives
from optimizer import insight
from optimizer.forecast.card import ModelCard
from optimizer.solvers import make_solver
from penstock.domain import Pipeline, Plan, ProfileTable
from penstock.errors import PenstockError, ProfileError, SpecError
from penstock.plan_json import plan_from_json
from penstock.spec import read_pipeline
from profiles import table as profile_tables
from workflows.recorded import Recording
from workflows.recording import write_text
from workflows.series import used_plans
from workflows.summary import (
    ADAPTIVE,
    HEAVIEST,
    LIGHTEST,
    Summary,
    machine_facts,
    percent,
    read_runs,
    read_summary,
    summarize_runs,
)

Value = TypeVar("Value")

TITLES = {
    "slo_attainment": "Answers in time",
    "no_request_lost": "Loses no request",
    "more_accurate_than_lightest": "More accurate than all-lightest",
    "cheaper_or_fewer_misses_than_heaviest": "Cheaper, or fewer misses, than all-heaviest",
}
"""What the checks are called on the page."""

DOCUMENT = "pipeline.yaml"
"""The pipeline document as it was when the runs were recorded, beside them."""

MACHINE_FIRST = ("processor", "cores", "memory_gib", "system", "python")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something that may be there beside the recordings, or why it is not shown."""

    value: Any = None
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """All that the page is made of.

    ``document`` is the pipeline. ``choices`` are the plan among what else could be had, and the
    plan for the highest load of the adaptive run likewise.
    """

    recordings: Mapping[str, Recording]
    summary: Summary
    profiles: Part
    forecaster: Part
    plan: Part
    document: Part
    choices: Part
    ladders: Mapping[str, tuple[str, ...]]


def build_report(example_dir: Path, *, pipeline: Pipeline | None = None) -> Path:
    """Write ``report.html`` of an example's runs, whole or not at all, and return its path.

    ``pipeline`` stands in for the document of runs that were recorded without theirs.

    Raises:
        UserError: there is no adaptive run, or the folder can't be written.
        SpecError: recordings have faults; all of them, with their files and lines.
    """
    material = gather(example_dir, pipeline=pipeline)
    page = render(material, charts=draw(material))
    path = example_dir / "report.html"
    write_text(path, page)
    return path


def gather(example_dir: Path, *, pipeline: Pipeline | None = None) -> Material:
    """Read all that the page is made of, and solve for what could be had instead of the plan.

    Raises:
        UserError: there is no adaptive run.
        SpecError: recordings have faults; all of them, with their files and lines.
    """
    recordings = read_runs(example_dir)
    profiles = _part(example_dir / "profiles" / "profiles.json", profile_tables.load)
    if profiles.value is not None and not profiles.value.profiles:
        profiles = Part(missing="The profile table is empty.")
    plan = _part(example_dir / "plan.json", _read_plan)
    document = _document(example_dir / "runs" / DOCUMENT, pipeline)
    return Material(
        recordings=recordings,
        summary=summarize_runs(recordings, example=example_dir.name, machine=_machine(example_dir)),
        profiles=profiles,
        forecaster=_part(
            example_dir / "forecaster" / "forecaster.json", lambda path: ModelCard.read(path.parent)
        ),
        plan=plan,
        document=document,
        choices=_choices(plan, document, profiles, recordings[ADAPTIVE]),
        ladders=_ladders(recordings, profiles.value, plan.value),
    )


def render(material: Material, *, charts: Mapping[str, Markup]) -> str:
    """Return the page around the charts that ``draw`` has made."""
    environment = make_environment(Path(__file__).parent, Path(pages.__file__).parent)
    environment.filters.update(percent=_percent, num=_number, ms=_milliseconds)
    summary = material.summary
    return environment.get_template("report.html.j2").render(
        summary=summary,
        adaptive=material.recordings[ADAPTIVE],
        ours=summary.runs[ADAPTIVE],
        lightest=summary.runs.get(LIGHTEST),
        heaviest=summary.runs.get(HEAVIEST),
        kept=sum(check.holds for check in summary.checks),
        titles=TITLES,
        ladders=material.ladders,
        rungs=_rungs(material.ladders),
        machine=_machine_rows(summary.machine),
        profiles=material.profiles,
        overstatements=_overstatements(material),
        forecaster=material.forecaster,
        plan=material.plan,
        choices=material.choices,
        shown=[_shown(choice) for choice in material.choices.value or ()],
        explained=_explained(material.choices),
        charts=charts,
    )


def draw(material: Material) -> dict[str, Markup]:
    """Return the page's charts as SVG; those of the profiles only if there are any."""
    from components.pages.charts import profile_curves  # matplotlib takes a second to import
    from workflows import charts

    drawn = {
        "story": charts.story(material.recordings[ADAPTIVE], material.ladders),
        "beside": charts.beside(material.recordings),
        "trade_off": charts.trade_off(material.summary.runs),
        "tail": charts.tail(material.recordings),
    }
    table: ProfileTable | None = material.profiles.value
    if table is not None:
        profiled = _profiled(table, material.ladders)
        drawn["profiles"] = profile_curves(table, profiled)
        drawn["ladder"] = charts.accuracy_ladder(table, profiled)
    drawn |= _drawings(material)
    return {name: Markup(svg) for name, svg in drawn.items()}


def _drawings(material: Material) -> dict[str, str]:
    """Draw the plan in its pipeline, and among what could be had, where both are known."""
    from components.pages.flow import draw_flow
    from components.pages.front import draw_front

    choices: tuple[Choice, ...] = material.choices.value or ()
    drawn = {
        f"front-{number}": draw_front(choice, material.document.value, name=f"front-{number}")
        for number, choice in enumerate(choices)
        if choice.front
    }
    if choices:
        drawn["flow"] = draw_flow(choices[0].plan, material.document.value)
    return drawn


def _choices(plan: Part, document: Part, profiles: Part, adaptive: Recording) -> Part:
    for part in (plan, document, profiles):
        if part.value is None:
            return Part(missing=part.missing)
    solver, used = make_solver("auto"), used_plans(adaptive)
    found = [tick.plan for tick in adaptive.ticks if tick.plan is not None]
    plans = [plan.value, *sorted(found, key=lambda p: p.load_rps)[-1:]]
    try:
        choices = [
            alternatives(one, document.value, profiles.value, solver=solver, used=used)
            for one in plans
        ]
    except PenstockError as err:
        return Part(missing=str(err))
    return Part(value=tuple(choices))


def _document(path: Path, pipeline: Pipeline | None) -> Part:
    """Take the document that was recorded with the runs, else the one that was given."""
    part = _part(path, read_pipeline)
    return part if pipeline is None or path.exists() else Part(value=pipeline)


def _shown(choice: Choice) -> dict[str, Any]:
    """Return what stands around a choice's chart."""
    return {
        "load_rps": choice.plan.load_rps,
        "has_front": bool(choice.front),
        "binding": binding(choice),
        "next": next_steps(choice),
        "front": front_table(choice),
        "used": used_table(choice),
    }


def _explained(part: Part) -> tuple[str, str]:
    """Return what explains the plan, and the options one by one; how long it took is left out."""
    choices: tuple[Choice, ...] = part.value or ()
    choice = choices[0] if choices else None
    if choice is None or choice.insight is None:
        return "", ""
    outcome = choice.insight.outcome
    solution = outcome.solution
    sure = f"{solution.status.value}, by {solution.solver}" if outcome.plan else outcome.explanation
    known = replace(choice.insight, outcome=replace(outcome, explanation=sure))
    first, *rest = insight.describe(known).partition("\nstage ")
    return first, "".join(rest).strip()


def _profiled(
    table: ProfileTable, ladders: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Leave the stages and variants that have a profile."""
    found = {
        stage: tuple(v for v in variants if table.find(stage, v) is not None)
        for stage, variants in ladders.items()
    }
    return {stage: variants for stage, variants in found.items() if variants}


def _overstatements(material: Material) -> Part:
    table: ProfileTable | None = material.profiles.value
    if table is None:
        return Part(missing=material.profiles.missing)
    if not table.joint_accuracy:
        return Part(missing="The profiles hold no accuracy measured for combinations of variants.")
    try:
        rows = profile_tables.overstatements(table, tuple(material.ladders))
    except ProfileError as err:
        return Part(missing=str(err))
    return Part(value={row.variants: row for row in rows})


def _ladders(
    recordings: Mapping[str, Recording], table: ProfileTable | None, plan: Plan | None
) -> dict[str, tuple[str, ...]]:
    """Find the stages in their order, and the variants of each from light to heavy.

    A variant's accuracy says where it stands; without one, the run that it was seen in does.
    """
    plans = [t.plan for r in recordings.values() for t in r.ticks if t.plan is not None]
    options = [option for p in [*plans, *([plan] if plan else [])] for option in p.stages]
    rank = {
        (stage, state.variant): {LIGHTEST: -1.0, HEAVIEST: 2.0}.get(name, 0.5)
        for name in sorted(recordings)
        for sample in recordings[name].timeline
        for stage, state in sample.stages.items()
    }
    rank |= {(o.stage, o.variant): o.accuracy for o in options}
    rank |= {(p.stage, p.variant): p.accuracy for p in (table.profiles if table else ())}
    seen = [o.stage for o in options] + [stage for stage, _ in rank]
    by_rank = sorted((value, stage, variant) for (stage, variant), value in rank.items())
    return {
        stage: tuple(variant for _, at, variant in by_rank if at == stage)
        for stage in dict.fromkeys(seen)
    }


def _rungs(ladders: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, str], int]:
    from components.pages.svg import rung

    return {
        (stage, variant): rung(position, len(variants))
        for stage, variants in ladders.items()
        for position, variant in enumerate(variants)
    }


def _part(path: Path, read: Callable[[Path], Value]) -> Part:
    if not path.exists():
        return Part(missing=f"There is no {path.parent.name}/{path.name} here.")
    try:
        return Part(value=read(path))
    except PenstockError as err:
        return Part(missing=f"{path.name} can't be shown: {err}")


def _read_plan(path: Path) -> Plan:
    try:
        return plan_from_json(path.read_text(encoding="utf-8"), source=str(path))
    except (OSError, UnicodeDecodeError) as err:
        raise SpecError(str(path), [f"can't be read: {err}"]) from err


def _machine(example_dir: Path) -> Mapping[str, str]:
    """Take the machine that wrote the summary; a report may be built elsewhere, later."""
    path = example_dir / "summary.json"
    return read_summary(path).machine if path.exists() else machine_facts()


def _machine_rows(machine: Mapping[str, str]) -> list[tuple[str, str]]:
    names = [n for n in MACHINE_FIRST if n in machine]
    names += sorted(set(machine) - set(MACHINE_FIRST))
    return [(name, machine[name]) for name in names]


def _percent(share: float | None) -> str:
    return "\u2013" if share is None else percent(share).replace(" ", "\u00a0")


def _number(value: float | None, digits: int = 2) -> str:
    return "\u2013" if value is None else f"{value:,.{digits}f}"


def _milliseconds(seconds: float | None) -> str:
    """Write a time as people say it: 4.2 ms, 187 ms, 1.39 s."""
    if seconds is None:
        return "\u2013"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{1000 * seconds:.{0 if seconds >= 0.1 else 1}f} ms"
