"""A plan's promises, recomputed from the profiles in plain arithmetic.

Neither a solver nor the options that ``problem`` builds are asked, so that a mistake in either of
them shows. Production uses this before every apply, the tests as a second oracle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optimizer.accuracy import stage_accuracies
from optimizer.latency import find_point, max_wait_s, stage_capacity_rps, stage_latency_s
from optimizer.options import TOLERANCE, exceeds, falls_short
from optimizer.tail import PADDING, Visit, flow_of, padded_quantile_s
from optimizer.verify_change import band_faults, hourly, moving_cost
from optimizer.verify_graph import correct, product_of, slowest, visit_ratios
from penstock.domain import AccuracyMode, LatencyModel, Promise
from penstock.errors import DomainError, ProfileError

if TYPE_CHECKING:
    from optimizer.switching import Running
    from penstock.domain import (
        Node,
        Option,
        Pipeline,
        Plan,
        ProfilePoint,
        ProfileTable,
        Stage,
        Variant,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Priced:
    """What an option is worth at a load, recomputed."""

    latency_s: float
    capacity_rps: float
    accuracy: float
    max_wait_s: float
    cost_per_hour: float


def evaluate(plan: Plan, pipeline: Pipeline, table: ProfileTable, load_rps: float) -> Promise:
    """Return what a plan promises at another load: the running plan re-priced for the present.

    The latency is infinite when the replicas cannot carry the load.

    Raises:
        DomainError: the plan has stages, variants or batch sizes that the pipeline does not have.
        ProfileError: a profile or a joint accuracy is missing.
    """
    faults = [*_structure_faults(plan, pipeline)]
    if faults:
        raise DomainError(
            "\n".join(
                [f"the plan does not fit pipeline {pipeline.name!r}", *map("  {}".format, faults)]
            )
        )
    missing = [*_profile_faults(plan, table)]
    if missing:
        raise ProfileError("\n".join(["the plan cannot be priced", *map("  {}".format, missing)]))
    priced = _priced(plan, pipeline, table, load_rps)
    accuracies = [p.accuracy for p in priced]
    variants = {o.stage: o.variant for o in plan.stages}
    joint = table.joint_accuracy.get(plan.variants)
    accuracy = _accuracy(accuracies, joint, plan=plan, pipeline=pipeline, table=table)
    cost_per_hour = None if pipeline.prices is None else math.fsum(p.cost_per_hour for p in priced)
    cost_cores = math.fsum(o.cpu_cores * o.replicas for o in plan.stages)
    weights = pipeline.objective
    model = pipeline.slo.latency_model
    return Promise(
        latency_s=_latency_s(plan, priced, pipeline, table, load_rps),
        capacity_rps=min(p.capacity_rps for p in priced),
        cost_cores=cost_cores,
        accuracy=accuracy,
        accuracy_product=product_of(accuracies, pipeline, variants),
        accuracy_joint=joint,
        objective=weights.accuracy_weight * accuracy
        - weights.cost_weight * (cost_cores if cost_per_hour is None else cost_per_hour)
        - weights.batch_weight * sum(o.batch_size for o in plan.stages),
        latency_model=model.value,
        cost_per_hour=cost_per_hour,
        latency_padding=PADDING if model is LatencyModel.CONVOLUTION else 0.0,
    )


def _latency_s(
    plan: Plan,
    priced: tuple[_Priced, ...],
    pipeline: Pipeline,
    table: ProfileTable,
    load_rps: float,
) -> float:
    if pipeline.slo.latency_model is LatencyModel.SUM:
        if pipeline.graph is None:
            return math.fsum(p.latency_s for p in priced)
        latencies_s = {o.stage: p.latency_s for o, p in zip(plan.stages, priced, strict=True)}
        return slowest(pipeline.graph, latencies_s)
    ratios = visit_ratios(pipeline)
    visits = {}
    for option, stage in zip(plan.stages, pipeline.stages, strict=True):
        point = _point(option, table)
        assert point is not None, "the caller has looked for missing profiles"
        rate_rps = load_rps * ratios[stage.name]
        visits[stage.name] = Visit(point=point, replicas=option.replicas, rate_rps=rate_rps)
    return padded_quantile_s(
        flow_of(pipeline.shape, visits),
        quantile=pipeline.slo.quantile,
        slo_s=pipeline.slo.latency_s,
    )


def verify(
    plan: Plan,
    pipeline: Pipeline,
    table: ProfileTable,
    load_rps: float | None = None,
    *,
    running: Running | None = None,
) -> tuple[str, ...]:
    """Return every promise and limit that a plan breaks, by its path in the plan; none is well.

    The promised numbers are recomputed at the plan's own load. The limits (the SLO, the cores, the
    load with the headroom of ``pipeline.adaptation``) are checked at ``load_rps``, by default the
    same. ``running`` is what the plan was made to move from.
    """
    faults = [*_structure_faults(plan, pipeline)] or [*_profile_faults(plan, table)]
    mode = pipeline.objective.mode
    if not faults and mode is AccuracyMode.JOINT and plan.variants not in table.joint_accuracy:
        faults = [f"promise.accuracy: no joint accuracy of {'+'.join(plan.variants)} is known"]
    if faults:
        return tuple(faults)
    load = plan.load_rps if load_rps is None else load_rps
    moving = moving_cost(plan, pipeline, table, running)
    return (
        *_option_faults(plan, pipeline, table),
        *_promise_faults(plan, evaluate(plan, pipeline, table, plan.load_rps)),
        *_number_fault("promise.switch_cost", plan.promise.switch_cost, moving),
        *_limit_faults(evaluate(plan, pipeline, table, load), pipeline, load),
        *band_faults(plan, pipeline),
    )


def _structure_faults(plan: Plan, pipeline: Pipeline) -> Iterator[str]:
    """Yield what makes the plan one of another pipeline."""
    if plan.pipeline != pipeline.name:
        yield f"pipeline: is {plan.pipeline!r}, should be {pipeline.name!r}"
    planned = [o.stage for o in plan.stages]
    specified = [s.name for s in pipeline.stages]
    if planned != specified:
        yield f"stages: are {', '.join(planned)}; should be {', '.join(specified)}"
        return
    for i, (option, stage) in enumerate(zip(plan.stages, pipeline.stages, strict=True)):
        variant = next((v for v in stage.variants if v.name == option.variant), None)
        if variant is None:
            yield f"stages[{i}].variant: stage {stage.name!r} has no variant {option.variant!r}"
        else:
            for fault in _choice_faults(option, stage, variant):
                yield f"stages[{i}].{fault}"


def _choice_faults(option: Option, stage: Stage, variant: Variant) -> Iterator[str]:
    if option.batch_size not in variant.batch_sizes:
        allowed = ", ".join(map(str, variant.batch_sizes))
        yield f"batch_size: is {option.batch_size}, variant {variant.name!r} allows {allowed}"
    if not any(
        math.isclose(option.cpu_cores, cores, rel_tol=1e-9) for cores in variant.cpu_allocations
    ):
        allowed = ", ".join(f"{cores:g}" for cores in variant.cpu_allocations)
        yield f"cpu_cores: is {option.cpu_cores:g}, variant {variant.name!r} has {allowed}"
    if not stage.min_replicas <= option.replicas <= stage.max_replicas:
        yield (
            f"replicas: is {option.replicas}, stage {stage.name!r} allows "
            f"{stage.min_replicas} to {stage.max_replicas}"
        )


def _profile_faults(plan: Plan, table: ProfileTable) -> Iterator[str]:
    for i, option in enumerate(plan.stages):
        if _point(option, table) is None:
            yield (
                f"stages[{i}]: {option.stage}/{option.variant} is not profiled at batch size "
                f"{option.batch_size} on {option.cpu_cores:g} cores"
            )


def _point(option: Option, table: ProfileTable) -> ProfilePoint | None:
    profile = table.find(option.stage, option.variant)
    if profile is None:
        return None
    return find_point(profile, batch_size=option.batch_size, cpu_cores=option.cpu_cores)


def _priced(
    plan: Plan, pipeline: Pipeline, table: ProfileTable, load_rps: float
) -> tuple[_Priced, ...]:
    ratios = visit_ratios(pipeline)
    return tuple(
        _price(
            option,
            replace(stage, visit_ratio=ratios[stage.name]),
            table,
            load_rps=load_rps,
            pipeline=pipeline,
        )
        for option, stage in zip(plan.stages, pipeline.stages, strict=True)
    )


def _price(
    option: Option,
    stage: Stage,
    table: ProfileTable,
    *,
    load_rps: float,
    pipeline: Pipeline,
) -> _Priced:
    profile, point = table.find(option.stage, option.variant), _point(option, table)
    assert profile is not None
    assert point is not None, "the caller has looked for missing profiles"
    declared = stage.variant(option.variant).accuracy
    return _Priced(
        latency_s=stage_latency_s(
            point,
            load_rps=load_rps,
            visit_ratio=stage.visit_ratio,
            replicas=option.replicas,
            quantile=pipeline.slo.quantile,
        ),
        capacity_rps=stage_capacity_rps(
            point, replicas=option.replicas, visit_ratio=stage.visit_ratio
        ),
        accuracy=profile.accuracy if declared is None else declared,
        max_wait_s=max_wait_s(point),
        cost_per_hour=hourly(option, stage, pipeline.prices, replicas=option.replicas),
    )


def _accuracy(
    accuracies: list[float],
    joint: float | None,
    *,
    plan: Plan,
    pipeline: Pipeline,
    table: ProfileTable,
) -> float:
    mode = pipeline.objective.mode
    if pipeline.graph is not None and mode is not AccuracyMode.JOINT:
        return _over_graph(accuracies, pipeline.graph, plan=plan, pipeline=pipeline, table=table)
    match mode:
        case AccuracyMode.RANKS:
            return math.fsum(
                _rank(stage_accuracies(stage, table), option.variant)
                for stage, option in zip(pipeline.stages, plan.stages, strict=True)
            )
        case AccuracyMode.PRODUCT:
            return math.prod(accuracies)
        case AccuracyMode.SUM:
            return math.fsum(accuracies)
        case AccuracyMode.MEAN:
            return math.fsum(accuracies) / len(accuracies)
        case AccuracyMode.JOINT:
            if joint is None:
                raise ProfileError(
                    f"no joint accuracy of {'+'.join(plan.variants)} is known; "
                    "`penstock profile` measures it where the pipeline is a Sequence"
                )
            return joint


def _over_graph(
    accuracies: list[float], graph: Node, *, plan: Plan, pipeline: Pipeline, table: ProfileTable
) -> float:
    mode, variants = pipeline.objective.mode, {o.stage: o.variant for o in plan.stages}
    scores = dict(zip(variants, accuracies, strict=True))
    if mode is AccuracyMode.RANKS:
        scores = {
            stage.name: _rank(stage_accuracies(stage, table), variants[stage.name])
            for stage in pipeline.stages
        }
    return correct(graph, scores, variants, mode)


def _rank(accuracies: dict[str, float], variant: str) -> float:
    if len(accuracies) == 1:
        return 1.0
    others = [a for name, a in accuracies.items() if name != variant]
    return sum(a <= accuracies[variant] for a in others) / len(others)


def _option_faults(plan: Plan, pipeline: Pipeline, table: ProfileTable) -> Iterator[str]:
    for i, (option, real) in enumerate(
        zip(plan.stages, _priced(plan, pipeline, table, plan.load_rps), strict=True)
    ):
        for name in ("latency_s", "capacity_rps", "accuracy", "max_wait_s", "cost_per_hour"):
            yield from _number_fault(
                f"stages[{i}].{name}", getattr(option, name), getattr(real, name)
            )


def _promise_faults(plan: Plan, real: Promise) -> Iterator[str]:
    promise = plan.promise
    for name in (
        "latency_s",
        "capacity_rps",
        "cost_cores",
        "accuracy",
        "accuracy_product",
        "accuracy_joint",
        "objective",
        "cost_per_hour",
        "latency_padding",
    ):
        yield from _number_fault(f"promise.{name}", getattr(promise, name), getattr(real, name))
    if promise.latency_model != real.latency_model:
        yield f"promise.latency_model: is {promise.latency_model!r}, not {real.latency_model!r}"


def _number_fault(path: str, promised: float | None, real: float | None) -> Iterator[str]:
    if promised is None or real is None:
        if promised is not real:
            yield f"{path}: promises {promised}, is {real}"
    elif not math.isclose(promised, real, rel_tol=TOLERANCE, abs_tol=1e-9):
        yield f"{path}: promises {promised:.6g}, is {real:.6g}"


def _limit_faults(real: Promise, pipeline: Pipeline, load_rps: float) -> Iterator[str]:
    slo_s = pipeline.slo.latency_s
    if exceeds(real.latency_s, slo_s):
        yield f"latency: {real.latency_s:.3g} s at {load_rps:g} req/s, the SLO is {slo_s:g} s"
    needed_rps = load_rps * (1 + pipeline.adaptation.headroom)
    if exceeds(needed_rps, real.capacity_rps):
        yield (
            f"capacity: {real.capacity_rps:.4g} req/s, {load_rps:g} req/s with a headroom of "
            f"{pipeline.adaptation.headroom:g} need {needed_rps:.4g}"
        )
    if pipeline.max_cores is not None and exceeds(real.cost_cores, pipeline.max_cores):
        yield f"cores: {real.cost_cores:g}, max_cores is {pipeline.max_cores:g}"
    budget = pipeline.max_cost_per_hour
    if budget is not None and exceeds(real.cost_per_hour or 0.0, budget):
        yield f"cost: {real.cost_per_hour:.2f} per hour, max_cost_per_hour is {budget:.2f}"
    floor = pipeline.objective.accuracy_floor
    if floor is not None and falls_short(real.accuracy, floor):
        yield f"accuracy: {real.accuracy:.6g}, accuracy_floor is {floor:g}"
