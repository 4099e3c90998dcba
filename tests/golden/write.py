"""The golden files: what every example compiles and renders to, for review as a diff.

One example also shows its services under each autoscaler.

``python -m tests.golden.write`` writes them anew. They depend on the examples' documents and on the
code alone, not on profiles or a solver; of the environment only ``PENSTOCK_IMAGE`` shows in them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from penstock.domain import Option, Pipeline, Plan, Promise, Stage
from penstock.settings import IMAGE, PREDICTOR_IMAGE, Settings
from penstock.spec import read_pipeline
from serving.autoscale import BAND_FIELDS, Autoscaling
from serving.manifest import Manifest, write_tree
from serving.manifest import to_yaml as manifests_to_yaml
from serving.render import RenderSettings, render, to_apply
from workflows.bootstrap import compile_bootstrap
from workflows.cron import make_cron, to_yaml
from workflows.deployment import DeploySettings, Inputs, Loop, deployment_files
from workflows.parameters import Build, Parameters

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent
STORE = "s3://penstock"
AUTOSCALED = "digits"


def examples() -> tuple[str, ...]:
    """Return the names of the examples that have a document."""
    return tuple(sorted(path.parent.name for path in ROOT.glob("examples/*/pipeline.yaml")))


def golden_files(example: str) -> dict[str, str]:
    """Return an example's golden files, by their path below its golden folder."""
    pipeline = read_pipeline(ROOT / "examples" / example / "pipeline.yaml")
    parameters = Parameters(trainer=f"examples.{example}.train", store=STORE, image=PREDICTOR_IMAGE)
    access = {"PENSTOCK_S3_ENDPOINT": "https://s3.example:9000"}
    settings = Settings(image=IMAGE, store=STORE, prometheus_url="http://prometheus:9090")
    return {
        "bootstrap.yaml": compile_bootstrap(pipeline, parameters, Build.of(settings, access)),
        "cron.yaml": to_yaml(make_cron(pipeline, settings)),
        **{f"deploy/{name}": text for name, text in _deployment(pipeline, settings).items()},
        **{f"manifests/{name}": text for name, text in _manifests(pipeline)},
        **(dict(_autoscaled(pipeline)) if example == AUTOSCALED else {}),
    }


def main() -> None:
    """Write the golden files of all examples and remove those that nothing gives any more."""
    for example in examples():
        folder = GOLDEN / example
        files = golden_files(example)
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for path in folder.rglob("*.yaml"):
            if path.relative_to(folder).as_posix() not in files:
                path.unlink()


def _deployment(pipeline: Pipeline, settings: Settings) -> dict[str, str]:
    """Return both ways to run the tick; the configuration's text is the document's, told short."""
    inputs = Inputs(texts={"pipeline.yaml": "the document", "profiles.json": "the profiles"})
    watch = DeploySettings(overlay="dev", loop=Loop.WATCH)
    files = deployment_files(pipeline, inputs, settings, DeploySettings())
    watched = deployment_files(pipeline, inputs, settings, watch)["pipeline/watch.yaml"]
    del files["pipeline/cron.yaml"]  # is a golden file by itself
    return {**files, "pipeline/watch.yaml": watched}


def _manifests(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    settings = RenderSettings(image=PREDICTOR_IMAGE, store_uri=STORE)
    with tempfile.TemporaryDirectory() as folder:
        for path in write_tree(render(pipeline, _fixed_plan(pipeline), settings), Path(folder)):
            yield path.name, path.read_text(encoding="utf-8")


def _autoscaled(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """Yield what an apply follows under each autoscaler, as far as it differs between them."""
    for autoscaling in Autoscaling:
        settings = RenderSettings(
            image=PREDICTOR_IMAGE,
            store_uri=STORE,
            autoscaling=autoscaling,
            prometheus_url="http://prometheus.monitoring.svc:9090",
        )
        manifests = to_apply(pipeline, _with_bands(_fixed_plan(pipeline)), settings)
        parts = [_replica_part(m) for m in manifests if m["kind"] in ("InferenceService", "Scale")]
        yield f"autoscaling-{autoscaling}.yaml", manifests_to_yaml(parts)


def _replica_part(manifest: Manifest) -> Manifest:
    if manifest["kind"] != "InferenceService":
        return manifest
    predictor = {k: v for k, v in manifest["spec"]["predictor"].items() if k in BAND_FIELDS}
    metadata = {k: manifest["metadata"][k] for k in ("name", "annotations")}
    return {**manifest, "metadata": metadata, "spec": {"predictor": predictor}}


def _with_bands(plan: Plan) -> Plan:
    """Return the plan as a forecast would leave it: the first stage with a band, one without."""
    first, *others = plan.stages
    return replace(plan, stages=(replace(first, band=(1, 3)), *others))


def _fixed_plan(pipeline: Pipeline) -> Plan:
    """Return a plan with every stage's middle variant at its largest batch, twice."""
    stages = tuple(_option(stage) for stage in pipeline.stages)
    promise = Promise(
        latency_s=0.1,
        capacity_rps=20.0,
        cost_cores=sum(option.cost_cores for option in stages),
        accuracy=0.8,
        accuracy_product=0.8,
        accuracy_joint=None,
        objective=1.0,
    )
    return Plan(pipeline=pipeline.name, load_rps=10.0, stages=stages, promise=promise)


def _option(stage: Stage) -> Option:
    variant = stage.variants[len(stage.variants) // 2]
    return Option(
        stage=stage.name,
        variant=variant.name,
        batch_size=variant.batch_sizes[-1],
        cpu_cores=variant.cpu_cores,
        replicas=min(2, stage.max_replicas),
        latency_s=0.05,
        capacity_rps=20.0,
        accuracy=0.9,
    )


if __name__ == "__main__":
    main()
