"""The pipeline document: YAML text to ``Pipeline`` and back.

Every fault is told with its path, all of them in one answer.

The document's shape is declared once, as pydantic models; they know types and bounds, the domain
knows what makes sense together. A user fixes a document in one round: faults of both kinds are
collected before anything is raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StringConstraints, ValidationError

from penstock.document import (
    API_VERSION,
    Document,
    Name,
    NotNegative,
    Positive,
    WholeDocument,
    load_mapping,
    read_text,
    shape_faults,
)
from penstock.domain import (
    AccuracyMode,
    Adaptation,
    Goal,
    LatencyModel,
    Mode,
    Objective,
    Pipeline,
    Prices,
    Slo,
    Stage,
    Variant,
)
from penstock.errors import DomainError, SpecError
from penstock.graph_document import GraphDocument, graph_document, graph_sense, to_graph

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]
Between = Annotated[float, Field(gt=0, lt=1, strict=True)]
Count = Annotated[int, Field(ge=1, le=100_000, strict=True)]


class _Metadata(Document):
    name: Name
    namespace: Name = "default"


class _Variant(Document):
    name: Name
    artifact: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    batch_sizes: Annotated[tuple[Count, ...], Field(min_length=1, max_length=64)] = (1,)
    cpu_cores: Positive = 1.0
    memory_mib: Count = 512
    accuracy: Share | None = None
    cpu_choices: Annotated[tuple[Positive, ...], Field(max_length=64)] = ()
    gpus: NotNegative = 0.0
    spot: bool = False


class _Stage(Document):
    name: Name
    task: str = ""
    min_replicas: Annotated[int, Field(ge=0, le=1000, strict=True)] = 1
    max_replicas: Annotated[int, Field(ge=1, le=1000, strict=True)] = 8
    visit_ratio: Positive = 1.0
    variants: Annotated[tuple[_Variant, ...], Field(min_length=1, max_length=200)]


class _Slo(Document):
    latency_s: Positive
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.99
    latency_model: LatencyModel = LatencyModel.SUM


class _Objective(Document):
    mode: AccuracyMode = AccuracyMode.PRODUCT
    accuracy_weight: NotNegative = 10.0
    cost_weight: NotNegative = 0.5
    batch_weight: NotNegative = 1e-6
    goal: Goal = Goal.WEIGHTED
    accuracy_floor: NotNegative | None = None
    accuracy_target: NotNegative | None = None


class _Adaptation(Document):
    mode: Mode = Mode.APPLY
    interval_s: Positive = 60.0
    step_s: Positive = 10.0
    window_steps: Count = 12
    horizon_steps: Count = 2
    forecast_quantile: Between = 0.9
    headroom: NotNegative = 0.1
    min_gain: NotNegative = 0.02
    cooldown_s: NotNegative = 60.0
    solve_s: NotNegative = 1.0
    start_s: NotNegative = 15.0
    rollout_s: NotNegative = 20.0
    drain_s: NotNegative = 10.0
    switch_weight: NotNegative = 1.0
    max_step: Annotated[int, Field(ge=0, le=200, strict=True)] | None = None
    band_quantiles: tuple[Between, Between] = (0.5, 0.99)
    history: Count = 50
    history_speedup: Positive = 1.0


class _Prices(Document):
    cpu_core_hour: NotNegative = 0.0
    memory_gib_hour: NotNegative = 0.0
    gpu_hour: NotNegative = 0.0
    spot_share: Share = 1.0


class _Spec(Document):
    slo: _Slo
    objective: _Objective = _Objective()
    adaptation: _Adaptation = _Adaptation()
    max_cores: Positive | None = None
    prices: _Prices | None = None
    max_cost_per_hour: Positive | None = None
    stages: Annotated[tuple[_Stage, ...], Field(min_length=1, max_length=200)]
    graph: GraphDocument | None = None


class _PipelineDocument(WholeDocument):
    kind: Literal["Pipeline"]
    metadata: _Metadata
    spec: _Spec


def read_pipeline(path: Path) -> Pipeline:
    """Read a pipeline from a YAML file.

    Raises:
        SpecError: the file can't be read or has faults; all of them are listed with their paths.
    """
    return parse_pipeline(read_text(path), source=str(path))


def parse_pipeline(text: str, *, source: str = "pipeline") -> Pipeline:
    """Parse YAML text into a pipeline.

    Raises:
        SpecError: with every fault found, each as ``spec.stages[1].variants[0].batch_sizes[2]:
        what is wrong``.
    """
    document = load_mapping(text, source=source)
    try:
        parsed = _PipelineDocument.model_validate(document)
    except ValidationError as err:
        raise SpecError(source, [*shape_faults(err), *_sense(document)]) from err
    faults = list(_sense(document))
    if faults:
        raise SpecError(source, faults)
    return _to_domain(parsed, source)


def format_pipeline(pipeline: Pipeline) -> str:
    """Write a pipeline as YAML text that ``parse_pipeline`` reads back to an equal value."""
    document = {
        "apiVersion": API_VERSION,
        "kind": "Pipeline",
        "metadata": {"name": pipeline.name, "namespace": pipeline.namespace},
        "spec": {
            "slo": _plain(_Slo, pipeline.slo),
            **_limits_document(pipeline),
            "objective": _without_none(_plain(_Objective, pipeline.objective)),
            "adaptation": _without_none(_plain(_Adaptation, pipeline.adaptation)),
            "stages": [_stage_document(s) for s in pipeline.stages],
            **({} if pipeline.graph is None else {"graph": graph_document(pipeline.graph)}),
        },
    }
    return yaml.safe_dump(document, sort_keys=False, width=100)


def _limits_document(pipeline: Pipeline) -> dict[str, Any]:
    prices = None if pipeline.prices is None else _plain(_Prices, pipeline.prices)
    return _without_none(
        {
            "max_cores": pipeline.max_cores,
            "prices": prices,
            "max_cost_per_hour": pipeline.max_cost_per_hour,
        }
    )


def _without_none(document: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in document.items() if v is not None}


def _stage_document(stage: Stage) -> dict[str, Any]:
    plain = _plain(_Stage, stage)
    plain["variants"] = [
        {k: v for k, v in _plain(_Variant, one).items() if v is not None and v != []}
        for one in stage.variants
    ]
    return plain


def _plain(model: type[Document], value: object) -> dict[str, Any]:
    """Read the model's fields off a domain value, as what YAML can say."""
    fields = {name: getattr(value, name) for name in model.model_fields}
    return {
        k: str(v) if isinstance(v, StrEnum) else list(v) if isinstance(v, tuple) else v
        for k, v in fields.items()
    }


