"""To Kubeflow: submit the bootstrap pipeline, once or on a schedule."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.errors import UserError
from workflows.commands.options import Parallel, Spec, Trainer, known_trainer_of, opened
from workflows.terminal import out

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.domain import Pipeline
    from penstock.settings import Settings
    from workflows.submit import Submission

commands = typer.Typer()

Endpoint = Annotated[
    str,
    typer.Option(
        "--endpoint",
        envvar="PENSTOCK_KFP_ENDPOINT",
        help="URL of the Kubeflow Pipelines API: http://localhost:8888 behind `kubectl port-forward"
        " -n kubeflow svc/ml-pipeline 8888`, https://HOST/pipeline behind the dashboard.",
    ),
]
TokenVariable = Annotated[
    str,
    typer.Option("--token-env", help="Variable that holds a bearer token; never the token itself."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", help="File that holds a bearer token, read at every request."),
]
Given = Annotated[
    list[str] | None,
    typer.Option("--set", help="Parameter of the run, NAME=VALUE; may be repeated."),
]


@commands.command()
def submit(  # noqa: PLR0913 - each is an option of its own
    spec: Spec,
    endpoint: Endpoint,
    token_env: TokenVariable = "",
    token_file: TokenFile = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", help="Certificates to trust instead of the usual ones.")
    ] = None,
    namespace: Annotated[
        str, typer.Option("--namespace", help="Profile namespace, with many users.")
    ] = "",
    experiment: Annotated[str, typer.Option("--experiment", help="Made if missing.")] = "penstock",
    load: Annotated[
        float | None, typer.Option("--load", min=0, help="Load to plan for, in req/s.")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Let the run apply its plan; default: only render.")
    ] = False,
    given: Given = None,
    trainer: Trainer = None,
    parallel: Parallel = 1,
    service_account: Annotated[
        str, typer.Option("--service-account", help="Of the steps; default Kubeflow's own.")
    ] = "",
    name: Annotated[
        str, typer.Option("--name", help="Of the run; default penstock-<pipeline>.")
    ] = "",
    recurring: Annotated[
        str, typer.Option("--recurring", help="Run by this cron: 5 fields, or 6 with seconds.")
    ] = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay until the run is over; exit 0 if it succeeded.")
    ] = False,
) -> None:
    """Run the bootstrap pipeline on Kubeflow, once or on a schedule."""
    from penstock.clock import RealClock
    from workflows import submit as submitting
    from workflows.kubeflow_api import Access, KubeflowApi

    if wait and recurring:
        raise UserError("--wait is for one run, and --recurring starts none yet; leave one out")
    pipeline, _, settings = opened(spec, None)
    arguments = {**_parsed(given or []), **({"apply": True} if apply else {})}
    if load is not None:
        arguments["load_rps"] = load
    submission = replace(
        _submission(pipeline, settings, trainer or known_trainer_of(spec), parallel),
        name=name or f"penstock-{pipeline.name}",
        experiment=experiment,
        arguments=arguments,
        service_account=service_account,
    )
    token = _token(token_env, token_file)
    kubeflow = KubeflowApi(Access(endpoint=endpoint, token=token, ca=ca, namespace=namespace))
    if recurring:
        found, new = submitting.submit_recurring(kubeflow, submission, recurring)
        out.print(f"recurring run {found}: {'started' if new else 'is as asked already'}")
        return
    run_id = submitting.submit(kubeflow, submission)
    out.print(f"run {run_id}, version {submission.version}", markup=False, highlight=False)
    out.print(submitting.run_url(kubeflow.endpoint, run_id), markup=False, soft_wrap=True)
    if wait:
        submitting.wait(
            kubeflow,
            run_id,
            clock=RealClock(),
            tell=lambda line: out.print(line, markup=False, highlight=False),
        )


def _submission(pipeline: Pipeline, settings: Settings, trainer: str, parallel: int) -> Submission:
    from workflows.bootstrap import compile_bootstrap
    from workflows.parameters import Build, Parameters
    from workflows.submit import Submission

    parameters = Parameters.of(settings, trainer=trainer)
    build = Build.of(settings, os.environ, parallel_profiles=parallel)
    if parameters.store.startswith("s3://") and not build.store_environment:
        raise UserError(
            f"the store {parameters.store} needs its server's address: set PENSTOCK_S3_ENDPOINT; "
            "it is written into the pipeline, the keys come from the Secret "
            f"{build.store_secret} where the steps run"
        )
    return Submission(
        pipeline=f"penstock-bootstrap-{pipeline.name}",
        document=compile_bootstrap(pipeline, parameters, build),
    )


def _parsed(given: list[str]) -> dict[str, object]:
    """Return the parameters of ``NAME=VALUE`` as their types want them.

    Raises:
        UserError: no such parameter, or a value that is none for it; all faults.
    """
    from workflows.parameters import Parameters

    defaults = Parameters().arguments()
    found: dict[str, object] = {}
    faults = []
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or name not in defaults:
            faults.append(f"{one!r}: write NAME=VALUE with one of {', '.join(defaults)}")
            continue
        try:
            found[name] = _value(text, defaults[name])
        except ValueError as err:
            faults.append(f"{one!r}: {err}")
    if faults:
        raise UserError("--set " + "; ".join(faults))
    return found


def _value(text: str, like: object) -> object:
    if isinstance(like, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError("must be true or false")
        return text.lower() == "true"
    return float(text) if isinstance(like, float) else text


def _token(variable: str, file: Path | None) -> Callable[[], str] | None:
    """Return what gives the token when it is asked for; it is never shown.

    Raises:
        UserError: there is none where it is said to be.
    """
    if variable and file is not None:
        raise UserError("--token-env and --token-file exclude each other")
    if variable:
        return lambda: _checked(os.environ.get(variable, ""), f"the variable {variable}")
    if file is not None:
        return lambda: _checked(_read(file), f"the file {file}")
    return None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise UserError(f"the token can't be read from {file}: {type(err).__name__}") from err


def _checked(text: str, where: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or any(c.isspace() for c in token):
        raise UserError(f"{where} holds no token: it must be one word of ASCII characters")
    return token
