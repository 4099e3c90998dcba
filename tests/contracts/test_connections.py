"""What every connection to an API server does, over TLS: the same cases for each login."""

from __future__ import annotations

import base64
import stat
import time
from pathlib import Path

import pytest

from penstock.errors import UnreachableError, UserError
from serving.cluster.connection import Connection, Reply
from serving.cluster.direct import DirectConnection
from serving.cluster.kubernetes import connect
from serving.cluster.login import plain_login, pod_login
from serving.cluster.official import official_connection
from serving.cluster.requests import MERGE
from tests import api_http
from tests.api_http import Served, fails_at, killed_at, serve
from tests.certificates import self_signed

HERE = "/api/v1/namespaces/default/configmaps"
MADE = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server(pem):
    with serve(tls=pem) as served:
        yield served


def environment(server: Served) -> dict[str, str]:
    port = server.url.rsplit(":")[-1]
    return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": port}


def pod(server: Served, folder: Path, user: str = "admin") -> Connection:
    assert server.authority is not None
    (folder / "ca.crt").write_bytes(server.authority.read_bytes())
    (folder / "token").write_text(f"{user}\n")
    return DirectConnection(pod_login(folder, environment(server)))


def certificate(server: Served, folder: Path) -> Connection:
    assert server.authority is not None
    inline = base64.b64encode(server.authority.read_bytes()).decode()
    shown = {"client-certificate-data": inline, "client-key": str(server.authority)}
    login = plain_login(server.kubeconfig(folder, login=shown))
    assert login is not None
    return DirectConnection(login)


def official(server: Served, folder: Path) -> Connection:
    return official_connection(str(server.kubeconfig(folder)))


@pytest.fixture(params=[pod, certificate, official], ids=lambda make: make.__name__)
def connection(request, server, tmp_path) -> Connection:
    return request.param(server, tmp_path)


def test_what_is_sent_arrives_and_the_answer_comes_back(server, connection):
    assert connection.request("POST", HERE, body=MADE).status == 201
    patched = connection.request("PATCH", f"{HERE}/c", body={"data": {"a": "2"}}, media=MERGE)
    assert '"a": "2"' in patched.text
    assert [(str(c), c.user) for c in server.calls] == [
        (f"POST {HERE}", "admin"),
        (f"PATCH {HERE}/c", "admin"),
    ]
    managers = server.server.handle("GET", f"{HERE}/c").body["metadata"]["managedFields"]
    assert {m["manager"] for m in managers} == {"penstock"}


def test_a_refusal_is_an_answer_with_its_words(server, connection):
    server.fault = fails_at(1, status=503)
    reply = connection.request("GET", f"{HERE}/c")
    assert (reply.status, "injected" in reply.text) == (503, True)
    reply = connection.request("GET", f"{HERE}/c")
    assert (reply.status, "not found" in reply.text) == (404, True)


@pytest.fixture
def accepted(monkeypatch):
    """The connections that the server accepts from here on; it hangs up after 0.1 s of silence."""
    seen, setup = [], api_http._Handler.setup

    def count(handler):
        seen.append(handler.client_address)
        setup(handler)

    monkeypatch.setattr(api_http._Handler, "setup", count)
    monkeypatch.setattr(api_http._Handler, "timeout", 0.1)
    return seen


def test_one_connection_serves_many_requests_until_the_server_hangs_up(connection, accepted):
    for times in (1, 2):
        for _ in range(3):
            assert connection.request("GET", HERE).status == 200
        assert len(accepted) == times
        time.sleep(0.3)


def test_a_request_that_breaks_off_is_sent_once_and_the_next_one_goes_through(server, connection):
    connection.request("GET", HERE)
    server.forget()
    server.fault = killed_at(1, after=True)
    with pytest.raises(UnreachableError, match=f"POST {HERE}"):
        connection.request("POST", HERE, body=MADE)
    assert len(server.calls) == 1
    server.forget()
    assert connection.request("GET", f"{HERE}/c").status == 200


def test_a_pods_token_is_read_again_when_the_kubelet_replaces_it(server, tmp_path):
    connection = pod(server, tmp_path, "yesterday")
    assert connection.request("GET", HERE).status == 401
    (tmp_path / "token").write_text("admin")
    assert connection.request("GET", HERE).status == 200
    (tmp_path / "token").unlink()
    with pytest.raises(UserError, match="still mounted"):
        connection.request("GET", HERE)


def test_a_server_that_another_authority_vouches_for_is_not_talked_to(server, tmp_path):
    server.authority = self_signed(tmp_path, "impostor")
    for make in (pod, official):
        with pytest.raises(UnreachableError, match="certificate verify failed"):
            make(server, tmp_path).request("GET", HERE)
    assert server.calls == []


def test_a_server_may_stand_below_a_path(server, tmp_path):
    server.url += "/k8s/clusters/c-1/"
    login = plain_login(server.kubeconfig(tmp_path))
    assert login is not None
    assert DirectConnection(login).request("GET", HERE) == Reply(
        status=404, text="404 page not found\n"
    )
    assert server.calls[0].path == f"/k8s/clusters/c-1{HERE}"


def test_a_pod_without_a_kubeconfig_uses_its_service_account(server, tmp_path, monkeypatch):
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    pod(server, tmp_path)
    assert connect(service_account=tmp_path).list("ConfigMap", "default", {}) == ()
    assert {c.user for c in server.calls} == {"admin"}


@pytest.mark.slow
def test_a_login_by_a_program_goes_through_the_official_client(server, tmp_path):
    plugin = tmp_path / "log-in"
    plugin.write_text(
        "#!/bin/sh\n"
        'echo \'{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", '
        '"status": {"token": "admin"}}\'\n'
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(plugin),
        "interactiveMode": "Never",
    }
    config = server.kubeconfig(tmp_path, login={"exec": command})
    assert plain_login(config) is None
    assert connect(kubeconfig=config).list("ConfigMap", "default", {}) == ()


@pytest.mark.parametrize("address", ["ftp://here", "https://", "https://here:port", "here:6443"])
def test_an_address_that_is_none_is_refused(server, tmp_path, address):
    server.url = address
    login = plain_login(server.kubeconfig(tmp_path))
    assert login is not None
    with pytest.raises(UserError, match="address"):
        DirectConnection(login)
