"""The cluster that the kube context names: what it has, and a namespace there for one test run.

Plain tests never use it; `make test-cluster` does, on whatever cluster the context is for.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

PREFIX = "penstock-test"
KSERVE_WEBHOOK = "inferenceservice.serving.kserve.io"
CRDS = {
    "KServe": ("inferenceservices.serving.kserve.io", "inferencegraphs.serving.kserve.io"),
    "Argo": ("cronworkflows.argoproj.io", "workflows.argoproj.io"),
}


@dataclass(frozen=True, slots=True)
class Kube:
    """The APIs of one cluster."""

    api: client.ApiClient
    core: client.CoreV1Api
    apps: client.AppsV1Api
    rbac: client.RbacAuthorizationV1Api
    objects: client.CustomObjectsApi

    def version(self) -> str:
        return str(client.VersionApi(self.api).get_code().git_version)

    def older_than(self, *version: int) -> bool:
        """Whether the server's version (major, minor) is below this one."""
        found = re.match(r"v(\d+)\.(\d+)", self.version())
        return found is not None and tuple(map(int, found.groups())) < version

    def ready_nodes(self) -> list[str]:
        return [
            node.metadata.name
            for node in self.core.list_node().items
            if any(c.type == "Ready" and c.status == "True" for c in node.status.conditions or ())
        ]

    def has_kserve_controller(self) -> bool:
        """Whether KServe itself is installed: it has webhooks, its definitions alone have not."""
        admission = client.AdmissionregistrationV1Api(self.api)
        found = admission.list_validating_webhook_configuration().items
        return any(one.metadata.name == KSERVE_WEBHOOK for one in found)

    def has_crds(self, of: str) -> bool:
        served = {c.metadata.name for c in _definitions(self.api)}
        return served.issuperset(CRDS[of])


def connected() -> Kube:
    """Return the cluster of the current context; without one the test fails and says so."""
    try:
        api = config.new_client_from_config()
        client.VersionApi(api).get_code(_request_timeout=5)
    except (config.ConfigException, ApiException, HTTPError, OSError) as err:
        pytest.fail(f"`make test-cluster` needs a cluster; set KUBECONFIG or a context: {err}")
    return Kube(
        api=api,
        core=client.CoreV1Api(api),
        apps=client.AppsV1Api(api),
        rbac=client.RbacAuthorizationV1Api(api),
        objects=client.CustomObjectsApi(api),
    )


def new_name() -> str:
    """Return a name for a namespace that no other run has."""
    return f"{PREFIX}-{uuid.uuid4().hex[:6]}"


@contextlib.contextmanager
def namespace(kube: Kube, name: str, **labels: str) -> Iterator[str]:
    """Make a namespace; it and all in it are removed after."""
    kube.core.create_namespace({"metadata": {"name": name, "labels": labels}})
    try:
        yield name
    finally:
        kube.core.delete_namespace(name)


def wait_until(
    condition: Callable[[], Any], what: str | Callable[[], str], timeout_s: float = 60.0
) -> Any:
    """Return what ``condition`` returns as soon as that is something."""
    deadline_s = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline_s:
            pytest.fail(f"not within {timeout_s:g} s: {what() if callable(what) else what}")
        time.sleep(0.3)
    return found


def lacking(message: str) -> None:
    """End a test whose cluster lacks something: skip it and say what, or fail where CI counts."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def _definitions(api: client.ApiClient) -> list[Any]:
    return list(client.ApiextensionsV1Api(api).list_custom_resource_definition().items)
