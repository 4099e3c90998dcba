from __future__ import annotations

import pytest
import yaml

from penstock.errors import DomainError, ManifestError
from serving.autoscale import Autoscaling
from serving.lint import lint
from serving.render import RenderSettings, render, to_yaml, write_tree
from serving.schema import schema_faults
from tests import builders as make
from tests.shared_data import shared


def settings(**fields):
    return RenderSettings(**{"image": "penstock/predictor:1", "store_uri": "s3://models", **fields})


def rendered(plan=None, pipeline=None, **fields):
    return render(pipeline or make.pipeline(), plan or make.plan(), settings(**fields))


def by_kind(manifests, kind):
    return [m for m in manifests if m["kind"] == kind]


def test_a_plan_becomes_limits_services_and_a_graph():
    found = [(m["kind"], m["metadata"]["name"]) for m in rendered()]
    assert found == [
        ("ConfigMap", "digits-batching"),
        ("PodDisruptionBudget", "digits-locate-small"),
        ("PodDisruptionBudget", "digits-classify-small"),
        ("PodDisruptionBudget", "digits"),
        ("InferenceService", "digits-locate-small"),
        ("InferenceService", "digits-classify-small"),
        ("InferenceGraph", "digits"),
    ]


def test_the_same_plan_gives_the_same_bytes():
    assert to_yaml(rendered()) == to_yaml(rendered())


def test_the_yaml_reads_back_as_what_was_rendered():
    assert tuple(yaml.safe_load_all(to_yaml(rendered()))) == rendered()


@pytest.mark.parametrize("autoscaling", list(Autoscaling))
def test_the_manifests_fit_kserves_schemas_and_rules(autoscaling):
    manifests = rendered(autoscaling=autoscaling, prometheus_url="http://prometheus.m.svc:9090")
    assert schema_faults(manifests, shared("data/kserve")) == ()
    assert lint(manifests) == ()


def test_another_batch_size_changes_the_limits_and_nothing_else():
    one = rendered(make.plan())
    stages = (make.option("locate", batch_size=4), make.option("classify"))
    other = rendered(make.plan(stages=stages))
    differing = [a["kind"] for a, b in zip(one, other, strict=True) if a != b]
    assert differing == ["ConfigMap"]


def test_other_replicas_leave_the_graph_alone():
    stages = (make.option("locate", replicas=5), make.option("classify"))
    graphs = [
        by_kind(rendered(p), "InferenceGraph") for p in (make.plan(), make.plan(stages=stages))
    ]
    assert graphs[0] == graphs[1]


def test_every_object_can_be_found_by_its_pipeline():
    labels = {"app.kubernetes.io/managed-by": "penstock", "app.kubernetes.io/part-of": "digits"}
    assert all(labels.items() <= m["metadata"]["labels"].items() for m in rendered())


def test_a_plan_for_other_stages_is_refused():
    with pytest.raises(ManifestError, match=r"locate.*classify.*make a new plan"):
        rendered(make.plan(stages=(make.option("classify"),)))


def test_a_variant_the_pipeline_lacks_is_refused():
    with pytest.raises(DomainError, match="huge"):
        rendered(make.plan(stages=(make.option("locate", variant="huge"), make.option("classify"))))


def test_settings_name_every_fault_at_once():
    with pytest.raises(DomainError, match=r"image.*band"):
        settings(image="", band=0.5)


def test_an_unknown_autoscaler_is_refused():
    with pytest.raises(DomainError, match="fixed, hpa, keda, external"):
        settings(autoscaling="vpa")


def test_keda_needs_to_know_where_to_ask():
    with pytest.raises(DomainError, match="PENSTOCK_PROMETHEUS_URL"):
        settings(autoscaling="keda")


def test_the_older_word_for_fixed_replicas_is_still_read():
    assert settings(autoscaling="none") == settings(autoscaling="fixed")


def test_a_tree_has_one_file_per_object_and_a_list_of_them(tmp_path):
    write_tree(rendered(), tmp_path)
    listed = yaml.safe_load((tmp_path / "kustomization.yaml").read_text())["resources"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*listed, "kustomization.yaml"])
    read = [yaml.safe_load((tmp_path / name).read_text()) for name in listed]
    assert {to_yaml([m]) for m in read} == {to_yaml([m]) for m in rendered()}


def test_a_new_tree_removes_what_only_the_old_one_listed(tmp_path):
    write_tree(rendered(), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    write_tree(rendered()[:1], tmp_path)
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == ["configmap-digits-batching.yaml", "kustomization.yaml", "notes.txt"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ManifestError, match="file"):
        write_tree(rendered(), tmp_path / "file" / "tree")


def test_two_objects_of_one_name_make_no_tree(tmp_path):
    with pytest.raises(ManifestError, match="more than one object"):
        write_tree([*rendered(), rendered()[0]], tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
