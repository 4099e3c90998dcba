"""The example with an Ensemble and a Switch: planned, rendered, judged, and run for real."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from optimizer.plan import solve_plan, verify
from optimizer.solvers import make_solver
from penstock.clock import RealClock
from penstock.spec import read_pipeline
from serving.cluster.local import LocalCluster
from serving.diff import diff
from serving.lint import lint
from serving.loadgen import Target, run_load
from serving.render import RenderSettings, render
from serving.schema import schema_faults
from tests.applying import PIPELINE, bring, live
from tests.builders import profile_table
from tests.served_models import adding_artifact, scaling_artifact
from tests.shared_data import shared

EXAMPLE = Path(__file__).parents[2] / "examples" / "graphs" / "reading.yaml"
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}


def rendered(folder: Path, **artifacts: Path):
    asked = replace(read_pipeline(EXAMPLE), name=PIPELINE)
    table = profile_table(asked)
    outcome = solve_plan(asked, table, 10.0, solver=make_solver())
    assert outcome.plan is not None
    assert verify(outcome.plan, asked, table) == ()
    uris = {
        f"{stage.name}/{variant.name}": artifacts.get(stage.name, folder).as_uri()
        for stage in asked.stages
        for variant in stage.variants
    }
    settings = RenderSettings(image="i", store_uri="s3://m", artifact_uris=uris)
    return render(asked, outcome.plan, settings)


def test_the_rendered_example_has_no_fault_for_lint_or_the_schemas(tmp_path):
    manifests = rendered(tmp_path)
    nodes = manifests[-1]["spec"]["nodes"]

    assert {name: node["routerType"] for name, node in nodes.items()} == {
        "root": "Switch",
        "careful": "Sequence",
        "readers": "Ensemble",
    }
    assert lint(manifests) == ()
    assert schema_faults(manifests, shared("data/kserve")) == ()


@pytest.mark.slow
async def test_every_request_takes_its_branch_and_the_ensemble_is_joined(tmp_path):
    wanted = rendered(
        tmp_path,
        quick=scaling_artifact(tmp_path / "quick", 10.0),
        left=scaling_artifact(tmp_path / "left", 2.0),
        right=scaling_artifact(tmp_path / "right", 3.0),
        judge=adding_artifact(tmp_path / "judge", "left.y", "right.y"),
    )
    requests = [{"inputs": [TENSOR]}, {"inputs": [TENSOR], "parameters": {"careful": True}}]
    answers = []
    cluster = LocalCluster.start(tmp_path / "local", tied=True)
    try:
        report = await asyncio.to_thread(bring, cluster, wanted, RealClock())
        assert report.ok, report.error
        target = Target(url=cluster.gateway_url(PIPELINE))
        for request in requests:
            body = json.dumps(request).encode()
            result = await run_load(
                target, (0.0,), [body], on_answer=lambda _, body: answers.append(body)
            )
            assert result.lost == 0
        left_over = diff(wanted, live(cluster))
    finally:
        cluster.stop()

    assert [json.loads(body)["outputs"][0]["data"] for body in answers] == [[10, 20], [5, 10]]
    assert left_over == ()
