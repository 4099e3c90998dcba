"""Which logins need no program, and what they come to."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml

from penstock.errors import UserError
from serving.cluster.login import Login, in_a_pod, plain_login, pod_login

AUTHORITY = "-----BEGIN CERTIFICATE-----\n"


def kubeconfig(folder: Path, *, cluster: object = None, user: object = None) -> Path:
    """Write a kubeconfig with a token; entries of cluster and user come on top."""
    document = {
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u"}},
            {"name": "there", "context": {"cluster": "d", "user": "u"}},
        ],
        "clusters": [
            {"name": "c", "cluster": {"server": "https://c:6443", **(cluster or {})}},
            {"name": "d", "cluster": {"server": "https://d:6443"}},
        ],
        "users": [{"name": "u", "user": {"token": "t"} if user is None else user}],
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_token_of_the_current_context_or_of_another_is_plain(tmp_path):
    path = kubeconfig(tmp_path)
    assert plain_login(path) == Login(server="https://c:6443", token="t")
    assert plain_login(path, "there") == Login(server="https://d:6443", token="t")


def test_files_are_found_beside_the_kubeconfig_and_data_goes_before_them(tmp_path):
    (tmp_path / "ca").write_text("file")
    (tmp_path / "cert").write_text("CERT")
    (tmp_path / "key").write_text("KEY")
    inline = base64.b64encode(AUTHORITY.encode()).decode()
    path = kubeconfig(
        tmp_path,
        cluster={"certificate-authority": "ca", "certificate-authority-data": inline},
        user={"client-certificate": "cert", "client-key": "key", "tokenFile": "t"},
    )
    assert plain_login(path) == Login(
        server="https://c:6443",
        authority=AUTHORITY,
        token_file=tmp_path / "t",
        identity="CERT\nKEY",
    )


@pytest.mark.parametrize(
    ("cluster", "user"),
    [
        ({"insecure-skip-tls-verify": True}, None),
        ({"proxy-url": "http://p"}, None),
        ({"tls-server-name": "n"}, None),
        ({"certificate-authority": "missing"}, None),
        ({"certificate-authority-data": "no base64!"}, None),
        ({}, {"exec": {"command": "log-in"}}),
        ({}, {"auth-provider": {"name": "oidc"}}),
        ({}, {"username": "me", "password": "secret"}),
        ({}, {"token": "t", "as": "somebody"}),
    ],
)
def test_what_asks_for_more_is_not_plain(tmp_path, cluster, user):
    assert plain_login(kubeconfig(tmp_path, cluster=cluster, user=user)) is None


@pytest.mark.parametrize("text", ["", "[]", "{", "current-context: x", "\x00", "contexts: [1]"])
def test_what_is_no_kubeconfig_is_not_plain(tmp_path, text):
    path = tmp_path / "config"
    path.write_text(text)
    assert plain_login(path) is None
    assert plain_login(path, "here") is None
    assert plain_login(kubeconfig(tmp_path), "elsewhere") is None


def test_a_pods_login_is_what_kubernetes_mounts_and_sets(tmp_path):
    (tmp_path / "ca.crt").write_text(AUTHORITY)
    assert not in_a_pod(tmp_path)
    (tmp_path / "token").write_text("t")
    assert in_a_pod(tmp_path)
    set_by_it = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    assert pod_login(tmp_path, set_by_it) == Login(
        server="https://[fd00::1]:443", authority=AUTHORITY, token_file=tmp_path / "token"
    )


def test_a_pod_that_lacks_something_is_told_what(tmp_path):
    with pytest.raises(UserError, match="KUBERNETES_SERVICE_HOST"):
        pod_login(tmp_path, {})
    with pytest.raises(UserError, match=r"ca\.crt"):
        pod_login(tmp_path, {"KUBERNETES_SERVICE_HOST": "h", "KUBERNETES_SERVICE_PORT": "1"})
