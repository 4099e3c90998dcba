from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import ArtifactError, ManifestError
from serving.cluster.local_manifests import read_cpu, read_service, write_config_map
from serving.cluster.local_node import fetch_model
from serving.cluster.local_wire import change_from, change_to, error_from, error_to
from serving.cluster.processes import MAX_SOCKET_PATH, Cores, socket_path
from serving.diff import Action, Change, Step


def container(**changes):
    return {
        "name": "kserve-container",
        "command": ["python", "-m", "serving.predictor"],
        "args": ["--model-dir", "/mnt/models", "--batch-file", "/etc/batching/a.json"],
        "env": [{"name": "STORAGE_URI", "value": "file:///store/a"}],
        "resources": {"limits": {"cpu": "250m"}},
        "volumeMounts": [{"name": "batching", "mountPath": "/etc/batching/"}],
        **changes,
    }


def manifest(replicas=2, **changes):
    predictor = {
        "minReplicas": replicas,
        "containers": [container(**changes)],
        "volumes": [{"name": "batching", "configMap": {"name": "limits"}}],
    }
    return {"metadata": {"name": "svc", "namespace": "ns"}, "spec": {"predictor": predictor}}


def command_of(spec, **changes):
    here = {"model": Path("/m"), "config_maps": Path("/c"), "cores": (1,), "parent_pid": 7}
    words = spec.command(**{**here, **changes})[3:]
    return dict(zip(words[::2], words[1::2], strict=True))


def test_mounts_and_limits_become_options_of_a_local_process():
    options = command_of(read_service(manifest()))
    assert options["--model-dir"] == "/m"
    assert options["--batch-file"] == "/c/ns/limits/a.json"
    assert (options["--cpu-cores"], options["--cpu-affinity"]) == ("0.25", "1")
    assert (options["--host"], options["--port"], options["--parent-pid"]) == (
        "127.0.0.1",
        "0",
        "7",
    )


def test_the_local_port_wins_over_the_containers():
    spec = read_service(manifest(args=["--port", "8080", "--drain-s", "15"]))
    options = command_of(spec)
    assert (options["--port"], options["--drain-s"]) == ("0", "0")


@pytest.mark.parametrize(
    ("args", "path"),
    [([], "/v2/models/svc/infer"), (["--model_name", "m"], "/v2/models/m/infer")],
)
def test_the_infer_path_is_found_as_kserve_finds_it(args, path):
    assert read_service(manifest(args=args)).infer_path == path


def test_only_what_rolls_pods_changes_the_template():
    one = read_service(manifest())
    assert read_service(manifest(replicas=5)).template == one.template
    assert read_service(manifest(args=["--threads", "2"])).template != one.template


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"command": ["java", "-jar", "x"]}, "containers[0].command"),
        ({"env": []}, "STORAGE_URI"),
        ({"env": "x"}, "spec.predictor"),
        ({"volumeMounts": [{"name": "batching"}]}, "spec.predictor"),
        ({"resources": {"limits": {"cpu": "much"}}}, "resources.limits.cpu"),
        ({"replicas": -1}, "minReplicas"),
        ({"replicas": True}, "minReplicas"),
    ],
)
def test_a_service_this_machine_cannot_run_is_refused(changes, path):
    with pytest.raises(ManifestError) as caught:
        read_service(manifest(**changes))
    assert path in str(caught.value)


@pytest.mark.parametrize(("quantity", "cores"), [("250m", 0.25), ("1", 1.0), (2, 2.0), (0.5, 0.5)])
def test_cpu_quantities_are_read_as_kubernetes_does(quantity, cores):
    assert read_cpu(quantity) == cores


@pytest.mark.parametrize("quantity", ["0", "-1", "nan", "inf", "m"])
def test_a_cpu_quantity_that_is_none_is_refused(quantity):
    with pytest.raises(ManifestError, match="cpu"):
        read_cpu(quantity)


def config_map(data):
    return {"metadata": {"name": "limits", "namespace": "ns"}, "data": data}


def test_a_config_map_is_a_folder_of_its_keys(tmp_path):
    write_config_map(tmp_path, config_map({"a": "1", "b": "2"}))
    write_config_map(tmp_path, config_map({"b": "3"}))
    files = {path.name: path.read_text() for path in (tmp_path / "ns" / "limits").iterdir()}
    assert files == {"b": "3"}


def test_a_file_that_says_the_same_is_not_touched(tmp_path):
    write_config_map(tmp_path, config_map({"a": "1"}))
    before = (tmp_path / "ns" / "limits" / "a").stat().st_ino
    write_config_map(tmp_path, config_map({"a": "1"}))
    assert (tmp_path / "ns" / "limits" / "a").stat().st_ino == before


def test_an_artifact_is_used_where_it_lies(tmp_path):
    assert fetch_model(tmp_path.as_uri(), tmp_path / "cache") == tmp_path
    with pytest.raises(ArtifactError, match="no artifact"):
        fetch_model("file:///nowhere/at/all", tmp_path)


def test_replicas_spread_over_cores_and_leave_the_control_planes_free():
    cores = Cores([0, 1, 2], control=0)
    assert {cores.take(0.5)[0] for _ in range(2)} == {1, 2}
    assert 0 not in cores.take(0.4)
    for _ in range(3):
        cores.take(0.5)
    assert cores.take(0.2) == (0,)


def test_the_only_core_is_everybodys():
    assert Cores([0], control=0).take(0.5) == (0,)


def test_a_core_that_was_given_back_is_taken_again():
    cores = Cores([1, 2])
    first, second = cores.take(0.5), cores.take(0.5)
    cores.give_back(first, 0.5)
    assert (cores.take(0.5), {first, second}) == (first, {(1,), (2,)})


def test_a_replica_that_fills_several_cores_gets_them():
    assert Cores([0, 1, 2, 3], control=0).take(1.5) == (2, 3)


def test_a_sockets_path_is_always_short_enough(tmp_path):
    short = Path("/tmp/x")
    assert socket_path(short, "d.sock") == short / "d.sock"
    deep = tmp_path / ("d" * 120)
    assert len(str(socket_path(deep, "d.sock"))) <= MAX_SOCKET_PATH
    assert socket_path(deep, "d.sock") == socket_path(deep, "d.sock")
    assert socket_path(deep, "e.sock") != socket_path(deep, "d.sock")


def test_a_change_survives_the_wire():
    change = Change(
        action=Action.PATCH, kind="ConfigMap", namespace="ns", name="a", body={"data": {"k": None}}
    )
    assert change_from(change_to(change)) == change
    assert isinstance(change_from(change_to(change)).step, Step)


@pytest.mark.parametrize("document", [{}, [], {"action": "explode", "step": 0}])
def test_what_is_no_change_is_refused(document):
    with pytest.raises(ManifestError):
        change_from(document)


def test_an_error_arrives_as_the_class_it_left():
    back = error_from(error_to(ManifestError("a: wrong")))
    assert (type(back), str(back)) == (ManifestError, "a: wrong")
