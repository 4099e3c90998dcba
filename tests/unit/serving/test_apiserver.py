from __future__ import annotations

import json

import pytest

from serving.cluster.access import ADMIN, Account, Role
from serving.cluster.apiserver import ApiServer

MAPS = "/api/v1/namespaces/demo/configmaps"
BOATS = "/apis/example.org/v1/namespaces/demo/boats"
GRAPHS = "/apis/serving.kserve.io/v1alpha1/namespaces/demo/inferencegraphs"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"

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
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              length: {type: integer, minimum: 1}
              flag: {type: string, default: none}
              crew:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  properties: {name: {type: string}, role: {type: string, default: hand}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""


@pytest.fixture
def server(tmp_path):
    (tmp_path / "boats.yaml").write_text(CRD)
    return ApiServer(tmp_path)


def boat(name="b", **spec):
    return {
        "apiVersion": "example.org/v1",
        "kind": "Boat",
        "metadata": {"name": name},
        "spec": spec,
    }


def config_map(name="m", **fields):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


def create(server, body=None, query=""):
    return server.handle("POST", BOATS + query, body=body or boat(length=3))


def patch(server, body, path="/b", content_type=MERGE):
    return server.handle("PATCH", BOATS + path, content_type=content_type, body=body)


def get(server, name="b"):
    return server.handle("GET", f"{BOATS}/{name}").body


def said(answer):
    return answer.status, answer.body["message"]


def test_defaults_are_filled_in_at_every_depth(server):
    body = create(server, boat(crew=[{"name": "ann"}])).body
    assert body["spec"] == {"flag": "none", "crew": [{"name": "ann", "role": "hand"}]}


def test_a_null_where_there_is_a_default_is_the_default(server):
    assert create(server, boat(flag=None)).body["spec"] == {"flag": "none"}


def test_a_key_twice_in_a_keyed_list_is_refused(server):
    status, message = said(create(server, boat(crew=[{"name": "ann"}, {"name": "ann"}])))
    assert status == 422
    assert message.endswith('spec.crew[1]: Duplicate value: {"name":"ann"}')


def test_several_faults_are_listed_in_brackets(server):
    status, message = said(create(server, boat("B", length=0)))
    assert (status, message.count("Invalid value")) == (422, 2)
    assert 'is invalid: [metadata.name: Invalid value: "B"' in message


def test_unknown_metadata_is_warned_of_and_pruned(server):
    body = boat(length=3)
    body["metadata"]["colour"] = "red"
    answer = create(server, body)
    assert answer.warnings == ('299 - "unknown field \\"metadata.colour\\""',)
    assert "colour" not in answer.body["metadata"]


def test_unknown_fields_can_be_ignored_in_silence(server):
    answer = create(server, boat(mast=1), "?fieldValidation=Ignore")
    assert (answer.status, answer.warnings) == (201, ())


def test_a_strict_patch_with_an_unknown_field_is_refused(server):
    create(server)
    status, message = said(patch(server, {"spec": {"mast": 1}}, "/b?fieldValidation=Strict"))
    assert status == 422
    assert message.endswith('strict decoding error: unknown field "spec.mast"')


def test_a_dry_run_patch_shows_the_result_and_keeps_the_object(server):
    create(server)
    answer = patch(server, {"spec": {"length": 9}}, "/b?dryRun=All")
    assert (answer.status, answer.body["spec"]["length"]) == (200, 9)
    assert get(server)["spec"]["length"] == 3


def test_a_dry_run_delete_keeps_the_object(server):
    create(server)
    assert server.handle("DELETE", f"{BOATS}/b?dryRun=All").status == 200
    assert get(server)["kind"] == "Boat"


def test_the_status_has_its_own_url_and_no_generation(server):
    create(server)
    patch(server, {"status": {"afloat": True}, "spec": {"length": 9}}, "/b/status")
    live = get(server)
    assert (live["status"], live["spec"]["length"]) == ({"afloat": True}, 3)
    assert live["metadata"]["generation"] == 1


def test_a_patch_of_the_object_leaves_its_status(server):
    create(server)
    patch(server, {"status": {"afloat": True}}, "/b/status")
    patch(server, {"status": None, "spec": {"length": 9}})
    assert get(server)["status"] == {"afloat": True}


def test_a_patch_cannot_change_what_the_server_owns(server):
    created = create(server).body["metadata"]
    patch(server, {"metadata": {"generation": 99, "creationTimestamp": "x"}})
    live = get(server)["metadata"]
    assert (live["generation"], live["creationTimestamp"]) == (1, created["creationTimestamp"])


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"kind": "Boat"}, "API version"),
        ({**boat(), "kind": "Ship"}, "kind in the data (Ship)"),
        ([], "unrecognized"),
        ({**boat(), "metadata": {"name": "b", "namespace": "other"}}, "namespace"),
        ({**boat(), "metadata": {"name": "b", "resourceVersion": "1"}}, "resourceVersion"),
    ],
)
def test_a_body_that_does_not_fit_the_url_is_a_bad_request(server, body, part):
    status, message = said(server.handle("POST", BOATS, body=body))
    assert status == 400
    assert part in message


