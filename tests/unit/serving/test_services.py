from __future__ import annotations

import json

import pytest

from serving.services import batching, cpu_quantity, inference_service, memory_quantity
from serving.settings import RenderSettings
from tests import builders as make

ANNOTATIONS = "serving.kserve.io/"


def settings(**fields):
    return RenderSettings(**{"image": "penstock/predictor:1", "store_uri": "s3://models", **fields})


def service(option=None, **fields):
    stage = make.stage(max_replicas=4)
    pipeline = make.pipeline(stages=(stage,))
    return inference_service(pipeline, stage, option or make.option(replicas=3), settings(**fields))


def predictor(option=None, **fields):
    return service(option, **fields)["spec"]["predictor"]


def container(option=None, **fields):
    return predictor(option, **fields)["containers"][0]


def test_mode_and_class_are_set_at_creation():
    annotations = service()["metadata"]["annotations"]
    assert annotations == {
        f"{ANNOTATIONS}deploymentMode": "Standard",
        f"{ANNOTATIONS}autoscalerClass": "none",
    }


def test_the_plan_sets_the_replicas():
    assert predictor()["minReplicas"] == 3
    assert "maxReplicas" not in predictor()


def test_an_autoscaler_gets_a_band_from_the_plan_to_the_stages_limit():
    fields = predictor(autoscaling="hpa", band=2.0)
    assert (fields["minReplicas"], fields["maxReplicas"]) == (3, 4)
    assert (fields["scaleMetric"], fields["scaleTarget"]) == ("cpu", 80)


def test_an_autoscaler_keeps_one_replica_to_measure():
    fields = predictor(make.option(replicas=0), autoscaling="hpa")
    assert (fields["minReplicas"], fields["maxReplicas"]) == (1, 2)


def test_a_stopping_pod_serves_until_routers_know():
    hook = container(pre_stop_s=7)["lifecycle"]["preStop"]
    assert hook == {"exec": {"command": ["sleep", "7"]}}
    assert predictor(pre_stop_s=7, drain_s=5)["terminationGracePeriodSeconds"] == 7 + 5 + 1


def test_an_update_takes_no_pod_away_first():
    strategy = predictor()["deploymentStrategy"]
    assert strategy["type"] == "RollingUpdate"
    assert strategy["rollingUpdate"]["maxUnavailable"] == 0


def test_readiness_is_asked_over_http():
    probe = container()["readinessProbe"]
    assert probe["httpGet"] == {"path": "/v2/health/ready", "port": 8080}


def test_a_pod_gets_exactly_the_share_that_was_profiled():
    resources = container(make.option(cpu_cores=0.25))["resources"]
    assert resources["limits"] == {"cpu": "250m", "memory": "512Mi"}
    assert resources["limits"] == resources["requests"]


def test_a_pod_runs_under_the_restricted_policy():
    assert predictor()["securityContext"]["runAsNonRoot"] is True
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }


def test_the_limits_are_mounted_as_a_folder_and_followed():
    mounts = {m["name"]: m for m in container()["volumeMounts"]}
    assert "subPath" not in mounts["batching"]  # a subPath is never updated
    folder = mounts["batching"]["mountPath"]
    arguments = container()["args"]
    assert arguments[arguments.index("--batch-file") + 1] == f"{folder}/locate-small.json"


def test_the_model_is_named_as_the_router_will_ask_for_it():
    arguments = container()["args"]
    assert arguments[arguments.index("--model-name") + 1] == service()["metadata"]["name"]


def test_protocol_and_artifact_are_in_the_environment():
    env = {e["name"]: e["value"] for e in container()["env"]}
    assert env == {"STORAGE_URI": "s3://models/models/small", "PROTOCOL": "v2"}


def test_an_uploaded_version_goes_before_the_default_artifact():
    given = {"locate/small": "s3://models/locate-small@abc"}
    env = {e["name"]: e["value"] for e in container(artifact_uris=given)["env"]}
    assert env["STORAGE_URI"] == "s3://models/locate-small@abc"


def test_the_limits_have_one_file_per_running_variant():
    locate = make.option("locate", batch_size=4, max_wait_s=0.02)
    stages = (locate, make.option("classify", variant="large"))
    data = batching(make.pipeline(), make.plan(stages=stages))["data"]
    assert sorted(data) == ["classify-large.json", "locate-small.json"]
    assert json.loads(data["locate-small.json"]) == {"max_batch_size": 4, "max_wait_s": 0.02}


@pytest.mark.parametrize(
    ("cores", "text"), [(1.0, "1"), (2.0, "2"), (0.25, "250m"), (1.5, "1500m"), (1e-5, "1m")]
)
def test_cores_are_written_canonically(cores, text):
    assert cpu_quantity(cores) == text


@pytest.mark.parametrize(("mib", "text"), [(512, "512Mi"), (1024, "1Gi"), (1536, "1536Mi")])
def test_memory_is_written_canonically(mib, text):
    assert memory_quantity(mib) == text
