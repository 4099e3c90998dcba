"""What a run of the bootstrap pipeline may set, and what is fixed when it is compiled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from components.image import PREDICTOR_IMAGE
from penstock.errors import DomainError
from penstock.settings import VARIABLES, Settings, pod_environment

STORE_SECRET = "penstock-store"
"""The Secret that KServe's storage initializer reads as well."""
_OF_THE_RUN = {VARIABLES[name] for name in ("image", "predictor_image", "store", "solver")}
_OF_THE_STORE = ("PENSTOCK_S3_ENDPOINT", "PENSTOCK_S3_SECURE", "PENSTOCK_S3_REGION")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """One run's parameters, under the names that the compiled pipeline has for them.

    ``trainer`` is a module's dotted name; ``store`` a folder or ``s3://bucket/prefix``; ``shared``
    the folder of public data sets, empty for the project's own generators; ``load_rps`` the load to
    plan for; ``image`` the predictors'. With ``apply`` the plan is not only rendered: ``cluster``
    is made to run it.
    """

    trainer: str = ""
    store: str = "s3://penstock"
    shared: str = ""
    load_rps: float = 10.0
    solver: str = "auto"
    image: str = PREDICTOR_IMAGE
    apply: bool = False
    cluster: str = "kubernetes"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.load_rps) and self.load_rps >= 0):
            raise DomainError(f"load_rps must be finite and at least 0, got {self.load_rps}")

    @classmethod
    def of(cls, settings: Settings, *, trainer: str = "", **given: Any) -> Parameters:
        """Return what the settings say; ``given`` goes before them."""
        known = {
            "store": settings.store,
            "solver": settings.solver,
            "image": settings.predictor_image,
        }
        return cls(trainer=trainer, **{k: v for k, v in {**known, **given}.items() if v != ""})

    def arguments(self) -> dict[str, str | float | bool]:
        """Return the parameters as the arguments of the pipeline."""
        return {**asdict(self), "load_rps": float(self.load_rps)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What is fixed when the pipeline is compiled, because Kubeflow has no parameter for it.

    ``parallel_profiles`` variants are measured at once: more than one is for clusters, where every
    step has its own CPU. ``store_secret`` names the Secret with the keys of an ``s3://`` store;
    ``environment`` is given to the steps that render and apply, ``store_environment`` to those that
    reach the store. Neither holds a secret.
    """

    parallel_profiles: int = 1
    store_secret: str = STORE_SECRET
    environment: Mapping[str, str] = field(default_factory=dict)
    store_environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.parallel_profiles < 1:
            raise DomainError(f"parallel_profiles must be at least 1, got {self.parallel_profiles}")
        for name in ("environment", "store_environment"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @classmethod
    def of(
        cls, settings: Settings, environment: Mapping[str, str], *, parallel_profiles: int = 1
    ) -> Build:
        """Return what the settings and the environment of whoever compiles say."""
        pods = pod_environment(settings)
        return cls(
            parallel_profiles=parallel_profiles,
            environment={name: pods[name] for name in sorted(set(pods) - _OF_THE_RUN)},
            store_environment={n: environment[n] for n in _OF_THE_STORE if environment.get(n)},
        )