def test_a_name_is_needed(server):
    status, message = said(create(server, boat("")))
    assert status == 422
    assert "metadata.name: Required value: name or generateName is required" in message


def test_a_name_has_at_most_253_characters(server):
    status, message = said(create(server, boat("b" * 254)))
    assert status == 422
    assert message.endswith("must be no more than 253 bytes")


def test_a_name_is_made_from_its_beginning(server):
    body = boat()
    body["metadata"] = {"generateName": "b-"}
    assert create(server, body).body["metadata"]["name"].startswith("b-")


def test_a_label_that_is_no_label_is_refused(server):
    body = boat()
    body["metadata"]["labels"] = {"a": "not ok", "b": "x" * 64}
    status, message = said(create(server, body))
    assert status == 422
    assert message.count("metadata.labels") == 2


def test_a_put_needs_a_version_for_custom_resources(server):
    create(server)
    status, message = said(server.handle("PUT", f"{BOATS}/b", body=boat(length=4)))
    assert status == 422
    assert "must be specified for an update" in message


def test_a_put_under_another_name_is_a_bad_request(server):
    create(server)
    assert server.handle("PUT", f"{BOATS}/b", body=boat("c")).status == 400


def test_a_write_to_another_life_of_the_object_is_a_conflict(server):
    create(server)
    assert patch(server, {"metadata": {"uid": "x"}}).status == 409


def test_a_list_of_ops_is_needed_for_a_json_patch(server):
    create(server)
    answer = patch(server, {"a": 1}, content_type="application/json-patch+json")
    assert said(answer) == (
        400,
        "json: cannot unmarshal object into Go value of type jsonpatch.Patch",
    )


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "replace", "path": "/metadata/name", "value": "c"}],
        [{"op": "replace", "path": "", "value": 3}],
    ],
)
def test_a_json_patch_must_leave_the_object(server, operations):
    create(server)
    assert patch(server, operations, content_type="application/json-patch+json").status == 400


def test_a_merge_patch_must_be_a_mapping(server):
    create(server)
    assert patch(server, [1]).status == 400


def test_a_config_map_may_be_patched_strategically():
    server = ApiServer()
    server.handle("POST", MAPS, body=config_map(data={"a": "1"}))
    kind = "application/strategic-merge-patch+json"
    answer = server.handle("PATCH", f"{MAPS}/m", content_type=kind, body={"data": {"b": "2"}})
    assert answer.body["data"] == {"a": "1", "b": "2"}


def test_a_new_config_map_with_a_number_is_a_bad_request():
    status, message = said(ApiServer().handle("POST", MAPS, body=config_map(data={"a": 1})))
    assert status == 400
    assert message.startswith('ConfigMap in version "v1" cannot be handled as a ConfigMap: json:')


def test_a_body_may_be_text(server):
    answer = server.handle(
        "POST", BOATS, content_type="application/json", body=json.dumps(boat(length=1))
    )
    assert answer.status == 201
    broken = server.handle("POST", BOATS, content_type="application/json", body="{")
    assert broken.status == 400


def test_pages_follow_each_other_to_the_end(server):
    for name in ("a", "b", "c"):
        create(server, boat(name))
    first = server.handle("GET", f"{BOATS}?limit=2").body
    assert first["metadata"]["remainingItemCount"] == 1
    rest = server.handle("GET", f"{BOATS}?limit=2&continue={first['metadata']['continue']}").body
    names = [o["metadata"]["name"] for page in (first, rest) for o in page["items"]]
    assert (names, rest["metadata"]["continue"]) == (["a", "b", "c"], "")


@pytest.mark.parametrize("query", ["limit=x", "continue=%21", "fieldSelector=spec.x%3D1"])
def test_a_query_that_makes_no_sense_is_a_bad_request(server, query):
    assert server.handle("GET", f"{BOATS}?{query}").status == 400


def test_a_field_selector_finds_one_name(server):
    create(server, boat("a"))
    create(server, boat("b"))
    found = server.handle("GET", f"{BOATS}?fieldSelector=metadata.name%3Db").body["items"]
    assert [o["metadata"]["name"] for o in found] == ["b"]


