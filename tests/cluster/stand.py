"""A pipeline on a real cluster: its folder here, its namespace there, its commands, its load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optimizer.plan import plan_to_json
from penstock.domain import Adaptation
from penstock.spec import format_pipeline
from profiles import table
from serving.names import state_name
from tests import builders as make
from tests.cluster.pods.prometheus import one_rate
from tests.kube_context import Kube, wait_until
from tests.served_models import scaling_artifact

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "pods"
SCRIPTS_MAP = "test-scripts"
STORE_SECRET = "penstock-store"
FACTORS = {"locate": {"small": 2.0, "large": 3.0}, "classify": {"small": 5.0, "large": 7.0}}
TENSORS = {"locate": ("x", "y"), "classify": ("y", "z")}
REQUEST = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
)
CPU_CORES = 0.2
READY_S = 240.0


@dataclass
class Stand:
    """A pipeline's folder on this machine, its namespace on the cluster, and the command line."""

    kube: Kube
    space: str
    image: str
    folder: Path
    environment: dict[str, str]
    pipeline: Any = field(init=False)

    def __post_init__(self) -> None:
        stages = tuple(
            make.stage(name, variants=tuple(_variant(name, v) for v in ("small", "large")))
            for name in FACTORS
        )
        calm = Adaptation(step_s=1.0, window_steps=3, horizon_steps=2, cooldown_s=0.0, min_gain=0.0)
        self.pipeline = make.pipeline(
            namespace=self.space, stages=stages, max_cores=6.0, adaptation=calm
        )
        self.spec.write_text(format_pipeline(self.pipeline))
        table.save(make.profile_table(self.pipeline), self.folder / "profiles.json")
        for stage, factors in FACTORS.items():
            for variant, factor in factors.items():
                reads, writes = TENSORS[stage]
                scaling_artifact(
                    self.out / "models" / stage / variant, factor, reads=reads, writes=writes
                )

    @property
    def spec(self) -> Path:
        return self.folder / "pipeline.yaml"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def penstock(self, command: str, *arguments: str, code: int = 0) -> tuple[str, float]:
        """Run a command line in a process of its own; return what it said and its seconds."""
        words = ["-c", "from workflows.cli import main; main()", command, str(self.spec)]
        began_s = time.monotonic()
        ended = subprocess.run(
            [sys.executable, *words, "--out", str(self.out), *arguments],
            env={**os.environ, **self.environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        took_s = time.monotonic() - began_s
        assert ended.returncode == code, ended.stdout + ended.stderr + self.troubles()
        return ended.stdout, took_s

    def tick(self, rate_rps: float) -> float:
        """Run one tick that finds such a load; return its seconds, process start included."""
        with one_rate(rate_rps) as url:
            self.environment["PENSTOCK_PROMETHEUS_URL"] = url
            return self.penstock("adapt", "--once", "--cluster", "kubernetes")[1]

    def decisions(self) -> list[dict[str, Any]]:
        """Return the decisions that the state's ConfigMap holds, as ``kubectl get`` shows them."""
        name = state_name("digits")
        state = self.kube.core.read_namespaced_config_map(name, self.space).data
        return [json.loads(line) for line in state["decisions"].splitlines()]

    def apply(self, **options: Any) -> tuple[str, float]:
        """Apply a plan whose options differ by stage."""
        stages = tuple(
            make.option(name, cpu_cores=CPU_CORES, **options.get(name, {})) for name in FACTORS
        )
        plan = self.folder / "plan.json"
        plan.write_text(plan_to_json(make.plan(stages=stages)))
        return self.penstock("apply", "--plan", str(plan), "--cluster", "kubernetes")

    def template_hashes(self) -> dict[str, set[str]]:
        """Return the pod template hashes of the pipeline's ReplicaSets that have pods."""
        found: dict[str, set[str]] = {}
        for one in self.kube.apps.list_namespaced_replica_set(self.space).items:
            if one.spec.replicas:
                owner = one.metadata.owner_references[0].name
                found.setdefault(owner, set()).add(one.metadata.labels["pod-template-hash"])
        return found

    def pods(self, **labels: str) -> list[Any]:
        selector = ",".join(f"{k}={v}" for k, v in labels.items())
        return list(self.kube.core.list_namespaced_pod(self.space, label_selector=selector).items)

    def troubles(self) -> str:
        """Say what the pods say about themselves, for the message of a test that fails."""
        lines = []
        for pod in self.pods():
            lines.append(f"{pod.metadata.name}: {pod.status.phase}")
            status = pod.status
            every = [*(status.init_container_statuses or ()), *(status.container_statuses or ())]
            lines += [f"  {c.name}: {c.state}".replace("\n", " ") for c in every if not c.ready]
        events = self.kube.core.list_namespaced_event(self.space).items
        troubles = [e for e in events if e.type != "Normal"]
        lines += [f"{e.involved_object.name}: {e.message}" for e in troubles]
        return "\n".join(lines[-60:])

    def load(self, seconds: int, rate_rps: float, url: str = "") -> Load:
        """Start a load, on the graph's own Service unless a URL is given."""
        graph = f"http://digits.{self.space}.svc.cluster.local/"
        return Load(self, seconds, rate_rps, url or graph)


def _variant(stage: str, name: str) -> Any:
    return make.variant(
        name, artifact=f"models/{stage}/{name}", cpu_cores=CPU_CORES, memory_mib=256
    )


class Load:
    """An open-loop load from a pod in the namespace, against one URL."""

    def __init__(self, stand: Stand, seconds: int, rate_rps: float, url: str) -> None:
        self._stand, self.name = stand, f"load-{seconds}"
        container = {
            "name": "load",
            "image": stand.image,
            "command": ["python", "/etc/kserve/load.py"],
            "args": [url, str(rate_rps), str(seconds), REQUEST],
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
            "volumeMounts": [{"name": "scripts", "mountPath": "/etc/kserve"}],
        }
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": [{"name": "scripts", "configMap": {"name": SCRIPTS_MAP}}],
        }
        stand.kube.core.create_namespaced_pod(
            stand.space, {"metadata": {"name": self.name}, "spec": spec}
        )

    def running(self) -> Load:
        """Return once its requests are on their way."""
        wait_until(lambda: self._phase() != "Pending", "the load's pod should start", READY_S)
        time.sleep(3.0)
        return self

    def ended(self) -> bool:
        return self._phase() in ("Succeeded", "Failed")

    def result(self) -> dict[str, Any]:
        """Return what came back, once it is over."""
        wait_until(self.ended, "the load should end", READY_S)
        core = self._stand.kube.core
        text = core.read_namespaced_pod_log(self.name, self._stand.space, _preload_content=False)
        said = text.data.decode().strip()
        assert self._phase() == "Succeeded", said
        core.delete_namespaced_pod(self.name, self._stand.space)
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        return found

    def _phase(self) -> str:
        pod = self._stand.kube.core.read_namespaced_pod(self.name, self._stand.space)
        return str(pod.status.phase)
