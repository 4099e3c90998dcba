"""Every tick leaves one decision behind: in the state's ring, as a Kubernetes Event, in a file.

A decision holds what is needed to make it again: ``resolved`` solves it anew from the pipeline and
the profiles it was made with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from optimizer.ladder import Climb, climb
from optimizer.switching import Running
from penstock.domain import Mode, Pipeline, Plan, ProfileTable
from penstock.errors import ConflictError, RetryLaterError, UserError
from penstock.spec import format_pipeline
from serving.diff import Action, Change
from serving.names import pipeline_labels, state_name
from serving.quarantine import offered
from serving.state import State, read_state, write_state
from workflows.recorded import Tick
from workflows.recording import (
    format_json,
    read_tick,
)

if TYPE_CHECKING:
    from optimizer.solvers import Solver
    from serving.cluster import Cluster
    from serving.manifest import Manifest

_ATTEMPTS = 3
_MAX_MESSAGE = 1024  # of an Event, by the API's rules


def fingerprint(pipeline: Pipeline, table: ProfileTable) -> str:
    """Return what tells these inputs of a decision from others."""
    text = format_pipeline(pipeline) + format_json(table)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def keep(record: Tick, pipeline: Pipeline, cluster: Cluster, *, now_s: float) -> None:
    """Keep a decision in the cluster, unless nothing may be written there.

    A record that can't be kept there now is no reason to fail: its file has it.
    """
    if record.mode is not Mode.APPLY:
        return
    try:
        before = _keep_in_ring(record, pipeline, cluster, now_s)
        if getattr(cluster, "takes_events", False) and is_news(record, before):
            cluster.apply(_creation(event_of(record, pipeline, now_s=now_s)))
    except (RetryLaterError, UserError):
        return


def decisions(state: State) -> tuple[Tick, ...]:
    """Return the decisions in a state's ring, oldest first.

    Raises:
        SpecError: one of them can't be read.
    """
    return tuple(read_tick(text) for text in state.decisions)


def changes_s(state: State) -> tuple[float, ...]:
    """Return how long [s] the ticks in a state's ring took that moved to another plan.

    The records are looked at and not read whole: a tick asks for nothing else of them.
    """
    found = []
    for text in state.decisions:
        with suppress(ValueError, KeyError, TypeError):
            record = json.loads(text)
            if record["decision"]["kind"] == "move" and (record["result"] or {}).get("ok"):
                found.append(float(record["durations_s"]["total"]))
    return tuple(found)


def find(known: Sequence[Tick], wanted: str) -> Tick:
    """Return the decision whose id is, or begins with, ``wanted``.

    Raises:
        UserError: there is none, or more than one.
    """
    found = [tick for tick in known if tick.id.startswith(wanted)]
    if len(found) != 1:
        raise UserError(
            f"{len(found)} of {len(known)} decisions have an id that begins with {wanted!r}; "
            "`penstock decisions` lists them"
        )
    return found[0]


def resolved(
    record: Tick,
    pipeline: Pipeline,
    table: ProfileTable,
    solver: Solver,
    *,
    cost_ceiling: float | None = None,
) -> Climb:
    """Solve a recorded decision anew.

    Raises:
        UserError: it had nothing to solve, or the pipeline or its profiles are others by now.
    """
    if record.load_rps is None:
        raise UserError(f"decision {record.id} had nothing to solve: {record.decision.reason}")
    now = fingerprint(pipeline, table)
    if record.inputs != now:
        raise UserError(
            f"decision {record.id} was made for inputs {record.inputs}, these are {now}: use the "
            "pipeline document and the profiles of that time"
        )
    quarantined = {text.split(":")[0] for text in record.withheld}
    on_offer = offered(pipeline, quarantined, record.running)
    before, ruling_s = record.before, record.ruling_s
    running = Running(plan=before, ruling_s=ruling_s) if before and ruling_s else None
    return climb(
        on_offer,
        table,
        record.load_rps,
        solver=solver,
        time_limit_s=60.0,
        cost_ceiling=cost_ceiling,
        running=running,
    )


def same_plan(one: Plan | None, other: Plan | None) -> bool:
    """Whether both run the same, or both are none."""
    return one.same_choice(other) if one is not None and other is not None else one is other


def is_news(record: Tick, before: str = "") -> bool:
    """Whether somebody who looks at events wants to know: anything but a quiet keep.

    ``before`` is the decision before it, as the state keeps it: what is given up is news once.
    """
    failed = record.result is not None and not record.result.ok
    if record.decision.kind == "move" or failed or record.edits or record.resumed:
        return True
    past = read_tick(before) if before and record.status else None
    known = past.given_up if past is not None and past.status else ()
    return bool(record.status) and record.given_up != known


def event_of(record: Tick, pipeline: Pipeline, *, now_s: float) -> Manifest:
    """Return a decision as a Kubernetes Event about the pipeline's state."""
    failed = record.result is not None and not record.result.ok
    time = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    outcome = f" [{record.result.message}]" if record.result else ""
    lines = [f"{record.decision.kind}: {record.decision.reason}{outcome}", *record.edits]
    message = "\n".join(lines)
    about: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": state_name(pipeline.name),
        "namespace": pipeline.namespace,
    }
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{state_name(pipeline.name)}.{record.id}",
            "namespace": pipeline.namespace,
            "labels": pipeline_labels(pipeline.name),
        },
        "involvedObject": about,
        "reason": _event_reason(record, failed=failed),
        "type": "Warning" if failed or record.given_up else "Normal",
        "message": message[:_MAX_MESSAGE],
        "source": {"component": "penstock"},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }


def _event_reason(record: Tick, *, failed: bool) -> str:
    if failed:
        return "Failed"
    if record.given_up:
        return "Degraded"
    return "Moved" if record.decision.kind == "move" else "Noticed"


def pause(cluster: Cluster, pipeline: Pipeline, *, paused: bool) -> State:
    """Stop all writes of a pipeline's ticks, or allow them again.

    Raises:
        ConflictError: others keep writing the state.
    """
    for _ in range(_ATTEMPTS):
        state = read_state(cluster, pipeline.name, pipeline.namespace)
        with suppress(ConflictError):
            return write_state(cluster, replace(state, paused=paused))
    raise ConflictError(f"the state of {pipeline.name!r} is being written by others; try again")


def _keep_in_ring(record: Tick, pipeline: Pipeline, cluster: Cluster, now_s: float) -> str:
    """Keep the record, and return the one before it, or nothing."""
    text = format_json(record).strip()
    for attempt in range(_ATTEMPTS):
        state = read_state(cluster, pipeline.name, pipeline.namespace)
        if state.journal is not None and state.journal.held_until_s > now_s:
            break  # somebody's switch hangs on this object's version
        try:
            kept = state.with_decision(text, keep=pipeline.adaptation.history)
            write_state(cluster, kept)
        except RetryLaterError:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return state.decisions[-1] if state.decisions else ""
    return ""


def _creation(manifest: Manifest) -> Change:
    metadata = manifest["metadata"]
    return Change(
        action=Action.CREATE,
        kind="Event",
        namespace=metadata["namespace"],
        name=metadata["name"],
        body=manifest,
    )
