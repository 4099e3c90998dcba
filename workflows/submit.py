"""Put the bootstrap pipeline into Kubeflow and run it, once or on a schedule; safe to repeat.

A pipeline's version is named by its content, so submitting the same again uploads nothing. A
recurring run can't be changed in Kubeflow: a new one is made first and the old one ends then, and
one that is as asked stays as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.errors import ConflictError, DomainError, PenstockError, UnreachableError
from workflows.schedule import shortest_gap_s

if TYPE_CHECKING:
    from penstock.clock import Clock
    from workflows.kubeflow_api import Asked, KubeflowApi, Version

POLL_S = 5.0
PATIENCE = 12
"""Times in a row that a waiting command asks in vain: a port-forward may be opened anew."""
DONE = ("SUCCEEDED", "SKIPPED")
OVER = (*DONE, "FAILED", "CANCELED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is to run, and where Kubeflow is to show it.

    ``document`` is the compiled pipeline and ``arguments`` the parameters that differ from its
    defaults; ``service_account`` runs its steps, Kubeflow's own when empty.
    """

    pipeline: str
    document: str
    experiment: str = "penstock"
    name: str = "penstock"
    arguments: Mapping[str, object] = field(default_factory=dict)
    service_account: str = ""

    @property
    def version(self) -> str:
        """The name of the pipeline's version: the beginning of the document's SHA-256."""
        return f"sha256-{hashlib.sha256(self.document.encode()).hexdigest()[:16]}"


def submit(kubeflow: KubeflowApi, submission: Submission) -> str:
    """Start a run and return its id.

    Raises:
        UserError: a person has to mend something: the address, a token, rights.
        UnreachableError: Kubeflow does not answer.
    """
    return kubeflow.create_run(_asked(kubeflow, submission))


def submit_recurring(kubeflow: KubeflowApi, submission: Submission, cron: str) -> tuple[str, bool]:
    """Let it run on a schedule; return the recurring run's id, and whether it is a new one.

    ``cron`` has five fields, or six with the seconds first, in the server's time zone. Others of
    the same name in the experiment end once the new one is there.

    Raises:
        DomainError: that is no schedule.
        UserError: a person has to mend something: the address, a token, rights.
        UnreachableError: Kubeflow does not answer; doing it again carries on.
    """
    wanted = six_fields(cron)
    asked = _asked(kubeflow, submission)
    found = kubeflow.recurring(asked.experiment_id, asked.name)
    same = [
        one.id
        for one in found
        if one.enabled
        and (one.version, one.cron, dict(one.arguments), one.service_account)
        == (asked.version, wanted, dict(asked.arguments), asked.service_account)
    ]
    kept = same[0] if same else kubeflow.create_recurring(asked, wanted)
    for one in found:
        if one.id != kept:
            kubeflow.delete_recurring(one.id)
    return kept, not same


def wait(kubeflow: KubeflowApi, run_id: str, *, clock: Clock, tell: Callable[[str], None]) -> None:
    """Return when the run has succeeded, and tell every change of a step's state until then.

    Raises:
        PenstockError: it failed or was cancelled; the failed steps are named.
        UserError: the token is no longer accepted, or the run is gone.
        UnreachableError: Kubeflow did not answer ``PATIENCE`` times in a row; the run goes on.
    """
    told: dict[str, str] = {}
    missed = 0
    while True:
        try:
            run = kubeflow.run(run_id)
            missed = 0
        except UnreachableError:
            missed += 1
            if missed >= PATIENCE:
                raise
            clock.sleep(POLL_S)
            continue
        for step, state in {**run.steps, "run": run.state}.items():
            if told.get(step) != state:
                tell(f"{step}: {state.lower()}")
        told = {**run.steps, "run": run.state}
        if run.state in DONE:
            return
        if run.state in OVER:
            failed = sorted(step for step, state in run.steps.items() if state == "FAILED")
            where = f" in {', '.join(failed)}" if failed else ""
            raise PenstockError(f"run {run_id} {run.state.lower()}{where}. {run.error}".strip())
        clock.sleep(POLL_S)


def run_url(endpoint: str, run_id: str) -> str:
    """Return where Kubeflow's UI shows a run, if the UI is behind the same address."""
    return f"{endpoint}/#/runs/details/{run_id}"


def six_fields(cron: str) -> str:
    """Return a schedule as Kubeflow reads it: six fields, the seconds first.

    Raises:
        DomainError: it has neither five fields nor six, or a field is out of its range.
    """
    parts = cron.split()
    if len(parts) == 5:
        parts = ["0", *parts]
    if len(parts) != 6:
        raise DomainError(
            f"{cron!r}: a schedule has five fields, or six with the seconds first; got {len(parts)}"
        )
    if not (parts[0].isdecimal() and int(parts[0]) < 60):
        raise DomainError(f"{cron!r}: seconds must be a number from 0 to 59, got {parts[0]!r}")
    shortest_gap_s(" ".join(parts[1:]))
    return " ".join(parts)


def _asked(kubeflow: KubeflowApi, submission: Submission) -> Asked:
    from workflows.kubeflow_api import Asked

    return Asked(
        name=submission.name,
        version=_uploaded(kubeflow, submission),
        experiment_id=_made(
            lambda: kubeflow.experiment(submission.experiment),
            lambda: kubeflow.create_experiment(submission.experiment),
        ),
        arguments=submission.arguments,
        service_account=submission.service_account,
    )


def _uploaded(kubeflow: KubeflowApi, submission: Submission) -> Version:
    name = submission.pipeline
    pipeline_id = _made(
        lambda: kubeflow.pipeline(name),
        lambda: kubeflow.create_pipeline(name, "From training code to a running plan."),
    )
    found = kubeflow.version(pipeline_id, submission.version)
    if found is not None:
        return found
    try:
        return kubeflow.upload_version(pipeline_id, submission.version, submission.document)
    except ConflictError:
        found = kubeflow.version(pipeline_id, submission.version)
        if found is None:
            raise
        return found


def _made(find: Callable[[], str], create: Callable[[], str]) -> str:
    """Return the id of what is there, else of what is made now, else of what others just made."""
    found = find()
    if found:
        return found
    try:
        return create()
    except ConflictError:
        found = find()
        if not found:
            raise
        return found
