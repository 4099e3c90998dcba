"""The bootstrap pipeline for Kubeflow: from training code to manifests, and to a running plan.

::

    train models → upload → measure (each variant) → assemble → optimize → render → apply, if asked
    train load predictor → gate

``make_bootstrap`` declares it and ``compile_bootstrap`` writes it for a cluster.
``python -m workflows.bootstrap`` runs the same declaration on this machine; that process is
started, watched and ended by ``workflows.bootstrap_local``.
"""

# kfp reads annotations as they stand: no `from __future__ import annotations` here.
import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from google.protobuf import json_format  # type: ignore[import-untyped]  # ships no types
from kfp import dsl, kubernetes, local

from components.apply_plan import apply_plan
from components.assemble_profiles import assemble_profiles
from components.gate_forecaster import gate_forecaster
from components.optimize_plan import optimize_plan
from components.profile_variant import profile_variant
from components.render_manifests import render_manifests
from components.train_forecaster import train_forecaster
from components.train_models import train_models
from components.upload_models import upload_models
from penstock.cores import millicores
from penstock.domain import Pipeline
from penstock.spec import format_pipeline, read_pipeline
from workflows.parameters import Build, Parameters

CLIENT_MEMORY_MIB = 512
"""What a measuring step needs beside the replica it measures: the client and its requests."""
RETRIES = 2
"""For the steps that may fail by chance: a store that does not answer, an evicted pod."""
BACKOFF = "1s"
MINUTE_S = 60
TIMEOUTS_S = {
    "train-models": 240 * MINUTE_S,
    "upload-models": 60 * MINUTE_S,
    "train-forecaster": 60 * MINUTE_S,
    "profile-variant": 30 * MINUTE_S,
    "assemble-profiles": 60 * MINUTE_S,
}
"""Per step's pod, for those that work long; ``TIMEOUT_S`` for the others. A cluster's business:
the local runner knows no time."""
TIMEOUT_S = 15 * MINUTE_S
SECRET_KEYS = {
    "AWS_ACCESS_KEY_ID": "PENSTOCK_S3_ACCESS_KEY",
    "AWS_SECRET_ACCESS_KEY": "PENSTOCK_S3_SECRET_KEY",
}
"""Key of the Secret, which KServe reads under these names: variable that the store reads."""
PARENT_POLL_S = 0.5
DEFAULTS = Parameters()
BUILD = Build()


class Results(NamedTuple):
    """What the pipeline gives."""

    trained: dsl.Artifact
    catalog: dsl.Artifact
    profiles: dsl.Artifact
    forecaster: dsl.Model
    plan: dsl.Artifact
    manifests: dsl.Artifact


