"""Why no plan exists, and what comes nearest: values in, words and numbers out, no solver.

Whether *any* choice keeps the limits needs no objective: stage by stage, only the ways to be faster
or cheaper than every other way are carried along (label setting), which is exact and takes
milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optimizer.options import StageOptions, exceeds
from optimizer.problem import Problem, build_problem
from optimizer.solvers.auto import AutoSolver

if TYPE_CHECKING:
    from penstock.domain import Option, Pipeline, ProfileTable

_BOUNDLESS_S = 1e9
_PATIENCE_S = 10.0
_MORE_REPLICAS = 8
_GRAIN = 1e-4
_LOAD_GRAIN = 0.005


@dataclass(frozen=True, slots=True)
class _Label:
    """A way through the first stages: the latency on the path so far, the cores, the options."""

    latency_s: float
    cores: float
    choices: tuple[int, ...]


def fastest(problem: Problem) -> tuple[int, ...]:
    """Return the choice whose slowest path is fastest within ``max_cores``; () when there is none.

    The SLO plays no part, except that the problem's options each keep it. With several paths and a
    limit the latency is the lowest to one part in 10,000.
    """
    if len(problem.paths) > 1:
        return _fastest_side_by_side(problem)
    (path,), limit = problem.paths, problem.max_cores
    labels = [_Label(0.0, 0.0, ())]
    for s, stage in enumerate(problem.stages):
        longer = (
            _extended(label, o, option, on_path=s in path, counts_cores=limit is not None)
            for label in labels
            for o, option in enumerate(stage.options)
        )
        labels = _undominated(k for k in longer if limit is None or not exceeds(k.cores, limit))
    return min(labels, key=lambda k: k.latency_s).choices if labels else ()


def is_feasible(problem: Problem, *, patience_s: float = _PATIENCE_S) -> bool:
    """Whether some choice keeps every limit; not, if none is found within the patience [s]."""
    has_label_form = len(problem.paths) == 1 and problem.max_cost_per_hour is None
    if problem.objective.accuracy_floor is None and has_label_form:
        choices = fastest(problem)
        return bool(choices) and problem.is_feasible(problem.chosen(choices))
    return bool(_any_choice(problem, patience_s))


def _any_choice(problem: Problem, patience_s: float = _PATIENCE_S) -> tuple[int, ...]:
    """Return a choice that keeps every limit; () when none was found."""
    nothing = replace(problem.objective, accuracy_weight=0.0, cost_weight=0.0, batch_weight=0.0)
    asked = replace(problem, objective=nothing)
    return AutoSolver().solve(asked, time_limit_s=patience_s).choices


def _fastest_side_by_side(problem: Problem) -> tuple[int, ...]:
    """Return the fastest choice over several paths: by halving the latency that is asked for."""
    if any(not stage.options for stage in problem.stages):
        return ()
    free = replace(
        problem,
        objective=replace(problem.objective, accuracy_floor=None),
        max_cost_per_hour=None,
    )
    alone = tuple(
        min(range(len(s.options)), key=lambda o: s.options[o].latency_s) for s in problem.stages
    )
    low_s = problem.latency_s(problem.chosen(alone))
    if problem.max_cores is None or free.cost_cores(free.chosen(alone)) <= problem.max_cores:
        return alone
    best = _any_choice(replace(free, slo=replace(free.slo, latency_s=_BOUNDLESS_S)))
    while best and (high_s := problem.latency_s(problem.chosen(best))) > low_s * (1 + _GRAIN):
        middle_s = (low_s + high_s) / 2
        faster = _any_choice(replace(free, slo=replace(free.slo, latency_s=middle_s)))
        best, low_s = (faster, low_s) if faster else (best, middle_s)
    return best


def without_slo(pipeline: Pipeline) -> Pipeline:
    """Return the pipeline with a latency objective that everything keeps."""
    return replace(pipeline, slo=replace(pipeline.slo, latency_s=_BOUNDLESS_S))


def highest_load_rps(pipeline: Pipeline, table: ProfileTable, load_rps: float) -> float | None:
    """Return the highest load [req/s] below ``load_rps`` that a plan can serve, to 0.5 %.

    ``None`` when there is no plan even without load. Found by bisection.
    """
    if not is_feasible(build_problem(pipeline, table, 0.0)):
        return None
    low, high = 0.0, load_rps
    while high - low > _LOAD_GRAIN * high:
        middle = (low + high) / 2
        if is_feasible(build_problem(pipeline, table, middle)):
            low = middle
        else:
            high = middle
        if high < 1e-6:
            break
    return low


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The limits that keep a load from being served, by path in the spec.

    With ``together`` all of them have to give way, without it each one is enough alone.
    """

    paths: tuple[str, ...]
    together: bool = False


def binding_limits(pipeline: Pipeline, table: ProfileTable, load_rps: float) -> Binding:
    """Return the limits of an infeasible pipeline that would have to give way.

    A limit gives way when the SLO or ``max_cores`` goes, or a stage may have eight times the
    replicas. When none is enough alone, a set is returned from which none can be left out; when not
    even all are enough, all.
    """
    limits = limits_of(pipeline)

    def helps(paths: Sequence[str]) -> bool:
        return is_feasible(build_problem(relaxed(pipeline, paths), table, load_rps))

    alone = tuple(path for path in limits if helps([path]))
    if alone:
        return Binding(paths=alone)
    needed = limits
    for path in limits if helps(limits) else ():
        fewer = tuple(p for p in needed if p != path)
        needed = fewer if helps(fewer) else needed
    return Binding(paths=needed, together=True)


