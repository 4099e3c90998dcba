"""The official client as a connection: every login that a kubeconfig can hold.

None of its model classes is used, because they differ between its versions; it brings exec plugins,
the logins of clouds and tokens that it refreshes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.errors import MissingToolError, UnreachableError, UserError
from serving.cluster.connection import AGENT, JSON, Connection, Reply, no_answer
from serving.manifest import Manifest

if TYPE_CHECKING:
    from kubernetes.client import ApiClient


class OfficialConnection:
    """Requests through the official client; :func:`official_connection` makes one."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Manifest | None = None,
        media: str = JSON,
        timeout_s: float = 10.0,
    ) -> Reply:
        """Send one request, once, and return the answer."""
        from kubernetes.client.exceptions import ApiException, OpenApiException
        from urllib3.exceptions import HTTPError

        try:
            answer, _, _ = self._client.call_api(
                path,
                method,
                header_params={"Accept": JSON, "Content-Type": media},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=(timeout_s, timeout_s),
            )
            return Reply(status=answer.status, text=answer.read().decode())
        except ApiException as err:
            if not err.status:  # it could not connect
                raise UnreachableError(no_answer(method, path, err)) from err
            return Reply(status=err.status, text=_text(err.body))
        except (HTTPError, OpenApiException, OSError, UnicodeDecodeError) as err:
            raise UnreachableError(no_answer(method, path, err)) from err


def official_connection(kubeconfig: str, *, context: str | None = None) -> OfficialConnection:
    """Return a connection by a kubeconfig's (current) context.

    ``kubeconfig`` is a path, or several as in the variable KUBECONFIG.

    Raises:
        MissingToolError: the client is not installed.
        UserError: there is no usable configuration.
    """
    try:
        from kubernetes import client, config
    except ImportError as err:
        raise MissingToolError("pip install kubernetes to talk to a cluster") from err
    settings = client.Configuration()
    try:
        config.load_kube_config(
            config_file=kubeconfig,
            context=context,
            client_configuration=settings,
            persist_config=False,
        )
    except (config.ConfigException, OSError, ValueError) as err:
        raise UserError(
            f"no cluster to talk to: {err}; set KUBECONFIG, or run in a pod with a service account"
        ) from err
    settings.retries = False
    made = client.ApiClient(settings)
    made.user_agent = AGENT
    return OfficialConnection(made)


def _text(body: str | bytes | None) -> str:
    return body.decode(errors="replace") if isinstance(body, bytes) else body or ""


if TYPE_CHECKING:

    def _is_a_connection(official: OfficialConnection) -> Connection:
        return official
