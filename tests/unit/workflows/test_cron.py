from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from penstock.errors import ManifestError
from penstock.settings import Settings, read_settings
from tests.builders import pipeline
from tests.shared_data import shared
from workflows.cron import CronSettings, check_cron, make_cron, to_yaml

CRD = "data/argo/v4.1.2/argoproj.io_cronworkflows.yaml"
EXAMPLES = "data/argo/v4.1.2/examples"
ANSWERS = "data/kubernetes/apiserver-v1.36-answers.json"


def strict(schema: Any) -> Any:
    """Refuse what an API server with strict field validation refuses: an unknown field."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    closed = isinstance(made.get("properties"), dict) and made.get("type") == "object"
    if closed and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


@lru_cache(maxsize=1)
def validator() -> Draft202012Validator:
    crd = yaml.load(shared(CRD).read_bytes(), Loader=yaml.CSafeLoader)
    return Draft202012Validator(strict(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]))


def faults(manifest: dict[str, Any]) -> list[str]:
    found = [f"{error.json_path}: {error.message}" for error in validator().iter_errors(manifest)]
    return [*found, *check_cron(manifest)]


def made(**fields: Any) -> dict[str, Any]:
    return make_cron(pipeline(), Settings(), CronSettings(**fields))


def upstream_examples() -> Iterator[dict[str, Any]]:
    for path in sorted(shared(EXAMPLES).glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] == "CronWorkflow":
                yield document


def changed(path: str, value: Any) -> dict[str, Any]:
    """A good CronWorkflow with one field set, or removed for ``None``."""
    manifest = copy.deepcopy(made())
    *parents, last = path.split(".")
    at: Any = manifest
    for key in parents:
        at = at[int(key)] if key.isdecimal() else at[key]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return manifest


def test_what_is_made_is_valid_against_the_strict_full_schema() -> None:
    assert faults(made()) == []


def test_the_strict_schema_sees_an_unknown_field() -> None:
    assert any("'entrypiont'" in f for f in faults(changed("spec.workflowSpec.entrypiont", "x")))


def test_upstream_examples_pass() -> None:
    examples = list(upstream_examples())
    assert len(examples) == 5
    assert [faults(one) for one in examples] == [[]] * 5


def test_what_a_real_api_server_or_the_controller_refused_is_refused() -> None:
    cases = json.loads(shared(ANSWERS).read_text())["cases"]
    sent = {c["id"]: c["request"]["body"] for c in cases if c["id"].startswith("cw-")}
    assert len(sent) > 10
    assert [name for name, body in sent.items() if not faults(body)] == ["cw-create"]


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("spec.schedules", ["99 * * * *"], "spec.schedules[0]: '99 * * * *': minute '99'"),
        ("spec.schedules", ["* * * * *", "every 5"], "spec.schedules[1]: 'every 5': needs 5"),
        ("spec.schedules", ["CRON_TZ=Asia/Tokyo 0 2 * * *"], "spec.schedules[0]"),
        ("spec.schedules", [], "spec.schedules: must be a list"),
        ("spec.schedules", "* * * * *", "spec.schedules: must be a list"),
        ("spec.schedules", None, "spec.schedules: must be a list"),
        ("spec.schedule", "* * * * *", "spec.schedule: no longer known"),
        ("spec.timezone", "Mars/Base", "spec.timezone: must be an IANA time zone"),
        ("spec.timezone", "../etc/passwd", "spec.timezone: must be an IANA time zone"),
        ("spec.timezone", "Europe", "spec.timezone: must be an IANA time zone"),
        ("spec.concurrencyPolicy", "Never", "spec.concurrencyPolicy: must be one of"),
        ("spec.startingDeadlineSeconds", -1, "spec.startingDeadlineSeconds: must be at least 0"),
        ("spec.workflowSpec.entrypoint", "tock", "there are: tick"),
        ("spec.workflowSpec.entrypoint", None, "spec.workflowSpec.entrypoint: is missing"),
        ("spec.workflowSpec.templates", None, "there are: none"),
        ("spec.workflowSpec.templates.0.container", None, "templates[0]: must have one kind"),
        ("spec.workflowSpec.templates.0.container.image", None, "container.image: is missing"),
        ("spec.workflowSpec.templates.0.suspend", {}, "templates[0]: must have one kind"),
        ("metadata.name", "n" * 53, "metadata.name: must be at most 52 characters, got 53"),
        ("metadata.name", "X_Y", "metadata.name: only lower case"),
        ("metadata.name", None, "metadata.name: is missing"),
    ],
)
def test_the_checks_catch_what_no_schema_does(path: str, value: Any, fault: str) -> None:
    found = check_cron(changed(path, value))
    assert any(fault in one for one in found), found


@pytest.mark.parametrize("broken", [{}, {"spec": []}, {"metadata": 1, "spec": {"schedules": [1]}}])
def test_a_manifest_of_another_shape_gives_faults_not_a_crash(broken: dict[str, Any]) -> None:
    assert check_cron(broken)


def test_ticks_never_overlap_and_end_before_the_next() -> None:
    spec = made(schedule="*/2 * * * *")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["workflowSpec"]["activeDeadlineSeconds"] == 110


def test_the_tick_runs_under_the_restricted_pod_security_standard() -> None:
    workflow = made()["spec"]["workflowSpec"]
    container = workflow["templates"][0]["container"]["securityContext"]
    assert workflow["securityContext"]["runAsNonRoot"] is True
    assert workflow["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert container["readOnlyRootFilesystem"] is True


def test_the_image_and_the_settings_reach_the_pod() -> None:
    settings = Settings(image="registry.example/p:2", prometheus_url="http://prometheus:9090")
    container = make_cron(pipeline(), settings)["spec"]["workflowSpec"]["templates"][0]["container"]
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert container["image"] == "registry.example/p:2"
    assert variables["PENSTOCK_PROMETHEUS_URL"] == "http://prometheus:9090"
    assert "PENSTOCK_SCHEMAS" not in variables


def test_the_decision_is_an_output_artifact_where_argo_has_a_place_for_it() -> None:
    kept = make_cron(pipeline(), read_settings({"PENSTOCK_ARGO_ARTIFACTS": "on"}))
    assert faults(kept) == []
    outputs = kept["spec"]["workflowSpec"]["templates"][0]["outputs"]
    assert outputs["artifacts"] == [
        {
            "name": "decision-record",
            "path": "/tmp/penstock/decision.json",
            "archive": {"none": {}},
            "optional": True,
        }
    ]
    without = made()["spec"]["workflowSpec"]["templates"][0]["outputs"]
    assert "artifacts" not in without


def test_a_name_that_is_too_long_is_refused_with_what_to_do() -> None:
    with pytest.raises(ManifestError, match="shorten the pipeline's name by 3"):
        make_cron(pipeline(name="p" * 40), Settings())


def test_a_bad_schedule_and_zone_are_refused() -> None:
    with pytest.raises(ManifestError, match=r"spec\.schedules\[0\].*minute '99'"):
        made(schedule="99 * * * *")
    with pytest.raises(ManifestError, match=r"spec\.timezone"):
        made(time_zone="Mars/Base")


def test_yaml_is_the_same_every_time_and_reads_back() -> None:
    text = to_yaml(made())
    assert text == to_yaml(made())
    assert yaml.safe_load(text) == made()


def test_the_tick_goes_to_the_cluster_it_runs_in_and_no_setting_is_the_word_none() -> None:
    (template,) = make_cron(pipeline(), Settings())["spec"]["workflowSpec"]["templates"]
    container = template["container"]
    assert container["args"][-4:] == ["--cluster", "kubernetes", "--out", "/tmp/penstock"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert "None" not in environment.values()
    assert read_settings(environment) == Settings(metrics_folder="/tmp/penstock/numbers")