def make_bootstrap(
    pipeline: Pipeline, defaults: Parameters = DEFAULTS, build: Build = BUILD
) -> Callable[..., Any]:
    """Return the kfp pipeline that takes ``pipeline`` from training code to manifests.

    Its variants and their CPU allocations are fixed here, one measuring task for each; the document
    that a run gets as ``spec`` may differ in everything else.
    """
    variants = _variants(pipeline)
    steps = _Steps(build, s3=defaults.store.startswith("s3://"))
    measure_variant = steps.measure_variant()

    @dsl.pipeline(
        name=f"penstock-bootstrap-{pipeline.name}",
        description="From training code to the manifests of an inference pipeline.",
    )
    def bootstrap(  # noqa: PLR0913 - a person fills these in, each in its own field
        spec: str = format_pipeline(pipeline),
        trainer: str = defaults.trainer,
        store: str = defaults.store,
        shared: str = defaults.shared,
        load_rps: float = float(defaults.load_rps),
        solver: str = defaults.solver,
        image: str = defaults.image,
        apply: bool = defaults.apply,
        cluster: str = defaults.cluster,
    ) -> Results:
        """From training code to the manifests of an inference pipeline.

        Args:
            spec: Pipeline document, as YAML text.
            trainer: Module that trains the models, by its dotted name.
            store: Artifact store, a folder or s3://bucket/prefix.
            shared: Folder of public data sets with the load history; empty takes the generator.
            load_rps: Load to plan for, in requests per second.
            solver: Solver, one of auto, frontier, mip, glpk, highs, exhaustive.
            image: Image of the predictors.
            apply: Whether the cluster is made to run the plan, or it is only rendered.
            cluster: What to apply to, kubernetes (where the step runs) or memory (a dry run).
        """
        training = steps.known(train_models(trainer=trainer), "train models")
        trained = training.outputs["trained"]
        upload = steps.stored(
            upload_models(spec=spec, store=store, trained=trained), "upload models"
        )
        catalog = upload.outputs["catalog"]
        with dsl.ParallelFor(variants, name="variants", parallelism=build.parallel_profiles) as one:
            measured = measure_variant(
                spec=spec,
                stage=one.stage,
                variant=one.variant,
                cpu=one.cpu,
                memory=one.memory,
                trained=trained,
                catalog=catalog,
            ).set_display_name("measure variant")
        parts = dsl.Collected(measured.output)
        table = steps.stored(
            assemble_profiles(spec=spec, parts=parts, trained=trained, catalog=catalog),
            "assemble profiles",
        )
        learning = steps.known(train_forecaster(spec=spec, shared=shared), "train load predictor")
        gate = steps.stored(
            gate_forecaster(
                spec=spec, store=store, shared=shared, candidate=learning.outputs["candidate"]
            ),
            "gate load predictor",
            cached=False,
        )
        solving = steps.known(
            optimize_plan(
                spec=spec, load_rps=load_rps, solver=solver, profiles=table.outputs["profiles"]
            ),
            "optimize plan",
        )
        plan = solving.outputs["plan"]
        rendering = steps.placed(
            render_manifests(spec=spec, image=image, plan=plan, catalog=catalog),
            "render manifests",
        )
        with dsl.If(apply == True, name="apply"):  # noqa: E712 - kfp reads the comparison
            steps.placed(
                apply_plan(
                    spec=spec,
                    image=image,
                    cluster=cluster,
                    plan=plan,
                    catalog=catalog,
                    manifests=rendering.outputs["manifests"],
                ),
                "apply plan",
            ).set_retry(RETRIES, backoff_duration=BACKOFF)
        return Results(
            trained=trained,
            catalog=catalog,
            profiles=table.outputs["profiles"],
            forecaster=gate.outputs["forecaster"],
            plan=plan,
            manifests=rendering.outputs["manifests"],
        )

    return bootstrap  # type: ignore[no-any-return]  # kfp's decorator has no types


class _Steps:
    """What every step is given beside its inputs: a name, a time limit, retries, keys, caching.

    Results are kept by what a step is given. So what reads or writes anything else is not cached:
    the published predictor, the cluster, and the environment of what renders. Uploading is: a
    version never changes, and all that is measured hangs on its result.
    """

    def __init__(self, build: Build, *, s3: bool) -> None:
        self._build = build
        self._s3 = s3

    def known(self, task: dsl.PipelineTask, name: str) -> dsl.PipelineTask:
        """Return a step that depends on its inputs alone."""
        kubernetes.set_timeout(task, TIMEOUTS_S.get(task.name, TIMEOUT_S))
        return task.set_display_name(name)

    def stored(self, task: dsl.PipelineTask, name: str, *, cached: bool = True) -> dsl.PipelineTask:
        """Return a step that reaches the store, with the keys of an S3 one."""
        if self._s3:
            for variable, value in self._build.store_environment.items():
                task.set_env_variable(variable, value)
            kubernetes.use_secret_as_env(task, self._build.store_secret, SECRET_KEYS)
        task.set_retry(RETRIES, backoff_duration=BACKOFF).set_caching_options(cached)
        return self.known(task, name)

    def placed(self, task: dsl.PipelineTask, name: str) -> dsl.PipelineTask:
        """Return a step that renders by the settings of whoever compiled the pipeline."""
        for variable, value in self._build.environment.items():
            task.set_env_variable(variable, value)
        return self.known(task, name).set_caching_options(False)

    def measure_variant(self) -> Callable[..., Any]:
        """Return the pipeline that measures one variant.

        It is one of its own because kfp resolves a limit from a pipeline's parameter, not from a
        field of a loop's item.
        """

        @dsl.pipeline(
            name="measure-variant", description="Measure one variant on its own share of CPU."
        )
        def measure_variant(  # noqa: PLR0913 - kfp's way to pass on what the loop's body needs
            spec: str,
            stage: str,
            variant: str,
            cpu: str,
            memory: str,
            trained: dsl.Input[dsl.Artifact],
            catalog: dsl.Input[dsl.Artifact],
        ) -> dsl.Artifact:
            """Measure one variant on its own share of CPU.

            Args:
                spec: Pipeline document, as YAML text.
                stage: Name of the stage.
                variant: Name of the stage's variant.
                cpu: CPU that one replica gets, as Kubernetes writes it; request and limit.
                memory: Memory of one replica and of its measuring client; request and limit.
                trained: What train_models made.
                catalog: What upload_models wrote.
            """
            task = profile_variant(
                spec=spec, stage=stage, variant=variant, cpu=cpu, trained=trained, catalog=catalog
            )
            self.stored(task, "profile variant")
            task.set_cpu_request(cpu).set_cpu_limit(cpu)
            task.set_memory_request(memory).set_memory_limit(memory)
            return task.outputs["profile"]

        return measure_variant  # type: ignore[no-any-return]  # kfp's decorator has no types


