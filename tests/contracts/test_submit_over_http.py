"""Submitting when things go wrong, and the command itself, over a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.clock import VirtualClock
from penstock.errors import PenstockError, UnreachableError, UserError
from tests.builders import pipeline
from tests.kfp_api import KfpServer, kfp_server
from workflows.bootstrap import compile_bootstrap
from workflows.cli import main
from workflows.kubeflow_api import Access, KubeflowApi
from workflows.submit import PATIENCE, Submission, submit, submit_recurring, wait

EXAMPLE = Path(__file__).parents[2] / "examples/digits/pipeline.yaml"
SUBMISSION = Submission(pipeline="digits", document=compile_bootstrap(pipeline()), name="digits")
TOKEN = "s3cret-t0ken"


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with kfp_server() as served:
        yield served


@pytest.fixture
def kubeflow(server: KfpServer) -> KubeflowApi:
    return KubeflowApi(Access(endpoint=server.url))


def signed(server: KfpServer, token: str) -> KubeflowApi:
    return KubeflowApi(Access(endpoint=server.url, token=lambda: token))


def command(*arguments: str) -> int:
    """Run `penstock submit` on the example and return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["penstock", "submit", str(EXAMPLE), *arguments])
        patch.setenv("PENSTOCK_S3_ENDPOINT", "s3.example:9000")
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


def test_a_second_submission_uploads_nothing(kubeflow: KubeflowApi, server: KfpServer) -> None:
    for _ in range(2):
        submit(kubeflow, SUBMISSION)
    writes = [one for one in server.asked if one.startswith("POST")]
    assert writes == [
        "POST pipelines",
        "POST pipelines/upload_version",
        "POST experiments",
        "POST runs",
        "POST runs",
    ]


def test_what_is_on_a_later_page_is_found(kubeflow: KubeflowApi, server: KfpServer) -> None:
    experiment = kubeflow.create_experiment("penstock")
    submit_recurring(kubeflow, SUBMISSION, "0 0 1 * *")
    (one,) = server.objects["recurringruns"]
    server.objects["recurringruns"] += [{**one, "recurring_run_id": str(n)} for n in range(5)]
    assert len(kubeflow.recurring(experiment, "digits")) == 6
    submit_recurring(kubeflow, SUBMISSION, "0 5 * * *")
    assert len(kubeflow.recurring(experiment, "digits")) == 1


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (302, UserError, "a web page answers"),
        (400, UserError, "refused with status 400 .a fault that was asked for."),
        (401, UserError, "it wants a token.*--token-env or --token-file"),
        (403, UserError, "this account may not do that in the namespace"),
        (404, UserError, "is it the address of the API"),
        (429, UnreachableError, "status 429"),
        (503, UnreachableError, "the server has a fault, status 503"),
    ],
)
def test_a_refusal_says_what_to_do(
    kubeflow: KubeflowApi, server: KfpServer, status: int, error: type[Exception], words: str
) -> None:
    server.faults = [status]
    with pytest.raises(error, match=f"can't look up pipeline digits at {server.url}: .*{words}"):
        submit(kubeflow, SUBMISSION)


def test_a_sign_in_page_is_no_empty_list(kubeflow: KubeflowApi, server: KfpServer) -> None:
    server.page = b"<html>sign in</html>"
    with pytest.raises(UserError, match="a web page answers"):
        kubeflow.pipeline("digits")


def test_no_server_is_something_to_try_again() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        kubeflow = KubeflowApi(Access(endpoint=f"http://127.0.0.1:{free.getsockname()[1]}"))
        with pytest.raises(UnreachableError, match=r"no answer.*port-forward"):
            kubeflow.pipeline("digits")


def test_a_write_that_failed_is_not_sent_twice(kubeflow: KubeflowApi, server: KfpServer) -> None:
    submit(kubeflow, SUBMISSION)
    server.faults = [0, 0, 0, 503]
    with pytest.raises(UnreachableError):
        submit(kubeflow, SUBMISSION)
    assert server.asked.count("POST runs") == 2
    assert len(server.objects["runs"]) == 1


@pytest.mark.parametrize("endpoint", ["{}/", "{}/#/runs", "{}/apis/v2beta1/", " {} "])
def test_an_address_may_be_copied_from_a_browser(server: KfpServer, endpoint: str) -> None:
    assert KubeflowApi(Access(endpoint=endpoint.format(server.url))).endpoint == server.url


@pytest.mark.parametrize("endpoint", ["", "localhost:8888", "ftp://kubeflow"])
def test_an_address_that_is_no_url_is_refused(endpoint: str) -> None:
    with pytest.raises(UserError, match="--endpoint must be a URL"):
        KubeflowApi(Access(endpoint=endpoint))


def test_the_token_is_read_for_every_request_and_never_shown(server: KfpServer) -> None:
    tokens = iter([f"{TOKEN}-1", f"{TOKEN}-2"])
    kubeflow = KubeflowApi(Access(endpoint=server.url, token=lambda: next(tokens)))
    kubeflow.pipeline("a")
    kubeflow.pipeline("b")
    assert server.tokens == [f"Bearer {TOKEN}-1", f"Bearer {TOKEN}-2"]
    assert TOKEN not in repr(kubeflow)


