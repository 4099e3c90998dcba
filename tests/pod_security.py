"""The Pod Security Standard ``restricted`` (Kubernetes 1.34), as its admission plugin checks a pod.

Also what it does not ask for and we do: a root that can't be written, resources, a fixed image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

VOLUMES = frozenset(
    {
        *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"),
        *("projected", "secret"),
    }
)
SYSCTLS = frozenset(
    {
        *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies"),
        *("net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start"),
        *("net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time"),
        *("net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_rmem"),
        *("net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_wmem"),
    }
)
SELINUX = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
PROFILES = ("RuntimeDefault", "Localhost")


def violations(pod: Mapping[str, Any]) -> list[str]:
    """Return what the standard forbids in a pod's spec."""
    return [*_of_the_pod(pod), *(fault for c in containers(pod) for fault in _of(c, pod))]


def containers(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return all containers of a pod, init containers first."""
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [c for kind in kinds for c in pod.get(kind) or ()]


def pods_in(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the specs of the pods that an object leads to."""
    spec = manifest.get("spec") or {}
    if manifest["kind"] == "InferenceService":
        return [spec["predictor"]]
    if manifest["kind"] == "CronWorkflow":
        workflow = spec["workflowSpec"]
        return [
            {**workflow, "containers": [{"name": t["name"], **t["container"]}]}
            for t in workflow["templates"]
        ]
    return [spec["template"]["spec"]] if "template" in spec else []


def lapses(pod: Mapping[str, Any]) -> list[str]:
    """Return what we ask of our own pods beyond the standard and is not so."""
    return [fault for c in containers(pod) for fault in _lapses(c)]


def _of_the_pod(pod: Mapping[str, Any]) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield field
    for volume in pod.get("volumes") or ():
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            yield f"volume {volume['name']}: {', '.join(sorted(kinds - VOLUMES))}"
    context = pod.get("securityContext") or {}
    if context.get("runAsNonRoot") is False or context.get("runAsUser") == 0:
        yield "the pod runs as root"
    for sysctl in context.get("sysctls") or ():
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    yield from _profiles("the pod", context)


def _of(container: Mapping[str, Any], pod: Mapping[str, Any]) -> Iterator[str]:
    name = container["name"]
    around, context = pod.get("securityContext") or {}, container.get("securityContext") or {}
    if context.get("privileged"):
        yield f"{name}: privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: allowPrivilegeEscalation"
    capabilities = context.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()):
        yield f"{name}: capabilities are not dropped"
    if set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield f"{name}: capabilities are added"
    if context.get("runAsNonRoot", around.get("runAsNonRoot")) is not True:
        yield f"{name}: runAsNonRoot"
    if context.get("runAsUser") == 0:
        yield f"{name}: runs as root"
    profile = (context.get("seccompProfile") or around.get("seccompProfile") or {}).get("type")
    if profile not in PROFILES:
        yield f"{name}: seccompProfile"
    if context.get("procMount", "Default") != "Default":
        yield f"{name}: procMount"
    if any(port.get("hostPort") for port in container.get("ports") or ()):
        yield f"{name}: hostPort"
    yield from _profiles(name, context)


def _profiles(whose: str, context: Mapping[str, Any]) -> Iterator[str]:
    if (context.get("seLinuxOptions") or {}).get("type", "") not in SELINUX:
        yield f"{whose}: seLinuxOptions.type"
    if {"user", "role"} & set(context.get("seLinuxOptions") or ()):
        yield f"{whose}: seLinuxOptions.user or role"
    if (context.get("appArmorProfile") or {}).get("type", "RuntimeDefault") not in PROFILES:
        yield f"{whose}: appArmorProfile"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{whose}: hostProcess"


def _lapses(container: Mapping[str, Any]) -> Iterator[str]:
    name, image = container["name"], container["image"]
    if not (container.get("securityContext") or {}).get("readOnlyRootFilesystem"):
        yield f"{name}: its root can be written"
    for bound in ("requests", "limits"):
        for what in ("cpu", "memory"):
            if what not in (container.get("resources", {}).get(bound) or {}):
                yield f"{name}: no {bound} of {what}"
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    if tag in ("", "latest"):
        yield f"{name}: image {image} has no fixed tag"
    if not image.startswith("ghcr.io/penstock/") and "@sha256:" not in image:
        yield f"{name}: image {image} of somebody else has no digest"
