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
from penstock.settings import Settings
from penstock.spec import parse_pipeline
from tests.builders import pipeline, stage, variant
from workflows.bootstrap import Results, compile_bootstrap, make_bootstrap
from workflows.parameters import Build, Parameters


def compiled(of: Pipeline | None = None, **options: Any) -> dict[str, Any]:
    document, _ = yaml.safe_load_all(compile_bootstrap(of or pipeline(), **options))
    return document


def platform(**options: Any) -> dict[str, Any]:
    """What Kubernetes is told of each step, by the step's name."""
    _, document = yaml.safe_load_all(compile_bootstrap(pipeline(), **options))
    executors = document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): one for name, one in executors.items()}


def containers(**options: Any) -> dict[str, Any]:
    executors = compiled(**options)["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): one["container"] for name, one in executors.items()}


def tasks(document: dict[str, Any]) -> dict[str, Any]:
    """All tasks, those of nested pipelines and conditions too."""
    dags = [document["root"], *document["components"].values()]
    return {name: one for dag in dags for name, one in dag.get("dag", {}).get("tasks", {}).items()}


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
    assert loop(compiled(build=Build(parallel_profiles=4)))["iteratorPolicy"] == {
        "parallelismLimit": 4
    }


STORED = {"upload-models", "profile-variant", "assemble-profiles", "gate-forecaster"}


def test_steps_that_fail_by_chance_are_repeated_and_others_are_not() -> None:
    repeated = {name for name, task in tasks(compiled()).items() if "retryPolicy" in task}
    assert repeated == STORED | {"apply-plan"}


def test_what_looks_beyond_its_inputs_is_not_cached() -> None:
    found = {name: one.get("cachingOptions", {}) for name, one in tasks(compiled()).items()}
    fresh = {name for name, options in found.items() if not options.get("enableCache")}
    steps = {name for name in found if name in platform()}
    assert fresh & steps == {"gate-forecaster", "render-manifests", "apply-plan"}


def test_every_step_has_a_name_for_people_and_a_time_limit() -> None:
    found = tasks(compiled())
    for name, told in platform().items():
        assert int(told["activeDeadlineSeconds"]) >= 900
        assert found[name]["taskInfo"]["name"] != name
    assert set(platform()) == set(containers())


def test_the_plan_is_applied_only_when_that_is_asked_for() -> None:
    (condition,) = [
        task for task in tasks(compiled()).values() if "condition" in task.get("triggerPolicy", {})
    ]
    assert "pipelinechannel--apply'] == true" in condition["triggerPolicy"]["condition"]
    parameters = compiled()["root"]["inputDefinitions"]["parameters"]
    assert parameters["apply"]["defaultValue"] is False


def test_only_steps_that_reach_an_s3_store_get_its_keys_and_no_key_is_written() -> None:
    build = Build(store_secret="keys", store_environment={"PENSTOCK_S3_ENDPOINT": "s3.example"})
    told = platform(build=build)
    with_keys = {name for name, one in told.items() if "secretAsEnv" in one}
    assert with_keys == STORED
    (secret,) = told["upload-models"]["secretAsEnv"]
    assert secret["secretName"] == "keys"
    assert {one["envVar"] for one in secret["keyToEnv"]} == {
        "PENSTOCK_S3_ACCESS_KEY",
        "PENSTOCK_S3_SECRET_KEY",
    }
    with_server = {name for name, one in containers(build=build).items() if "env" in one}
    assert with_server == STORED


def test_a_store_that_is_a_folder_needs_no_keys() -> None:
    told = platform(defaults=Parameters(store="/models"))
    assert [name for name, one in told.items() if "secretAsEnv" in one] == []


def test_rendering_and_applying_follow_the_settings_of_whoever_compiles() -> None:
    settings = Settings(service_account="models", solver="highs", store="s3://penstock")
    build = Build.of(settings, {"PENSTOCK_S3_SECRET_KEY": "x", "PENSTOCK_S3_REGION": "eu"})
    found = containers(build=build)
    for name in ("render-manifests", "apply-plan"):
        variables = {one["name"]: one["value"] for one in found[name]["env"]}
        assert variables["PENSTOCK_SERVICE_ACCOUNT"] == "models"
        assert "PENSTOCK_SOLVER" not in variables
    assert build.store_environment == {"PENSTOCK_S3_REGION": "eu"}


def test_no_variant_at_once_is_refused() -> None:
    with pytest.raises(DomainError, match="parallel_profiles must be at least 1"):
        Build(parallel_profiles=0)


def test_settings_are_the_defaults_of_parameters() -> None:
    settings = Settings(store="/models", solver="highs", predictor_image="i:1")
    found = Parameters.of(settings, trainer="t", load_rps=4.0)
    assert (found.store, found.solver, found.image) == ("/models", "highs", "i:1")
    assert (found.trainer, found.load_rps) == ("t", 4.0)
    assert Parameters.of(Settings()).store == "s3://penstock"


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


def test_every_cpu_allocation_is_measured_under_its_own_limit() -> None:
    choosy = variant("small", cpu_cores=0.5, cpu_choices=(0.25, 1.0))
    found = items(compiled(pipeline(stages=(stage("locate", variants=(choosy,)),))))
    assert [(one["variant"], one["cpu"]) for one in found] == [
        ("small", "250m"),
        ("small", "500m"),
        ("small", "1000m"),
    ]
