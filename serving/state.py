"""What a tick has to remember, kept in the ConfigMap ``penstock-<pipeline>``.

It is an object of its own because KServe copies annotations of its objects into the pods, so a
note on a service would roll it. It is written with the resourceVersion that was read: of two ticks
that ran at once, one gets a ConflictError, and that is the fence between them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from penstock.errors import ManifestError
from serving.cluster import Cluster
from serving.diff import Action, Change
from serving.journal import Journal, Quarantined, journal_from
from serving.manifest import Manifest
from serving.names import ROLE, pipeline_labels, state_name

_MAX_BYTES = 900_000  # a ConfigMap holds 1 MiB with its metadata
_EMPTY = "null"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What was last decided for a pipeline.

    ``plan_json`` is the running plan as JSON text, empty before the first; ``generation`` counts
    its changes and ``last_change_s`` is the time of the last one [s since the epoch].
    ``decisions`` are the last audit records, oldest first, each a JSON text. ``journal`` is the
    switch under way, if any; ``quarantine`` the services that are not tried again for a while;
    ``applied`` the digest of what was last applied whole, empty while that is not so; ``paused``
    says that nothing is to be written until somebody resumes. ``resource_version`` is the version
    that was read, ``None`` when there is none to fence against yet.
    """

    pipeline: str
    namespace: str = "default"
    plan_json: str = ""
    generation: int = 0
    last_change_s: float = 0.0
    decisions: tuple[str, ...] = ()
    journal: Journal | None = None
    quarantine: tuple[Quarantined, ...] = ()
    applied: str = ""
    paused: bool = False
    resource_version: str | None = None

    def with_plan(self, plan: Mapping[str, Any] | str, *, now_s: float) -> State:
        """Return the state after a change to ``plan`` (a mapping or its JSON text)."""
        text = plan if isinstance(plan, str) else _json(plan)
        return replace(
            self, plan_json=text, generation=self.generation + 1, last_change_s=float(now_s)
        )

    def with_decision(self, decision: Mapping[str, Any] | str, *, keep: int) -> State:
        """Return the state with one more audit record, of which the last ``keep`` stay."""
        text = decision if isinstance(decision, str) else _json(decision)
        return replace(self, decisions=(*self.decisions, text)[-keep:] if keep > 0 else ())

    def quarantined(self, now_s: float) -> tuple[Quarantined, ...]:
        """Return the services that are not to be tried now."""
        return tuple(q for q in self.quarantine if q.until_s > now_s)


def plan_of(state: State) -> Mapping[str, Any] | None:
    """Return the running plan as it was given, or ``None`` before the first."""
    if not state.plan_json:
        return None
    plan: Mapping[str, Any] = json.loads(state.plan_json)
    return plan


def to_manifest(state: State) -> Manifest:
    """Return the ConfigMap of a state; the oldest decisions go when it would grow too big."""
    decisions = list(state.decisions)
    while decisions and sum(len(d.encode()) for d in decisions) > _MAX_BYTES:
        decisions.pop(0)
    metadata: dict[str, Any] = {
        "name": state_name(state.pipeline),
        "namespace": state.namespace,
        "labels": {**pipeline_labels(state.pipeline), ROLE: "state"},
    }
    if state.resource_version is not None:
        metadata["resourceVersion"] = state.resource_version
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {
            "pipeline": state.pipeline,
            "plan": state.plan_json or _EMPTY,
            "generation": str(state.generation),
            "last_change_s": repr(state.last_change_s),
            "decisions": "".join(f"{d}\n" for d in decisions),
            "journal": _json(state.journal.to_json()) if state.journal else _EMPTY,
            "quarantine": _json([asdict(q) for q in state.quarantine]),
            "applied": state.applied,
            "paused": "true" if state.paused else "false",
        },
    }


def from_manifest(manifest: Mapping[str, Any]) -> State:
    """Read a state back.

    Raises:
        ManifestError: the ConfigMap is not one that :func:`to_manifest` made.
    """
    metadata, data = manifest.get("metadata") or {}, manifest.get("data") or {}
    try:
        if data["plan"] != _EMPTY and not isinstance(json.loads(data["plan"]), dict):
            raise ValueError("the plan is not a mapping")  # noqa: TRY301
        return State(
            pipeline=data["pipeline"],
            namespace=metadata.get("namespace", "default"),
            plan_json="" if data["plan"] == _EMPTY else data["plan"],
            generation=int(data["generation"]),
            last_change_s=float(data["last_change_s"]),
            decisions=tuple(d for d in data["decisions"].split("\n") if d),
            journal=_journal(data.get("journal", _EMPTY)),
            quarantine=tuple(Quarantined(**q) for q in json.loads(data.get("quarantine", "[]"))),
            applied=data.get("applied", ""),
            paused=data.get("paused") == "true",
            resource_version=metadata.get("resourceVersion"),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as err:
        raise ManifestError(
            f"ConfigMap {metadata.get('name')!r} does not hold a state of penstock ({err!r}); "
            "delete it to start afresh: the next tick takes over what runs"
        ) from err


def read_state(cluster: Cluster, pipeline: str, namespace: str) -> State:
    """Return the pipeline's state, an empty one when nothing was ever written.

    Raises:
        ManifestError: the ConfigMap holds something else.
    """
    manifest = cluster.get("ConfigMap", namespace, state_name(pipeline))
    if manifest is None:
        return State(pipeline=pipeline, namespace=namespace)
    return from_manifest(manifest)


def write_state(cluster: Cluster, state: State) -> State:
    """Write the state if nobody has since it was read, and return it with its new version.

    Raises:
        ConflictError: somebody has; read again and decide anew.
    """
    first = state.resource_version is None
    written = cluster.apply(
        Change(
            action=Action.CREATE if first else Action.REPLACE,
            kind="ConfigMap",
            namespace=state.namespace,
            name=state_name(state.pipeline),
            body=to_manifest(state),
            resource_version=state.resource_version,
            reason="first state" if first else "state",
        )
    )
    version = ((written or {}).get("metadata") or {}).get("resourceVersion")
    return replace(state, resource_version=version)


def _journal(text: str) -> Journal | None:
    return None if text == _EMPTY else journal_from(json.loads(text))


def _json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
