"""What submitting asks of the Kubeflow Pipelines API: of a server that keeps its contract.

And of a real one, where ``PENSTOCK_KFP_ENDPOINT`` names it (with ``PENSTOCK_KFP_TOKEN`` and
``PENSTOCK_KFP_NAMESPACE``, if it wants them).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from penstock.errors import ConflictError, UserError
from tests.builders import pipeline
from tests.kfp_api import kfp_server
from workflows.bootstrap import compile_bootstrap
from workflows.kubeflow_api import Access, Asked, KubeflowApi
from workflows.parameters import Build, Parameters
from workflows.submit import OVER, Submission, submit, submit_recurring

ENDPOINT = os.environ.get("PENSTOCK_KFP_ENDPOINT", "")
DOCUMENT = compile_bootstrap(pipeline(), Parameters(store="s3://penstock"), Build())


@dataclass(frozen=True, kw_only=True)
class Place:
    """A server, and a name there that nobody else uses."""

    kubeflow: KubeflowApi
    name: str

    def submission(self, **fields: object) -> Submission:
        made = {"pipeline": self.name, "document": DOCUMENT, "experiment": self.name}
        return Submission(**{**made, "name": self.name, **fields})  # type: ignore[arg-type]


@pytest.fixture(params=["stub", *(["real"] if ENDPOINT else [])])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    name = f"penstock-test-{uuid.uuid4().hex[:8]}"
    if request.param == "real":
        token = os.environ.get("PENSTOCK_KFP_TOKEN", "")
        namespace = os.environ.get("PENSTOCK_KFP_NAMESPACE", "")
        access = Access(
            endpoint=ENDPOINT, token=(lambda: token) if token else None, namespace=namespace
        )
        yield Place(kubeflow=KubeflowApi(access), name=name)
        return
    with kfp_server(token="t0ken", many_users=True) as server:
        access = Access(endpoint=server.url, token=lambda: "t0ken", namespace="team")
        yield Place(kubeflow=KubeflowApi(access), name=name)


def test_a_run_is_started_and_can_be_looked_at(place: Place) -> None:
    run = submit(place.kubeflow, place.submission(arguments={"load_rps": 5.0, "apply": False}))
    assert place.kubeflow.run(run).state in {"PENDING", "RUNNING", *OVER}


def test_a_pipeline_is_found_by_its_name_and_only_by_it(place: Place) -> None:
    assert place.kubeflow.pipeline(place.name) == ""
    made = place.kubeflow.create_pipeline(place.name, "for a test")
    assert place.kubeflow.pipeline(place.name) == made
    assert place.kubeflow.pipeline(place.name[:-1]) == ""
    assert place.kubeflow.version(made, "none") is None


def test_a_name_that_is_taken_is_a_conflict(place: Place) -> None:
    place.kubeflow.create_pipeline(place.name, "for a test")
    with pytest.raises(ConflictError, match="it is there already"):
        place.kubeflow.create_pipeline(place.name, "again")


def test_the_same_document_is_one_version_and_another_is_one_more(place: Place) -> None:
    for _ in range(2):
        submit(place.kubeflow, place.submission())
    other = compile_bootstrap(pipeline(), Parameters(load_rps=3.0))
    submit(place.kubeflow, place.submission(document=other))
    of = place.kubeflow.pipeline(place.name)
    first = place.kubeflow.version(of, place.submission().version)
    second = place.kubeflow.version(of, place.submission(document=other).version)
    assert first is not None
    assert second is not None
    assert first != second


def test_what_is_no_compiled_pipeline_is_refused(place: Place) -> None:
    with pytest.raises(UserError, match="refused with status 400"):
        submit(place.kubeflow, place.submission(document="hello: world\n"))


def test_an_argument_that_is_no_parameter_is_refused(place: Place) -> None:
    with pytest.raises(UserError, match="refused with status 400"):
        submit(place.kubeflow, place.submission(arguments={"load_rps": "many"}))


def test_a_recurring_run_stays_while_nothing_changes_and_is_replaced_when_it_does(
    place: Place,
) -> None:
    first, new = submit_recurring(place.kubeflow, place.submission(), "0 3 * * *")
    assert new
    assert submit_recurring(place.kubeflow, place.submission(), "0 0 3 * * *") == (first, False)
    changed = place.submission(arguments={"load_rps": 7.0})
    second, new = submit_recurring(place.kubeflow, changed, "0 3 * * *")
    experiment = place.kubeflow.experiment(place.name)
    (left,) = place.kubeflow.recurring(experiment, place.name)
    assert new
    assert (left.id, left.enabled, left.cron) == (second, True, "0 0 3 * * *")
    assert dict(left.arguments) == {"load_rps": 7.0}
    place.kubeflow.delete_recurring(second)
    assert place.kubeflow.recurring(experiment, place.name) == ()


def test_a_version_that_is_not_there_can_not_run(place: Place) -> None:
    submit(place.kubeflow, place.submission())
    experiment = place.kubeflow.experiment(place.name)
    of = place.kubeflow.pipeline(place.name)
    version = place.kubeflow.version(of, place.submission().version)
    assert version is not None
    gone = type(version)(pipeline_id=of, version_id=str(uuid.uuid4()))
    asked = Asked(name=place.name, version=gone, experiment_id=experiment, arguments={})
    with pytest.raises(UserError, match="can't start run"):
        place.kubeflow.create_run(asked)
