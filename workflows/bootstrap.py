"""The bootstrap pipeline for Kubeflow: from training code to manifests.

::

    train models → upload → measure (each variant) → assemble → optimize → render
    train load predictor

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
from kfp import dsl, local

from components.assemble_profiles import assemble_profiles
from components.optimize_plan import optimize_plan
from components.profile_variant import profile_variant
from components.render_manifests import render_manifests
from components.train_forecaster import train_forecaster
from components.train_models import train_models
from components.upload_models import upload_models
from penstock.domain import Pipeline
from penstock.spec import format_pipeline, read_pipeline
from workflows.parameters import Parameters

CLIENT_MEMORY_MIB = 512
"""What a measuring step needs beside the replica it measures: the client and its requests."""
RETRIES = 2
"""For the steps that may fail by chance: a store that does not answer, an evicted pod."""
BACKOFF = "1s"
PARENT_POLL_S = 0.5
DEFAULTS = Parameters()


class Results(NamedTuple):
    """What the pipeline gives."""

    trained: dsl.Artifact
    catalog: dsl.Artifact
    profiles: dsl.Artifact
    forecaster: dsl.Model
    plan: dsl.Artifact
    manifests: dsl.Artifact


@dsl.pipeline(name="measure-variant", description="Measure one variant on its own share of CPU.")
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

    A pipeline of its own because kfp resolves a limit from a pipeline's parameter, not from a field
    of a loop's item.

    Args:
        spec: Pipeline document, as YAML text.
        stage: Name of the stage.
        variant: Name of the stage's variant.
        cpu: CPU that one replica gets, as Kubernetes writes it; request and limit.
        memory: Memory of one replica and of the client that measures it; request and limit.
        trained: What train_models made.
        catalog: What upload_models wrote.
    """
    task = profile_variant(
        spec=spec, stage=stage, variant=variant, trained=trained, catalog=catalog
    )
    task.set_display_name("profile variant").set_retry(RETRIES, backoff_duration=BACKOFF)
    task.set_cpu_request(cpu).set_cpu_limit(cpu)
    task.set_memory_request(memory).set_memory_limit(memory)
    return task.outputs["profile"]


def make_bootstrap(
    pipeline: Pipeline, defaults: Parameters = DEFAULTS, *, parallel_profiles: int = 1
) -> Callable[..., Any]:
    """Return the kfp pipeline that takes ``pipeline`` from training code to manifests.

    Its variants are fixed here, one measuring task for each; the document that a run gets as
    ``spec`` may differ in everything else. More than one of ``parallel_profiles`` is for clusters,
    where every step has its own CPU: on one machine they would slow each other down.
    """
    variants = _variants(pipeline)

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
        """
        training = train_models(trainer=trainer).set_display_name("train models")
        trained = training.outputs["trained"]
        upload = upload_models(spec=spec, store=store, trained=trained)
        upload.set_display_name("upload models").set_retry(RETRIES, backoff_duration=BACKOFF)
        catalog = upload.outputs["catalog"]
        with dsl.ParallelFor(variants, name="variants", parallelism=parallel_profiles) as one:
            measured = measure_variant(
                spec=spec,
                stage=one.stage,
                variant=one.variant,
                cpu=one.cpu,
                memory=one.memory,
                trained=trained,
                catalog=catalog,
            ).set_display_name("measure variant")
        table = assemble_profiles(
            spec=spec, parts=dsl.Collected(measured.output), trained=trained, catalog=catalog
        ).set_display_name("assemble profiles")
        learning = train_forecaster(spec=spec, shared=shared)
        learning.set_display_name("train load predictor")
        solving = optimize_plan(
            spec=spec, load_rps=load_rps, solver=solver, profiles=table.outputs["profiles"]
        ).set_display_name("optimize plan")
        rendering = render_manifests(
            spec=spec, image=image, plan=solving.outputs["plan"], catalog=catalog
        ).set_display_name("render manifests")
        return Results(
            trained=trained,
            catalog=catalog,
            profiles=table.outputs["profiles"],
            forecaster=learning.outputs["forecaster"],
            plan=solving.outputs["plan"],
            manifests=rendering.outputs["manifests"],
        )

    return bootstrap  # type: ignore[no-any-return]  # kfp's decorator has no types


def compile_bootstrap(
    pipeline: Pipeline, defaults: Parameters = DEFAULTS, *, parallel_profiles: int = 1
) -> str:
    """Return the pipeline as Kubeflow's IR YAML; the same pipeline gives the same bytes.

    Written here and not by kfp's compiler, whose comment at the top of the file breaks over a
    parameter default of several lines, such as our document, and leaves a file that is not YAML.
    """
    compiled: Any = make_bootstrap(pipeline, defaults, parallel_profiles=parallel_profiles)
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
    """Return the items of the measuring loop, CPU and memory as Kubernetes writes them."""
    return [
        {
            "stage": stage.name,
            "variant": variant.name,
            "cpu": f"{round(variant.cpu_cores * 1000)}m",
            "memory": f"{variant.memory_mib + CLIENT_MEMORY_MIB}Mi",
        }
        for stage in pipeline.stages
        for variant in stage.variants
    ]


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, so that a change of one line shows as one."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


if __name__ == "__main__":
    sys.exit(main())
