"""What a KServe manifest means on this machine: the command line of a replica.

The very manifests that a cluster would get are run: the container's command, arguments and mounts
are translated, not interpreted away. ``/mnt/models`` becomes the artifact's folder, a mounted
ConfigMap becomes a folder of files, the CPU limit becomes a share kept in user space.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.errors import ManifestError
from penstock.files import write_whole
from serving.cluster.processes import python

MODEL_MOUNT = "/mnt/models"
MODULE = "serving.predictor"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """What an InferenceService asks of this machine.

    ``mounts`` maps paths inside the container to names of ConfigMaps; ``template`` changes exactly
    when the replicas have to be replaced.
    """

    namespace: str
    name: str
    replicas: int
    arguments: tuple[str, ...]
    storage_uri: str
    cpu_cores: float
    mounts: Mapping[str, str]
    template: str

    @property
    def infer_path(self) -> str:
        """The path of its infer URL, found as KServe's graph controller finds it."""
        given = dict(zip(self.arguments, self.arguments[1:], strict=False))
        return f"/v2/models/{given.get('--model_name', self.name)}/infer"

    def command(
        self, *, model: Path, config_maps: Path, cores: Iterable[int], parent_pid: int
    ) -> list[str]:
        """Return the command line of one replica; what is passed last wins."""
        folders = {MODEL_MOUNT: str(model)}
        for path, name in self.mounts.items():
            folders[path] = str(config_map_folder(config_maps, self.namespace, name))
        arguments = [_translated(argument, folders) for argument in self.arguments]
        if "--model-dir" not in arguments:
            arguments += ["--model-dir", str(model)]
        if "--model-name" not in arguments:
            arguments += ["--model-name", self.name]
        here = {
            "--host": "127.0.0.1",
            "--port": "0",
            "--cpu-cores": f"{self.cpu_cores:g}",
            "--cpu-affinity": ",".join(str(core) for core in cores),
            # The daemon takes it out of the graph first and ends it when nothing runs in it.
            "--drain-s": "0",
            "--parent-pid": str(parent_pid),
        }
        return python(MODULE, *arguments, *(word for pair in here.items() for word in pair))


def read_service(manifest: Mapping[str, Any]) -> ServiceSpec:
    """Read an InferenceService.

    Raises:
        ManifestError: this machine cannot run it; the message has the path.
    """
    try:
        return _read_service(manifest)
    except (AttributeError, KeyError, TypeError) as err:
        # Without KServe's schema anything may stand where a list or an object should.
        raise ManifestError(f"spec.predictor: has another shape than KServe's: {err!r}") from err


def _read_service(manifest: Mapping[str, Any]) -> ServiceSpec:
    metadata = manifest["metadata"]
    predictor = _object(manifest, "spec", "predictor")
    container = _container(predictor)
    limits = container.get("resources", {}).get("limits", {})
    what_rolls = {"container": container, "volumes": predictor.get("volumes", [])}
    return ServiceSpec(
        namespace=metadata.get("namespace", "default"),
        name=metadata["name"],
        replicas=_replicas(predictor),
        arguments=_arguments(container),
        storage_uri=_storage_uri(container),
        cpu_cores=read_cpu(limits.get("cpu", "1")),
        mounts=_mounts(predictor, container),
        template=hashlib.sha256(json.dumps(what_rolls, sort_keys=True).encode()).hexdigest()[:12],
    )


def read_cpu(quantity: Any) -> float:
    """Return the cores of a CPU quantity such as ``250m`` or ``1.5``.

    Raises:
        ManifestError: it is none, or not above 0.
    """
    text = str(quantity)
    try:
        cores = float(text[:-1]) / 1000 if text.endswith("m") else float(text)
    except ValueError as err:
        raise ManifestError(f"resources.limits.cpu: {text!r} is no CPU quantity") from err
    if not 0 < cores < float("inf"):
        raise ManifestError(f"resources.limits.cpu: must be above 0, got {text!r}")
    return cores


def config_map_folder(root: Path, namespace: str, name: str) -> Path:
    """Return the folder in which the keys of a ConfigMap lie as files."""
    return root / namespace / name


def write_config_map(root: Path, manifest: Mapping[str, Any]) -> None:
    """Make the folder say what the ConfigMap says; every file changes in one step."""
    metadata = manifest["metadata"]
    folder = config_map_folder(root, metadata.get("namespace", "default"), metadata["name"])
    folder.mkdir(parents=True, exist_ok=True)
    data: Mapping[str, str] = manifest.get("data") or {}
    for path in folder.iterdir():
        if path.name not in data:
            path.unlink()
    for key, text in data.items():
        path = folder / key
        if not path.exists() or path.read_text() != text:
            write_whole(path, text)


def _translated(argument: str, folders: Mapping[str, str]) -> str:
    for inside, outside in folders.items():
        if argument == inside or argument.startswith(f"{inside}/"):
            return outside + argument[len(inside) :]
    return argument


def _object(document: Any, *path: str) -> Mapping[str, Any]:
    for part in path:
        document = document.get(part) if isinstance(document, Mapping) else None
    if not isinstance(document, Mapping):
        raise ManifestError(f"{'.'.join(path)}: must be an object")
    return document


def _container(predictor: Mapping[str, Any]) -> Mapping[str, Any]:
    containers = predictor.get("containers")
    if not isinstance(containers, list) or not containers or not isinstance(containers[0], dict):
        raise ManifestError("spec.predictor.containers: must list the container to run")
    return containers[0]


def _arguments(container: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what follows the module; an image's own entry point is our predictor's, too."""
    words = [str(word) for word in (*container.get("command", []), *container.get("args", []))]
    if not words or words[0].startswith("--"):
        return tuple(words)
    if words[1:3] != ["-m", MODULE]:
        raise ManifestError(
            f"spec.predictor.containers[0].command: the local cluster runs `python -m {MODULE}` "
            f"only, got {' '.join(words[:3])!r}"
        )
    return tuple(words[3:])


def _replicas(predictor: Mapping[str, Any]) -> int:
    replicas = predictor.get("minReplicas", 1)
    if type(replicas) is not int or replicas < 0:
        raise ManifestError(f"spec.predictor.minReplicas: must be 0 or more, got {replicas!r}")
    return replicas


def _storage_uri(container: Mapping[str, Any]) -> str:
    for entry in container.get("env", []):
        if entry.get("name") == "STORAGE_URI":
            return str(entry.get("value", ""))
    raise ManifestError("spec.predictor.containers[0].env: has no STORAGE_URI with the artifact")


def _mounts(predictor: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, str]:
    names = {
        volume["name"]: volume["configMap"]["name"]
        for volume in predictor.get("volumes", [])
        if "configMap" in volume
    }
    return {
        mount["mountPath"].rstrip("/"): names[mount["name"]]
        for mount in container.get("volumeMounts", [])
        if mount["name"] in names
    }
