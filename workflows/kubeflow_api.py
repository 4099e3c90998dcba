"""The Kubeflow Pipelines API, as much of it as submitting needs: the only door to its client.

kfp's own ``Client`` is not used: it prints, reads a file of the user's home, takes a sign-in page
for an empty list, and waits for ever for a run that was cancelled. Below it lies the client
generated from the API's description (``kfp_server_api``); that is what is called here.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kfp_server_api as api
import urllib3
from urllib3.exceptions import HTTPError, SSLError

from penstock.errors import UnreachableError, UserError
from workflows.kubeflow_errors import PAGE_ANSWERED, cause, refused, untrusted

PAGE = 100
TIMEOUT_S = (5.0, 60.0)
"""To connect, and between two bytes of an answer."""

Token = Callable[[], str]
"""Gives the token at the time of a request: one that is mounted into a pod changes by the hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the API is and who asks.

    ``endpoint`` is the URL below which ``/apis/v2beta1`` lies: behind Kubeflow's dashboard it ends
    in ``/pipeline``. ``ca`` is a file of certificates to trust instead of the usual ones;
    ``namespace`` is for installations with many users.
    """

    endpoint: str
    token: Token | None = field(default=None, repr=False)
    ca: Path | None = None
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of an uploaded pipeline."""

    pipeline_id: str
    version_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to run: a version in an experiment, with arguments, by an account."""

    name: str
    version: Version
    experiment_id: str
    arguments: Mapping[str, object]
    service_account: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurring:
    """A recurring run as the server has it."""

    id: str
    version: Version
    cron: str
    arguments: Mapping[str, object]
    service_account: str
    enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """How far a run is; ``steps`` maps the steps that were begun to their states."""

    state: str
    error: str = ""
    steps: Mapping[str, str] = field(default_factory=dict)


class KubeflowApi:
    """The verbs that submitting needs.

    Every verb raises ``UserError`` for what a person has to mend (a token, an address, a refused
    document), ``ConflictError`` when somebody was quicker, and ``UnreachableError`` when there is
    no answer or the server has a fault.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self.endpoint = _plain(access.endpoint)
        client = api.ApiClient(_configuration(access, self.endpoint))
        self._pipelines = api.PipelineServiceApi(client)
        self._uploads = api.PipelineUploadServiceApi(client)
        self._experiments = api.ExperimentServiceApi(client)
        self._runs = api.RunServiceApi(client)
        self._recurring = api.RecurringRunServiceApi(client)
        self._of_namespace = {"namespace": access.namespace} if access.namespace else {}

    def __repr__(self) -> str:
        return f"KubeflowApi({self.endpoint!r})"

    def pipeline(self, name: str) -> str:
        """Return the id of the pipeline with that name, or ``""``."""
        found = self._all(
            f"look up pipeline {name}",
            self._pipelines.pipeline_service_list_pipelines_with_http_info,
            "pipelines",
            filter=_named(name),
            **self._of_namespace,
        )
        return next((one.pipeline_id for one in found if one.display_name == name), "")

    def create_pipeline(self, name: str, description: str) -> str:
        """Make a pipeline that has no version yet, and return its id."""
        body = api.V2beta1Pipeline(
            name=name, display_name=name, description=description, **self._of_namespace
        )
        made = self._call(
            f"create pipeline {name}",
            self._pipelines.pipeline_service_create_pipeline_with_http_info,
            body,
        )
        return self._id(made.pipeline_id)

    def version(self, pipeline_id: str, name: str) -> Version | None:
        """Return the pipeline's version with that name, or ``None``."""
        found = self._all(
            f"look up version {name}",
            self._pipelines.pipeline_service_list_pipeline_versions_with_http_info,
            "pipeline_versions",
            pipeline_id,
            filter=_named(name),
        )
        ids = [one.pipeline_version_id for one in found if one.display_name == name]
        return Version(pipeline_id=pipeline_id, version_id=ids[0]) if ids else None

    def upload_version(self, pipeline_id: str, name: str, document: str) -> Version:
        """Upload a compiled pipeline as a version."""
        with tempfile.TemporaryDirectory(prefix="penstock-submit-") as folder:
            path = Path(folder) / "pipeline.yaml"
            path.write_text(document, encoding="utf-8")
            made = self._call(
                f"upload version {name}",
                self._uploads.upload_pipeline_version_with_http_info,
                str(path),
                name=name,
                display_name=name,
                pipelineid=pipeline_id,
            )
        return Version(pipeline_id=pipeline_id, version_id=self._id(made.pipeline_version_id))

    def experiment(self, name: str) -> str:
        """Return the id of the experiment with that name, or ``""``; archived ones do not count."""
        found = self._all(
            f"look up experiment {name}",
            self._experiments.experiment_service_list_experiments_with_http_info,
            "experiments",
            filter=_named(name),
            **self._of_namespace,
        )
        here = (
            one.experiment_id
            for one in found
            if one.display_name == name and one.storage_state != "ARCHIVED"
        )
        return next(here, "")

    def create_experiment(self, name: str) -> str:
        """Make an experiment and return its id."""
        made = self._call(
            f"create experiment {name}",
            self._experiments.experiment_service_create_experiment_with_http_info,
            api.V2beta1Experiment(display_name=name, **self._of_namespace),
        )
        return self._id(made.experiment_id)

    def create_run(self, asked: Asked) -> str:
        """Start a run and return its id."""
        body = api.V2beta1Run(
            display_name=asked.name, experiment_id=asked.experiment_id, **_what(asked)
        )
        method = self._runs.run_service_create_run_with_http_info
        return self._id(self._call(f"start run {asked.name}", method, body).run_id)

    def run(self, run_id: str) -> RunState:
        """Return how far a run is."""
        found = self._call(
            f"look up run {run_id}", self._runs.run_service_get_run_with_http_info, run_id
        )
        details = found.run_details.task_details if found.run_details else None
        steps = {one.display_name: one.state for one in details or () if one.display_name}
        error = found.error.message if found.error else ""
        return RunState(state=found.state or "PENDING", error=error or "", steps=steps)

    def recurring(self, experiment_id: str, name: str) -> tuple[Recurring, ...]:
        """Return the recurring runs of that name, the newest first: names need not be unique."""
        found = self._all(
            f"look up recurring run {name}",
            self._recurring.recurring_run_service_list_recurring_runs_with_http_info,
            "recurring_runs",
            experiment_id=experiment_id,
            filter=_named(name),
            sort_by="created_at desc",
        )
        return tuple(_recurring(one) for one in found if one.display_name == name)

    def create_recurring(self, asked: Asked, cron: str) -> str:
        """Start a recurring run, one at a time and without making up for missed ones."""
        body = api.V2beta1RecurringRun(
            display_name=asked.name,
            experiment_id=asked.experiment_id,
            trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=cron)),
            mode=api.RecurringRunMode.ENABLE,
            max_concurrency="1",
            no_catchup=True,
            **_what(asked),
        )
        method = self._recurring.recurring_run_service_create_recurring_run_with_http_info
        made = self._call(f"start recurring run {asked.name}", method, body)
        return self._id(made.recurring_run_id)

    def delete_recurring(self, recurring_id: str) -> None:
        """End a recurring run; runs that it began go on."""
        method = self._recurring.recurring_run_service_delete_recurring_run_with_http_info
        self._call(f"delete recurring run {recurring_id}", method, recurring_id)

    def _all(
        self, asked: str, method: Any, of: str, *args: object, **options: Any
    ) -> Iterator[Any]:
        token = ""
        while True:
            page = self._call(asked, method, *args, page_size=PAGE, page_token=token, **options)
            yield from getattr(page, of) or ()
            token = page.next_page_token or ""
            if not token:
                return

    def _call(self, asked: str, method: Any, *args: object, **options: Any) -> Any:
        """Call one method of the generated client; ``asked`` says for errors what it is to do."""
        what = f"can't {asked} at {self.endpoint}"
        try:
            data, _, headers = method(*args, _request_timeout=TIMEOUT_S, **options)
        except api.ApiException as err:
            raise refused(
                what, err, signed=bool(self._access.token), namespace=self._access.namespace
            ) from err
        except SSLError as err:
            raise untrusted(what, err) from err
        except HTTPError as err:
            if isinstance(getattr(err, "reason", None), SSLError):
                raise untrusted(what, err) from err
            raise UnreachableError(
                f"{what}: no answer ({cause(err)}); check --endpoint, or the port-forward"
            ) from err
        except (api.OpenApiException, ValueError, TypeError) as err:
            raise UnreachableError(f"{what}: not answered as Kubeflow does ({err})") from err
        if "json" not in headers.get("Content-Type", "json"):
            raise UserError(f"{what}: {PAGE_ANSWERED}")
        return data

    def _id(self, found: str | None) -> str:
        if not found:
            raise UnreachableError(f"{self.endpoint} made something and told no id of it")
        return found