@pytest.mark.parametrize("path", ["/nowhere", f"{BOATS}/b/scale", f"{MAPS}/m/status"])
def test_what_is_not_served_is_the_text_of_a_404(server, path):
    answer = server.handle("GET", path)
    assert (answer.status, answer.body) == (404, "404 page not found\n")


def test_a_method_that_is_not_served_is_405(server):
    assert server.handle("TRACE", f"{BOATS}/b").status == 405


def test_a_collection_cannot_be_deleted(server):
    assert server.handle("DELETE", BOATS).status == 404


def apply_as(server, manager, body, query=""):
    return server.handle(
        "PATCH", f"{BOATS}/b?fieldManager={manager}{query}", content_type=APPLY, body=body
    )


def test_apply_creates_what_is_not_there(server):
    answer = apply_as(server, "one", "apiVersion: example.org/v1\nkind: Boat\nspec: {length: 2}\n")
    assert (answer.status, answer.body["spec"]["length"]) == (201, 2)
    assert answer.body["metadata"]["managedFields"][0]["operation"] == "Apply"


def test_apply_twice_changes_nothing(server):
    first = apply_as(server, "one", boat(length=2)).body["metadata"]
    second = apply_as(server, "one", boat(length=2)).body["metadata"]
    assert first == second


def test_apply_removes_what_its_manager_gives_up(server):
    apply_as(server, "one", boat(length=2, flag="fr"))
    answer = apply_as(server, "one", boat(length=2))
    assert answer.body["spec"] == {"length": 2, "flag": "none"}


def test_what_two_managers_own_stays_when_one_gives_it_up(server):
    apply_as(server, "one", boat(length=2))
    apply_as(server, "two", boat(length=2))
    answer = apply_as(server, "one", boat())
    assert answer.body["spec"]["length"] == 2


def test_several_conflicts_are_listed_by_manager(server):
    create(server, boat(length=3, flag="fr"))
    status, message = said(apply_as(server, "one", boat(length=4, flag="de")))
    assert (status, message) == (
        409,
        "Apply failed with 2 conflicts: conflicts with "
        '"Python-urllib" using example.org/v1:\n- .spec.flag\n- .spec.length',
    )


def test_force_takes_the_fields_over(server):
    create(server, boat(length=3))
    assert apply_as(server, "one", boat(length=4), "&force=true").body["spec"]["length"] == 4
    assert apply_as(server, "one", boat(length=5)).status == 200


@pytest.mark.parametrize(
    ("manager", "body", "part"),
    [
        ("", boat(), "fieldManager"),
        ("one", boat("c"), "name"),
        ("one", {**boat(), "metadata": {"managedFields": [{}]}}, "managedFields"),
    ],
)
def test_an_apply_that_makes_no_sense_is_a_bad_request(server, manager, body, part):
    status, message = said(apply_as(server, manager, body))
    assert status == 400
    assert part in message


def test_apply_needs_the_right_to_create(tmp_path):
    (tmp_path / "boats.yaml").write_text(CRD)
    role = Role(namespace="demo", verbs={"boats.example.org": frozenset({"patch"})})
    server = ApiServer(tmp_path, accounts={"tick": Account(user="tick", role=role), "a": ADMIN})
    answer = server.handle(
        "PATCH", f"{BOATS}/b?fieldManager=t", content_type=APPLY, body=boat(), user="tick"
    )
    assert answer.status == 403
    assert "cannot create" in answer.body["message"]


def test_a_subresource_needs_its_own_right(tmp_path):
    (tmp_path / "boats.yaml").write_text(CRD)
    role = Role(namespace="demo", verbs={"boats.example.org": frozenset({"patch"})})
    server = ApiServer(tmp_path, accounts={"tick": Account(user="tick", role=role)})
    answer = server.handle("PATCH", f"{BOATS}/b/status", content_type=MERGE, body={}, user="tick")
    assert 'cannot patch resource "boats/status"' in answer.body["message"]


def test_without_schemas_everything_is_accepted_and_nothing_pruned():
    body = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "InferenceGraph",
        "metadata": {"name": "g"},
        "spec": {"colour": "red", "minReplicas": "two"},
    }
    answer = ApiServer().handle("POST", GRAPHS, body=body)
    assert (answer.status, answer.warnings, answer.body["spec"]) == (201, (), body["spec"])


def test_an_answer_can_be_changed_without_changing_the_server(server):
    create(server).body["spec"]["length"] = 99
    assert get(server)["spec"]["length"] == 3


def test_timestamps_come_from_the_callers_clock():
    server = ApiServer(now=lambda: 86400.0)
    created = server.handle("POST", MAPS, body=config_map()).body
    assert created["metadata"]["creationTimestamp"] == "1970-01-02T00:00:00Z"