def compile_bootstrap(
    pipeline: Pipeline, defaults: Parameters = DEFAULTS, build: Build = BUILD
) -> str:
    """Return the pipeline as Kubeflow's IR YAML; the same pipeline gives the same bytes.

    Written here and not by kfp's compiler, whose comment at the top of the file breaks over a
    parameter default of several lines, such as our document, and leaves a file that is not YAML.
    What Kubernetes is told beside (time limits, the store's Secret) is a second document.
    """
    compiled: Any = make_bootstrap(pipeline, defaults, build)
    parts = [compiled.pipeline_spec, compiled.platform_spec]
    documents = [json_format.MessageToDict(part) for part in parts]
    return yaml.dump_all(
        [document for document in documents if document], Dumper=_Dumper, width=100, sort_keys=True
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the pipeline in this process and its steps' processes; end when the parent is gone."""
    parser = argparse.ArgumentParser(prog="python -m workflows.bootstrap", description=__doc__)
    parser.add_argument("--spec", type=Path, required=True, help="pipeline document")
    parser.add_argument("--arguments", required=True, help="the pipeline's arguments, as JSON")
    parser.add_argument("--root", type=Path, required=True, help="folder for what steps give")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the cache")
    parser.add_argument("--results", type=Path, required=True, help="file: where results lie")
    options = parser.parse_args(argv)
    _end_with_parent()
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(message)s")
    # limits are the kernel's business and the image is this environment: nothing to warn about
    warnings.filterwarnings("ignore", category=UserWarning, module="kfp")
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="kfp")
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(options.root),
        workspace_root=str(options.root / "workspace"),
        enable_caching=True,
        cache_root=str(options.cache),
    )
    pipeline = read_pipeline(options.spec)
    run = make_bootstrap(pipeline)(spec=format_pipeline(pipeline), **json.loads(options.arguments))
    paths = {name: artifact.path for name, artifact in run.outputs.items()}
    options.results.write_text(json.dumps(paths), encoding="utf-8")
    return 0


def _end_with_parent() -> None:
    """End this process and its steps' when the parent is gone, even by SIGKILL."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _variants(pipeline: Pipeline) -> list[dict[str, str]]:
    """Return the items of the measuring loop, CPU and memory as Kubernetes writes them.

    There is one for each CPU allocation, so that its limit is the pod's.
    """
    return [
        {
            "stage": stage.name,
            "variant": variant.name,
            "cpu": millicores(cores),
            "memory": f"{variant.memory_mib + CLIENT_MEMORY_MIB}Mi",
        }
        for stage in pipeline.stages
        for variant in stage.variants
        for cores in variant.cpu_allocations
    ]


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, so that a change of one line shows as one."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


if __name__ == "__main__":
    sys.exit(main())