def test_a_wrong_token_is_told_and_not_repeated(server: KfpServer) -> None:
    server.token = TOKEN
    with pytest.raises(UserError, match="the token is not accepted") as caught:
        signed(server, "wrong-t0ken").pipeline("digits")
    assert "t0ken" not in str(caught.value)


def test_an_account_that_may_only_read_is_told_so(server: KfpServer) -> None:
    server.may_write = False
    with pytest.raises(UserError, match=r"can't create pipeline digits .*may not do that"):
        submit(KubeflowApi(Access(endpoint=server.url)), SUBMISSION)


def test_waiting_tells_each_change_once_and_ends_with_the_run(
    kubeflow: KubeflowApi, server: KfpServer
) -> None:
    def state(run: str, step: str) -> dict[str, object]:
        return {
            "state": run,
            "run_details": {"task_details": [{"display_name": "train models", "state": step}]},
        }

    server.states = [
        {"state": "PENDING"},
        *[state("RUNNING", "RUNNING")] * 3,
        state("SUCCEEDED", "SUCCEEDED"),
    ]
    lines: list[str] = []
    wait(kubeflow, submit(kubeflow, SUBMISSION), clock=VirtualClock(), tell=lines.append)
    assert lines == [
        "run: pending",
        "train models: running",
        "run: running",
        "train models: succeeded",
        "run: succeeded",
    ]


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_waiting_for_a_run_that_does_not_succeed_is_an_error(
    kubeflow: KubeflowApi, server: KfpServer, state: str
) -> None:
    failed = {"display_name": "optimize plan", "state": "FAILED"}
    server.states = [{"state": state, "run_details": {"task_details": [failed]}}]
    run = submit(kubeflow, SUBMISSION)
    with pytest.raises(PenstockError, match=f"{state.lower()} in optimize plan"):
        wait(kubeflow, run, clock=VirtualClock(), tell=lambda line: None)


def test_waiting_outlives_a_pause_of_the_server_but_not_its_end(
    kubeflow: KubeflowApi, server: KfpServer
) -> None:
    run = submit(kubeflow, SUBMISSION)
    server.faults = [503] * (PATIENCE - 1)
    wait(kubeflow, run, clock=VirtualClock(), tell=lambda line: None)
    server.faults = [503] * PATIENCE
    with pytest.raises(UnreachableError):
        wait(kubeflow, run, clock=VirtualClock(), tell=lambda line: None)


def test_the_command_starts_a_run_waits_and_shows_where_it_is(
    server: KfpServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = TOKEN
    monkeypatch.setenv("MY_TOKEN", f"{TOKEN}\n")
    arguments = ["--token-env", "MY_TOKEN", "--load", "20", "--set", "solver=highs", "--wait"]
    assert command("--endpoint", server.url, *arguments) == 0
    (run,) = server.objects["runs"]
    shown = capsys.readouterr()
    assert f"{server.url}/#/runs/details/{run['run_id']}" in shown.out
    assert TOKEN not in shown.out + shown.err
    assert run["runtime_config"]["parameters"] == {"load_rps": 20.0, "solver": "highs"}
    (version,) = server.objects["versions"]
    assert TOKEN not in str(version)
    assert "s3.example:9000" in str(version)


def test_the_command_fails_with_the_run(server: KfpServer) -> None:
    server.states = [{"state": "FAILED"}]
    assert command("--endpoint", server.url, "--wait") == 1


def test_the_command_starts_a_recurring_run_once(
    server: KfpServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    server.token = TOKEN
    file = tmp_path / "token"
    file.write_text(TOKEN)
    arguments = ["--token-file", str(file), "--recurring", "0 3 * * 1", "--name", "weekly"]
    assert [command("--endpoint", server.url, *arguments) for _ in range(2)] == [0, 0]
    (recurring,) = server.objects["recurringruns"]
    assert recurring["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert "is as asked already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recurring", "3 * *"], "five fields, or six"),
        (["--recurring", "61 0 3 * * *"], "seconds must be"),
        (["--recurring", "0 3 * * *", "--wait"], "leave one out"),
        (["--set", "nothing=1", "--set", "apply=perhaps"], "'apply=perhaps': must be true or"),
        (["--token-env", "A", "--token-file", "b"], "exclude each other"),
        (["--token-env", "NO_SUCH_VARIABLE"], "NO_SUCH_VARIABLE holds no token"),
        (["--ca", "/no/such/file"], "--ca must be a file of certificates"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(
    server: KfpServer, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert command("--endpoint", server.url, *arguments) == 2
    assert words in capsys.readouterr().err
    assert not server.objects["runs"]


def test_the_command_wants_the_address_of_an_s3_store(
    server: KfpServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PENSTOCK_S3_ENDPOINT", raising=False)
    monkeypatch.setattr("sys.argv", ["penstock", "submit", str(EXAMPLE), "--endpoint", server.url])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "set PENSTOCK_S3_ENDPOINT" in capsys.readouterr().err
    assert os.environ.get("PENSTOCK_S3_ENDPOINT") is None
