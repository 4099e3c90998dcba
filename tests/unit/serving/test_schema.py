from __future__ import annotations

import pytest

from penstock.errors import ManifestError, SpecError
from serving.manifest import from_yaml
from serving.schema import check_schemas, schema_faults, strict
from tests.shared_data import shared

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.org}
spec:
  group: example.org
  names: {kind: Boat, plural: boats}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [length]
            properties:
              length: {type: integer}
              port: {x-kubernetes-int-or-string: true, anyOf: [{type: integer}, {type: string}]}
              extra: {type: object, x-kubernetes-preserve-unknown-fields: true}
              sails:
                type: array
                items: {type: object, properties: {area: {type: number}}}
              properties: {type: object, additionalProperties: {type: string}}
              owner: {type: string, nullable: true}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "boats.yaml").write_text(CRD)
    (tmp_path / "other.yaml").write_text("kind: ConfigMap\n")
    return tmp_path


def boat(**spec):
    return {
        "apiVersion": "example.org/v1",
        "kind": "Boat",
        "metadata": {"name": "b"},
        "spec": {"length": 1, **spec},
    }


def test_a_manifest_that_fits_has_no_fault(folder):
    fits = boat(port=80, extra={"any": 1}, properties={"a": "b"}, owner=None)
    assert schema_faults([fits, boat(port="http")], folder) == ()


def test_every_fault_is_given_with_its_path(folder):
    manifest = boat(length="long", colour="red", sails=[{"area": 1}, {"aera": 2}])
    faults = schema_faults([manifest], folder)
    assert [f.split(": ")[1] for f in faults] == ["spec", "spec.length", "spec.sails[1]"]
    assert "'colour'" in faults[0]


def test_a_missing_field_is_a_fault(folder):
    manifest = boat()
    del manifest["spec"]["length"]
    assert schema_faults([manifest], folder) == ("Boat b: spec: 'length' is a required property",)


def test_a_version_the_folder_lacks_is_named(folder):
    manifest = {**boat(), "apiVersion": "example.org/v2"}
    (fault,) = schema_faults([manifest], folder)
    assert "example.org/v1" in fault
    assert "'example.org/v2'" in fault


def test_a_kind_the_folder_lacks_is_a_fault(folder):
    (fault,) = schema_faults([{**boat(), "kind": "Ship"}], folder)
    assert "no Ship at all" in fault


def test_a_config_map_is_not_judged(folder):
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    assert schema_faults([manifest], folder) == ()


def test_a_refusal_holds_all_faults(folder):
    with pytest.raises(SpecError) as caught:
        check_schemas([boat(a=1), boat(b=2)], folder)
    assert len(caught.value.faults) == 2


def test_manifests_without_fault_pass_the_check(folder):
    check_schemas([boat()], folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ManifestError, match="nowhere"):
        schema_faults([boat()], tmp_path / "nowhere")


def test_a_changed_definition_is_read_again(folder):
    assert schema_faults([boat(mast=1)], folder)
    changed = CRD.replace("boats.example.org", "x").replace("length: {type", "mast: {type")
    (folder / "boats.yaml").unlink()
    (folder / "again.yaml").write_text(changed.replace("[length]", "[mast]"))
    assert schema_faults([{**boat(), "spec": {"mast": 1}}], folder) == ()


def test_the_definition_itself_stays_as_it_was():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert strict(schema)["additionalProperties"] is False
    assert "additionalProperties" not in schema


def test_the_sample_graphs_of_kserve_fit(folder):
    samples = shared("data/kserve/samples-graph")
    for file in sorted(samples.glob("*.yaml")):
        assert schema_faults(from_yaml(file.read_text()), shared("data/kserve")) == (), file.name


def test_the_sample_cron_workflows_of_argo_fit():
    folder = shared("data/argo/v4.1.2")
    for file in sorted((folder / "examples").glob("cron-workflow*.yaml")):
        manifests = [
            {**m, "metadata": {"name": "x", **m["metadata"]}} for m in from_yaml(file.read_text())
        ]
        assert schema_faults(manifests, folder) == (), file.name
