"""One-line makers of domain values; every field can be overridden."""

from __future__ import annotations

from typing import Any

from penstock.domain import (
    Option,
    Pipeline,
    Plan,
    Profile,
    ProfilePoint,
    ProfileTable,
    Promise,
    Slo,
    Stage,
    Variant,
)


def variant(name: str = "small", **fields: Any) -> Variant:
    return Variant(
        **{"name": name, "artifact": f"models/{name}", "batch_sizes": (1, 2, 4), **fields}
    )


def stage(name: str = "locate", **fields: Any) -> Stage:
    return Stage(**{"name": name, "variants": (variant("small"), variant("large")), **fields})


def pipeline(name: str = "digits", **fields: Any) -> Pipeline:
    stages = (stage("locate"), stage("classify"))
    return Pipeline(**{"name": name, "stages": stages, "slo": Slo(latency_s=0.5), **fields})


def point(batch_size: int = 1, latency_s: float = 0.01, **fields: Any) -> ProfilePoint:
    """A point whose quantiles all equal ``latency_s`` and whose throughput is the batch over it."""
    known = {
        "batch_size": batch_size,
        "cpu_cores": 1.0,
        "latency_s": {0.5: latency_s, 0.99: latency_s},
        "throughput_rps": batch_size / latency_s,
    }
    return ProfilePoint(**{**known, **fields})


def profile(stage: str = "locate", variant: str = "small", **fields: Any) -> Profile:
    points = tuple(point(b, 0.005 + 0.005 * b) for b in (1, 2, 4))
    return Profile(
        **{"stage": stage, "variant": variant, "points": points, "accuracy": 0.8, **fields}
    )


def profile_table(of: Pipeline | None = None, **fields: Any) -> ProfileTable:
    """Profiles for every variant: each next one is 5 points better and twice as slow."""
    profiles = tuple(
        profile(
            s.name,
            v.name,
            accuracy=min(1.0, 0.8 + 0.05 * rank),
            points=tuple(
                point(b, (0.005 + 0.005 * b) * 2**rank, cpu_cores=v.cpu_cores)
                for b in v.batch_sizes
            ),
        )
        for s in (of or pipeline()).stages
        for rank, v in enumerate(s.variants)
    )
    return ProfileTable(**{"profiles": profiles, **fields})


def option(stage: str = "locate", variant: str = "small", **fields: Any) -> Option:
    known = {
        "stage": stage,
        "variant": variant,
        "batch_size": 1,
        "cpu_cores": 1.0,
        "replicas": 1,
        "latency_s": 0.01,
        "capacity_rps": 100.0,
        "accuracy": 0.8,
    }
    return Option(**{**known, **fields})


def promise(**fields: Any) -> Promise:
    known = {
        "latency_s": 0.02,
        "capacity_rps": 100.0,
        "cost_cores": 2.0,
        "accuracy": 0.64,
        "accuracy_product": 0.64,
        "accuracy_joint": None,
        "objective": 5.4,
    }
    return Promise(**{**known, **fields})


def plan(**fields: Any) -> Plan:
    stages = (option("locate"), option("classify"))
    return Plan(
        **{"pipeline": "digits", "load_rps": 10.0, "stages": stages, "promise": promise(), **fields}
    )