def explanation(
    pipeline: Pipeline,
    table: ProfileTable,
    load_rps: float,
    *,
    binding: Binding,
    served_rps: float | None,
) -> str:
    """Return one sentence: what was asked, what comes nearest, what to raise.

    ``served_rps`` is the highest load that can be served, ``None`` when there is none.
    """
    asked = f"no plan serves {load_rps:g} req/s within {_seconds(pipeline.slo.latency_s)}"
    if pipeline.max_cores is not None:
        asked += f" and {pipeline.max_cores:g} cores"
    if pipeline.max_cost_per_hour is not None:
        asked += f" and {pipeline.max_cost_per_hour:.2f} per hour"
    if pipeline.objective.accuracy_floor is not None:
        asked += f" with an accuracy of {pipeline.objective.accuracy_floor:g}"
    joint = " and " if binding.together else " or "
    advice = "raise " + joint.join(_advice(path, pipeline) for path in binding.paths)
    if served_rps:
        advice = f"{_rate(served_rps)} could be served; {advice}"
    problem = build_problem(without_slo(pipeline), table, load_rps)
    choices = fastest(problem)
    if not choices:
        return f"{asked}; {_out_of_reach(problem)}; {advice}"
    chosen = problem.chosen(choices)
    slowest = max(chosen, key=lambda o: o.latency_s)
    return (
        f"{asked}; the nearest takes {_seconds(problem.latency_s(chosen))} "
        f"(stage {slowest.stage!r} alone {_seconds(slowest.latency_s)}); {advice}"
    )


def _extended(
    label: _Label, index: int, option: Option, *, on_path: bool, counts_cores: bool
) -> _Label:
    return _Label(
        latency_s=label.latency_s + option.latency_s * on_path,
        cores=label.cores + option.cost_cores if counts_cores else 0.0,
        choices=(*label.choices, index),
    )


def _undominated(labels: Iterable[_Label]) -> list[_Label]:
    kept: list[_Label] = []
    for label in sorted(labels, key=lambda k: (k.cores, k.latency_s)):
        # The one kept last has the most cores so far and so the lowest latency.
        if not kept or label.latency_s < kept[-1].latency_s:
            kept.append(label)
    return kept


def limits_of(pipeline: Pipeline) -> tuple[str, ...]:
    """Return the limits that a pipeline sets, by path in the spec."""
    given = {
        "objective.accuracy_floor": pipeline.objective.accuracy_floor,
        "max_cost_per_hour": pipeline.max_cost_per_hour,
        "max_cores": pipeline.max_cores,
    }
    replicas = (f"stages[{i}].max_replicas" for i in range(len(pipeline.stages)))
    return ("slo.latency_s", *(path for path, limit in given.items() if limit), *replicas)


def relaxed(pipeline: Pipeline, paths: Sequence[str]) -> Pipeline:
    """Return the pipeline without some limits; a stage may then have eight times the replicas."""
    eased = without_slo(pipeline) if "slo.latency_s" in paths else pipeline
    stages = tuple(
        replace(stage, max_replicas=stage.max_replicas * _MORE_REPLICAS)
        if f"stages[{i}].max_replicas" in paths
        else stage
        for i, stage in enumerate(pipeline.stages)
    )
    objective = pipeline.objective
    if "objective.accuracy_floor" in paths:
        objective = replace(objective, accuracy_floor=None)
    budget = None if "max_cost_per_hour" in paths else pipeline.max_cost_per_hour
    max_cores = None if "max_cores" in paths else pipeline.max_cores
    return replace(
        eased, stages=stages, objective=objective, max_cores=max_cores, max_cost_per_hour=budget
    )


def _advice(path: str, pipeline: Pipeline) -> str:
    if path == "slo.latency_s":
        return f"the SLO above {_seconds(pipeline.slo.latency_s)}"
    if path == "max_cores":
        return f"max_cores above {pipeline.max_cores:g}"
    if path == "max_cost_per_hour":
        return f"max_cost_per_hour above {pipeline.max_cost_per_hour:g}"
    if path == "objective.accuracy_floor":
        floor = pipeline.objective.accuracy_floor
        return f"the accuracy of the variants, or lower accuracy_floor below {floor:g}"
    stage = pipeline.stages[int(path.removeprefix("stages[").split("]")[0])]
    return f"max_replicas of stage {stage.name!r} above {stage.max_replicas}"


def _out_of_reach(problem: Problem) -> str:
    """Say what no latency could cure: stages that cannot carry the load, or too few cores."""
    without = [stage for stage in problem.stages if not stage.options]
    if without:
        return "; ".join(_easiest_drop(stage) for stage in without)
    fewest = sum(min(o.cost_cores for o in stage.options) for stage in problem.stages)
    return f"the load alone needs {fewest:g} cores"


def _easiest_drop(stage: StageOptions) -> str:
    nearest = min(stage.dropped, key=lambda d: d.replicas)
    return (
        f"stage {stage.stage!r} cannot carry it: {nearest.variant} at batch size "
        f"{nearest.batch_size} {nearest.reason}"
    )


def _rate(value: float) -> str:
    return f"{value:.0f} req/s" if value >= 100 else f"{value:.3g} req/s"


def _seconds(value: float) -> str:
    return f"{value:.3g} s"