def _plain(endpoint: str) -> str:
    """Return the endpoint without what people copy along from a browser or a manual.

    Raises:
        UserError: it is no URL.
    """
    plain = endpoint.strip().partition("#")[0].rstrip("/").removesuffix("/apis/v2beta1")
    if not plain.startswith(("http://", "https://")):
        raise UserError(f"--endpoint must be a URL, http://… or https://…, got {endpoint!r}")
    return plain


def _configuration(access: Access, endpoint: str) -> Any:
    config = api.Configuration(host=endpoint)
    if access.ca is not None and not access.ca.is_file():
        raise UserError(f"--ca must be a file of certificates, and {access.ca} is none")
    config.ssl_ca_cert = str(access.ca) if access.ca else None
    # a repeated POST could start a second run, and a redirect leads to a sign-in page
    config.retries = urllib3.Retry(
        total=2, redirect=0, raise_on_redirect=False, backoff_factor=0.2, allowed_methods={"GET"}
    )
    token = access.token
    if token is not None:
        config.api_key = {"authorization": ""}
        config.api_key_prefix = {"authorization": "Bearer"}
        config.refresh_api_key_hook = lambda one: one.api_key.update(authorization=token())
    return config


def _named(name: str) -> str:
    equals = {"operation": "EQUALS", "key": "display_name", "string_value": name}
    return json.dumps({"predicates": [equals]})


def _what(asked: Asked) -> dict[str, Any]:
    return {
        "pipeline_version_reference": api.V2beta1PipelineVersionReference(
            pipeline_id=asked.version.pipeline_id, pipeline_version_id=asked.version.version_id
        ),
        "runtime_config": api.V2beta1RuntimeConfig(parameters=dict(asked.arguments)),
        **({"service_account": asked.service_account} if asked.service_account else {}),
    }


def _recurring(found: Any) -> Recurring:
    reference = found.pipeline_version_reference
    schedule = found.trigger.cron_schedule if found.trigger else None
    return Recurring(
        id=found.recurring_run_id,
        version=Version(
            pipeline_id=(reference and reference.pipeline_id) or "",
            version_id=(reference and reference.pipeline_version_id) or "",
        ),
        cron=(schedule and schedule.cron) or "",
        arguments=(found.runtime_config and found.runtime_config.parameters) or {},
        service_account=found.service_account or "",
        enabled=found.status == "ENABLED" or found.mode == "ENABLE",
    )
