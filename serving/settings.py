"""What rendering needs to know beyond the pipeline and the plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from penstock.domain import Variant
from penstock.errors import DomainError
from penstock.settings import Settings
from serving.autoscale import Autoscaling


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderSettings:
    """How plans become manifests.

    ``store_uri`` is where artifacts lie; ``artifact_uris`` maps ``<stage>/<variant>`` to the full
    URI of an uploaded version and goes before ``store_uri`` plus the variant's artifact.
    ``pre_stop_s`` is how long a stopping pod still serves while routers learn of it, ``drain_s``
    how long it then finishes what it has. The graph's calls time out after ``router_timeout_slos``
    times the SLO's latency, at least 1 s. Where an autoscaler moves replicas, they may grow to
    ``band`` times the plan's. ``prometheus_url`` is where KEDA asks for the arrivals; it must be
    right from KEDA's own namespace.
    """

    image: str
    store_uri: str
    service_account: str = "penstock"
    autoscaling: Autoscaling = Autoscaling.FIXED
    prometheus_url: str = ""
    pre_stop_s: int = 10
    drain_s: int = 15
    router_timeout_slos: float = 4.0
    band: float = 2.0
    hpa_cpu_percent: int = 80
    artifact_uris: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, settings: Settings, *, store_uri: str, artifact_uris: Mapping[str, str]
    ) -> RenderSettings:
        """Return what the settings say of rendering, for models that lie in that store."""
        return cls(
            image=settings.predictor_image,
            store_uri=store_uri,
            service_account=settings.service_account,
            autoscaling=Autoscaling(settings.autoscaling),
            prometheus_url=settings.prometheus_url,
            artifact_uris=artifact_uris,
        )

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "autoscaling", Autoscaling(self.autoscaling))
        except ValueError as err:
            known = ", ".join(a.value for a in Autoscaling)
            raise DomainError(
                f"render settings: autoscaling must be one of {known}, got {self.autoscaling!r}"
            ) from err
        object.__setattr__(self, "artifact_uris", MappingProxyType(dict(self.artifact_uris)))
        faults = tuple(self._faults())
        if faults:
            raise DomainError("; ".join(faults))

    def artifact_uri(self, stage: str, variant: Variant) -> str:
        """Return the URI that the storage initializer loads a variant from."""
        default = f"{self.store_uri.rstrip('/')}/{variant.artifact.lstrip('/')}"
        return self.artifact_uris.get(f"{stage}/{variant.name}", default)

    def router_timeout_s(self, slo_latency_s: float) -> int:
        """Return the whole seconds after which a call to a step is given up."""
        return max(1, math.ceil(self.router_timeout_slos * slo_latency_s))

    def _faults(self) -> list[str]:
        checks = {
            "image must not be empty": bool(self.image),
            "store_uri must not be empty": bool(self.store_uri),
            f"pre_stop_s must be at least 0, got {self.pre_stop_s}": self.pre_stop_s >= 0,
            f"drain_s must be at least 0, got {self.drain_s}": self.drain_s >= 0,
            f"router_timeout_slos must be finite and above 0, got {self.router_timeout_slos}": (
                math.isfinite(self.router_timeout_slos) and self.router_timeout_slos > 0
            ),
            "autoscaling keda needs prometheus_url, where KEDA asks for the load: set "
            "PENSTOCK_PROMETHEUS_URL": (
                bool(self.prometheus_url) or self.autoscaling is not Autoscaling.KEDA
            ),
            f"band must be finite and at least 1, got {self.band}": (
                math.isfinite(self.band) and self.band >= 1
            ),
            f"hpa_cpu_percent must lie in 1..100, got {self.hpa_cpu_percent}": (
                1 <= self.hpa_cpu_percent <= 100
            ),
        }
        return [f"render settings: {text}" for text, holds in checks.items() if not holds]
