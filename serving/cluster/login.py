"""Logins that need no program: a pod's service account, a kubeconfig of tokens and certificates.

A kubeconfig that asks for more (an exec plugin, a cloud's login, a password, a proxy, a server
whose certificate is not to be checked) is none of these; the official client reads it.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from penstock.errors import UserError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CLUSTER_KEYS = {"server", "certificate-authority", "certificate-authority-data", "extensions"}
_USER_KEYS = {
    *("token", "tokenFile", "client-certificate", "client-certificate-data"),
    *("client-key", "client-key-data"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Where an API server is and who we are to it.

    ``authority`` is the PEM text of who signed the server's certificate, empty for those the
    system trusts. ``identity`` is the PEM text of a client certificate and its key. A token file
    is read for every request, because the kubelet replaces a pod's token about once an hour.
    """

    server: str
    authority: str = ""
    token: str = ""
    token_file: Path | None = None
    identity: str = ""


def in_a_pod(folder: Path = SERVICE_ACCOUNT) -> bool:
    """Whether a service account's token is mounted."""
    return (folder / "token").exists()


def pod_login(folder: Path = SERVICE_ACCOUNT, environment: Mapping[str, str] = os.environ) -> Login:
    """Return the login of the pod's service account.

    Raises:
        UserError: the folder or the variables that Kubernetes sets are not whole.
    """
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "")
    if not (host and port):
        raise UserError(
            "no cluster to talk to: a service account is mounted, but KUBERNETES_SERVICE_HOST and "
            "KUBERNETES_SERVICE_PORT are not set; set KUBECONFIG, or let Kubernetes start the pod"
        )
    try:
        authority = (folder / "ca.crt").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise UserError(
            f"no cluster to talk to: {err}; mount the service account's token with its ca.crt"
        ) from err
    shown = f"[{host}]" if ":" in host else host
    return Login(server=f"https://{shown}:{port}", authority=authority, token_file=folder / "token")


def plain_login(kubeconfig: Path, context: str | None = None) -> Login | None:
    """Return the login of a kubeconfig's (current) context; ``None`` if it is none of the plain.

    Whatever is wrong with the file is ``None`` as well: the official client says what it is.
    """
    try:
        document = yaml.load(kubeconfig.read_bytes(), Loader=yaml.CSafeLoader)
        chosen = _named(document, "context", context or document["current-context"])
        cluster = _named(document, "cluster", chosen["cluster"])
        user = _named(document, "user", chosen["user"])
        if not (cluster.keys() <= _CLUSTER_KEYS and user.keys() <= _USER_KEYS):
            return None
        return _login(cluster, user, kubeconfig.parent)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
        return None


def _login(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> Login:
    named = user.get("tokenFile")
    certificate = _pem(user, "client-certificate", folder)
    key = _pem(user, "client-key", folder)
    return Login(
        server=str(cluster["server"]),
        authority=_pem(cluster, "certificate-authority", folder),
        token="" if named else str(user.get("token") or "").strip(),
        token_file=folder / named if named else None,
        identity=f"{certificate}\n{key}" if certificate and key else "",
    )


def _named(document: Any, kind: str, name: str) -> dict[str, Any]:
    """Return the cluster, user or context of a name; the first one, as kubectl does."""
    found = next((entry for entry in document[f"{kind}s"] if entry["name"] == name), None)
    if found is None:
        raise LookupError(name)
    return dict(found[kind] or {})


def _pem(entry: Mapping[str, Any], key: str, folder: Path) -> str:
    """Return a certificate or key that is given inline, or as a file beside the kubeconfig."""
    inline = entry.get(f"{key}-data")
    if inline:
        return base64.b64decode(inline, validate=True).decode()
    path = entry.get(key)
    return (folder / path).read_text(encoding="utf-8") if path else ""
