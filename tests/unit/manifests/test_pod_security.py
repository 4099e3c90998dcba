"""The checker itself: a pod that meets ``restricted``, and each way not to."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.pod_security import lapses, violations

GOOD: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "volumes": [{"name": "tmp", "emptyDir": {}}],
    "containers": [
        {
            "name": "one",
            "image": "ghcr.io/penstock/penstock:1",
            "resources": {
                "requests": {"cpu": "1", "memory": "1Gi"},
                "limits": {"cpu": "1", "memory": "1Gi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            },
        }
    ],
}
CONTAINER = ("containers", 0)
CONTEXT = (*CONTAINER, "securityContext")


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return the good pod with one field set, or removed for ``None``."""
    pod = copy.deepcopy(GOOD)
    at: Any = pod
    for key in path[:-1]:
        at = at[key] if isinstance(at, list) else at.setdefault(key, {})
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return pod


def test_a_pod_that_meets_the_standard_has_no_violation() -> None:
    assert violations(GOOD) == []
    assert lapses(GOOD) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("hostNetwork",), True, "hostNetwork"),
        (("hostPID",), True, "hostPID"),
        (("volumes",), [{"name": "v", "hostPath": {"path": "/"}}], "hostPath"),
        (("securityContext", "runAsNonRoot"), None, "runAsNonRoot"),
        (("securityContext", "runAsUser"), 0, "root"),
        (("securityContext", "seccompProfile"), None, "seccompProfile"),
        (("securityContext", "sysctls"), [{"name": "kernel.msgmax"}], "sysctl"),
        ((*CONTEXT, "seccompProfile"), {"type": "Unconfined"}, "seccompProfile"),
        ((*CONTEXT, "runAsNonRoot"), False, "runAsNonRoot"),
        ((*CONTEXT, "runAsUser"), 0, "runs as root"),
        ((*CONTEXT, "privileged"), True, "privileged"),
        ((*CONTEXT, "allowPrivilegeEscalation"), None, "allowPrivilegeEscalation"),
        ((*CONTEXT, "capabilities"), None, "not dropped"),
        ((*CONTEXT, "capabilities", "add"), ["NET_RAW"], "added"),
        ((*CONTEXT, "procMount"), "Unmasked", "procMount"),
        ((*CONTEXT, "seLinuxOptions"), {"type": "spc_t"}, "seLinuxOptions"),
        ((*CONTEXT, "appArmorProfile"), {"type": "Unconfined"}, "appArmorProfile"),
        ((*CONTAINER, "ports"), [{"containerPort": 1, "hostPort": 1}], "hostPort"),
        (("initContainers",), [{"name": "init", "image": "x"}], "init: "),
    ],
)
def test_each_way_not_to_meet_it_is_found(path: Any, value: Any, said: str) -> None:
    assert any(said in fault for fault in violations(changed(path, value)))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ((*CONTEXT, "readOnlyRootFilesystem"), None, "root can be written"),
        ((*CONTAINER, "resources", "limits", "memory"), None, "no limits of memory"),
        ((*CONTAINER, "image"), "ghcr.io/penstock/penstock:latest", "no fixed tag"),
        ((*CONTAINER, "image"), "registry:5000/penstock", "no fixed tag"),
        ((*CONTAINER, "image"), "docker.io/prom/prometheus:v3", "no digest"),
    ],
)
def test_what_we_ask_beyond_it_is_found_too(path: Any, value: Any, said: str) -> None:
    assert any(said in fault for fault in lapses(changed(path, value)))