def _to_domain(document: _PipelineDocument, source: str) -> Pipeline:
    spec = document.spec
    names = [stage.name for stage in spec.stages]
    try:
        return Pipeline(
            name=document.metadata.name,
            namespace=document.metadata.namespace,
            slo=Slo(**spec.slo.model_dump()),
            objective=Objective(**spec.objective.model_dump()),
            adaptation=Adaptation(**spec.adaptation.model_dump()),
            max_cores=spec.max_cores,
            prices=None if spec.prices is None else Prices(**spec.prices.model_dump()),
            max_cost_per_hour=spec.max_cost_per_hour,
            stages=tuple(
                Stage(
                    **stage.model_dump(exclude={"variants"}),
                    variants=tuple(Variant(**v.model_dump()) for v in stage.variants),
                )
                for stage in spec.stages
            ),
            graph=None if spec.graph is None else to_graph(spec.graph, names),
        )
    except DomainError as err:  # a rule of the domain that _sense does not know yet
        raise SpecError(source, [str(err)]) from err


def _sense(document: Mapping[str, Any]) -> list[str]:
    """Find what is wrong between fields, on the raw document: told beside faults within fields."""
    spec = document.get("spec")
    stages = spec.get("stages") if isinstance(spec, Mapping) else None
    if not isinstance(stages, list):
        return []
    faults = list(_repeats("spec.stages", stages))
    for i, stage in enumerate(stages):
        if not isinstance(stage, Mapping):
            continue
        path = f"spec.stages[{i}]"
        low, high = stage.get("min_replicas", 1), stage.get("max_replicas", 8)
        if isinstance(low, int) and isinstance(high, int) and low > high >= 1:
            faults.append(f"{path}.min_replicas: must be at most max_replicas ({high}), got {low}")
        variants = stage.get("variants")
        if isinstance(variants, list):
            faults.extend(_repeats(f"{path}.variants", variants))
            faults.extend(_unsorted_batches(path, variants))
    if isinstance(spec, Mapping) and spec.get("graph") is not None:
        faults.extend(_graph_faults(spec, stages))
    return faults


def _graph_faults(spec: Mapping[str, Any], stages: list[Any]) -> Iterator[str]:
    """Yield what is wrong with the graph, unless a stage has no name that it could go by."""
    if all(isinstance(s, Mapping) and isinstance(s.get("name"), str) for s in stages):
        objective = spec.get("objective")
        mode = objective.get("mode") if isinstance(objective, Mapping) else None
        variants = {s["name"]: list(_names(s.get("variants"))) for s in stages}
        yield from graph_sense(spec["graph"], variants, mode=mode)


def _names(entries: object) -> Iterator[str]:
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
            yield entry["name"]


def _repeats(path: str, entries: list[Any]) -> Iterator[str]:
    first: dict[str, int] = {}
    for i, entry in enumerate(entries):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if not isinstance(name, str):
            continue
        if name in first:
            yield f"{path}[{i}].name: {name!r} is already the name of {path}[{first[name]}]"
        first.setdefault(name, i)


def _unsorted_batches(path: str, variants: list[Any]) -> Iterator[str]:
    for i, variant in enumerate(variants):
        sizes = variant.get("batch_sizes") if isinstance(variant, Mapping) else None
        if not isinstance(sizes, list) or not all(isinstance(b, int) for b in sizes):
            continue
        if sorted(set(sizes)) != sizes:
            yield f"{path}.variants[{i}].batch_sizes: must rise without repeats, got {sizes}"
