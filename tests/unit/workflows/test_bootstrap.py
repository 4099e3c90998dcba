from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from kfp import components

from components.image import IMAGE
from penstock.domain import Pipeline
from penstock.errors import DomainError
from penstock.spec import parse_pipeline
from tests.builders import pipeline, stage, variant
from workflows.bootstrap import Results, compile_bootstrap, make_bootstrap
from workflows.parameters import Parameters


def compiled(of: Pipeline | None = None, **options: Any) -> dict[str, Any]:
    (document,) = yaml.safe_load_all(compile_bootstrap(of or pipeline(), **options))
    return document


def loop(document: dict[str, Any]) -> dict[str, Any]:
    tasks = document["root"]["dag"]["tasks"]
    (found,) = [task for task in tasks.values() if "parameterIterator" in task]
    return found


def items(document: dict[str, Any]) -> list[dict[str, str]]:
    return json.loads(loop(document)["parameterIterator"]["items"]["raw"])


def test_the_same_pipeline_gives_the_same_bytes() -> None:
    assert compile_bootstrap(pipeline()) == compile_bootstrap(pipeline())


def test_what_is_written_is_what_runs_here() -> None:
    read = components.load_component_from_text(compile_bootstrap(pipeline()))
    assert read.pipeline_spec == make_bootstrap(pipeline()).pipeline_spec  # type: ignore[attr-defined]


def test_the_document_is_the_default_of_its_parameter() -> None:
    parameters = compiled()["root"]["inputDefinitions"]["parameters"]
    assert parse_pipeline(parameters["spec"]["defaultValue"]) == pipeline()


def test_every_parameter_is_described_and_has_the_default_that_was_asked_for() -> None:
    defaults = Parameters(
        trainer="t", store="/s", shared="/d", load_rps=3, solver="highs", image="i"
    )
    parameters = compiled(defaults=defaults)["root"]["inputDefinitions"]["parameters"]
    assert [name for name, one in parameters.items() if not one.get("description")] == []
    found = {name: one["defaultValue"] for name, one in parameters.items() if name != "spec"}
    assert found == defaults.arguments()


def test_every_variant_is_measured_on_the_cpu_it_is_profiled_for() -> None:
    stages = (
        stage("locate", variants=(variant("small", cpu_cores=0.25), variant("large"))),
        stage("classify", variants=(variant("only", cpu_cores=2.0, memory_mib=256),)),
    )
    found = items(compiled(pipeline(stages=stages)))
    assert [(one["stage"], one["variant"], one["cpu"], one["memory"]) for one in found] == [
        ("locate", "small", "250m", "1024Mi"),
        ("locate", "large", "1000m", "1024Mi"),
        ("classify", "only", "2000m", "768Mi"),
    ]


def test_the_limits_are_inputs_that_the_loop_fills() -> None:
    """kfp compiles a limit taken straight from a loop's item to an input that nothing fills."""
    document = compiled()
    executor = document["deploymentSpec"]["executors"]["exec-profile-variant"]
    wanted = {
        re.search(r"\['(.*)'\]", text)[1] for text in executor["container"]["resources"].values()
    }  # type: ignore[index]
    measure = document["components"]["comp-measure-variant"]
    given = measure["dag"]["tasks"]["profile-variant"]["inputs"]["parameters"]
    known = measure["inputDefinitions"]["parameters"]
    assert wanted == {"pipelinechannel--cpu", "pipelinechannel--memory"}
    assert {given[name]["componentInputParameter"] for name in wanted} <= set(known)


def test_variants_are_measured_one_after_the_other_unless_asked() -> None:
    assert loop(compiled())["iteratorPolicy"] == {"parallelismLimit": 1}
    assert loop(compiled(parallel_profiles=4))["iteratorPolicy"] == {"parallelismLimit": 4}


def test_steps_that_fail_by_chance_are_repeated_and_others_are_not() -> None:
    document = compiled()
    measure = document["components"]["comp-measure-variant"]["dag"]["tasks"]
    tasks = {**document["root"]["dag"]["tasks"], **measure}
    repeated = {name for name, task in tasks.items() if "retryPolicy" in task}
    assert repeated == {"upload-models", "profile-variant"}


def test_all_components_run_on_the_one_image() -> None:
    executors = compiled()["deploymentSpec"]["executors"].values()
    assert {one["container"]["image"] for one in executors} == {IMAGE}


def test_the_pipeline_gives_every_result() -> None:
    outputs = compiled()["root"]["outputDefinitions"]["artifacts"]
    assert set(outputs) == set(Results._fields)


@pytest.mark.parametrize("load_rps", [-1.0, float("nan"), float("inf")])
def test_a_load_that_is_no_rate_is_refused(load_rps: float) -> None:
    with pytest.raises(DomainError, match="load_rps must be finite"):
        Parameters(load_rps=load_rps)
