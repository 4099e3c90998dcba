"""Brings rendered manifests to a cluster as two ticks would: finish what was begun, then apply."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from penstock.clock import VirtualClock
from serving.apply import (
    ApplyReport,
    Hands,
    Pace,
    Target,
    apply,
    live_objects,
    resume,
)
from serving.diff import diff
from serving.state import read_state

PIPELINE, NAMESPACE = "digits", "default"
LEASE_S = 30.0


def target_for(desired: Sequence[dict[str, Any]]) -> Target:
    """Return a target whose plan is its own manifests, so that anybody can render it again."""
    plan = json.dumps({"manifests": list(desired)})
    return Target(plan=plan, manifests=tuple(desired))


def rendered_again(plan: str) -> Target:
    return target_for(json.loads(plan)["manifests"])


def live(cluster: Any) -> list[dict[str, Any]]:
    return list(live_objects(cluster, PIPELINE, NAMESPACE))


def hands(cluster: Any, clock: Any = None, on_progress: Any = None, **pace: Any) -> Hands:
    told = on_progress or (lambda line: None)
    return Hands(
        cluster=cluster, clock=clock or VirtualClock(), pace=Pace(**pace), on_progress=told
    )


def bring(
    cluster: Any,
    desired: Sequence[dict[str, Any]],
    clock: Any = None,
    **fields: Any,
) -> ApplyReport:
    """Finish a switch that is under way; then, if that is over, apply ``desired``."""
    with_what = hands(cluster, clock, **fields)
    state = read_state(cluster, PIPELINE, NAMESPACE)
    if state.journal is not None:
        report = resume(rendered_again(state.journal.plan_to), state, with_what)
        state = report.state
        if state.journal is not None:
            return report
    target = target_for(desired)
    return apply(target, diff(desired, live(cluster)), state, with_what)
