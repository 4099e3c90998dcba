"""The in-memory API server answers as a real one did, case after case, in the recorded order."""

from __future__ import annotations

import base64
import copy
import json
import re

import pytest

from serving.cluster.access import ADMIN, Account, Role
from serving.cluster.apiserver import ApiServer
from tests.shared_data import shared

RECORDED = "data/kubernetes/apiserver-v1.36-answers.json"
PLACEHOLDER = re.compile(r"<(\w+)>")

READ = frozenset({"get", "list", "watch"})
TICK = Account(
    user="system:serviceaccount:demo:penstock",
    role=Role(
        namespace="demo",
        verbs={
            "inferencegraphs.serving.kserve.io": READ | {"patch"},
            "inferenceservices.serving.kserve.io": READ | {"patch"},
            "configmaps": frozenset({"get", "create", "update", "patch"}),
            "deployments.apps": READ,
        },
    ),
)
# Requests that carry the version their object had before the last write, as their notes say.
STALE = {"ig-merge-patch-stale-resourceVersion": 0, "ig-put-stale": -2, "cm-put-stale": 0}
# What a real server answers where the recording keeps it back, from its source.
KEPT_BACK = {
    "ig-create-missing-required": (422, "Invalid"),
    "ig-json-patch-bad-path": (422, "Invalid"),
    "ig-merge-patch-no-change": (200, None),
    "ig-put-current-status-ignored": (200, None),
    "cm-data-not-string": (422, "Invalid"),
    "rbac-create-ig-forbidden": (403, "Forbidden"),
    "cw-six-fields": (422, "Invalid"),
    "cw-empty-schedules": (422, "Invalid"),
    "ig-patch-missing": (404, "NotFound"),
}


def recorded():
    cases = json.loads(shared(RECORDED).read_text())
    (key,) = [k for k, v in cases.items() if isinstance(v, list)] or ["cases"]
    return cases[key]


class Replay:
    """Sends the recorded requests, with live values where the recording has placeholders."""

    def __init__(self):
        folders = (shared("data/kserve"), shared("data/argo/v4.1.2"))
        accounts = {"admin": ADMIN, "tick": TICK}
        self.server = ApiServer(*folders, accounts=accounts)
        self.versions = {}

    def send(self, case):
        request = case["request"]
        body = self._filled(case["id"], request["path"], copy.deepcopy(request["body"]))
        if case["id"] == "ig-create-unknown-field-default":
            # The recording shows the request with the name of the case after it; its answer and
            # both lists show the name that was sent.
            body["metadata"]["name"] = "unknown"
        answer = self.server.handle(
            request["method"],
            request["path"],
            content_type=request["content_type"],
            body=body,
            user=case["as"],
        )
        self._remember(answer.body)
        return answer

    def _filled(self, case_id, path, body):
        if not isinstance(body, dict) or "<" not in json.dumps(body):
            return body
        name = path.split("?")[0].split("/")[-1]
        known = self.versions[name]
        for key in ("creationTimestamp", "managedFields", "uid", "generation", "resourceVersion"):
            if PLACEHOLDER.fullmatch(str(body["metadata"].get(key))):
                body["metadata"][key] = known[STALE.get(case_id, -1)][key]
        return body

    def _remember(self, body):
        metadata = body.get("metadata", {}) if isinstance(body, dict) else {}
        if "resourceVersion" in metadata and "name" in metadata:
            seen = self.versions.setdefault(metadata["name"], [])
            if not seen or seen[-1]["resourceVersion"] != metadata["resourceVersion"]:
                seen.append(copy.deepcopy(metadata))


def assert_like(found, expected, path=""):
    """Equal, but for what differs from run to run: placeholders and the version in a token."""
    if isinstance(expected, str) and PLACEHOLDER.fullmatch(expected):
        assert found, path
    elif isinstance(expected, dict):
        assert isinstance(found, dict), path
        assert sorted(found) == sorted(expected), path
        for key in expected:
            assert_like(found[key], expected[key], f"{path}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), path
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_like(one, other, f"{path}[{i}]")
    elif path.endswith(".continue") and expected:
        assert token_content(found) == token_content(expected)
    else:
        assert found == expected, path


def token_content(text):
    content = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return {k: v for k, v in content.items() if k != "rv"}


def test_every_recorded_answer_is_given_in_order():
    replay = Replay()
    for case in recorded():
        answer = replay.send(case)
        expected = case["response"]
        if expected is None:
            status, reason = KEPT_BACK[case["id"]]
            assert (answer.status, answer.body.get("reason")) == (status, reason), case["id"]
            continue
        assert answer.status == expected["status"], case["id"]
        assert list(answer.warnings) == (expected["warning"] or []), case["id"]
        assert_like(answer.body, expected["body"], case["id"])


def test_all_sixty_cases_are_there_and_the_kept_back_ones_are_known():
    cases = recorded()
    assert len(cases) == 60
    assert {c["id"] for c in cases if c["response"] is None} == set(KEPT_BACK)


@pytest.fixture
def answers():
    replay = Replay()
    return {case["id"]: replay.send(case) for case in recorded()}


def test_a_missing_required_field_is_named(answers):
    body = answers["ig-create-missing-required"].body
    assert body["details"]["causes"] == [
        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.nodes"}
    ]


def test_a_patch_without_effect_keeps_version_and_generation(answers):
    before = answers["ig-merge-patch-null-deletes"].body["metadata"]
    after = answers["ig-merge-patch-no-change"].body["metadata"]
    assert (after["resourceVersion"], after["generation"]) == (before["resourceVersion"], 3)


def test_a_put_of_the_object_leaves_its_status_alone(answers):
    body = answers["ig-put-current-status-ignored"].body
    assert (body["spec"]["minReplicas"], "status" in body) == (3, False)
    assert body["metadata"]["generation"] == 5


def test_a_refused_json_patch_says_no_more_than_a_real_server(answers):
    body = answers["ig-json-patch-bad-path"].body
    assert (body["message"], body["details"]) == (
        "the server rejected our request due to an error in our request",
        {},
    )


def test_a_number_in_a_config_map_is_refused_in_the_words_of_the_decoder(answers):
    body = answers["cm-data-not-string"].body
    said = "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
    assert body["message"].startswith(' "" is invalid: patch: Invalid value: "{')
    assert body["message"].endswith(said)
    assert body["details"]["causes"][0]["field"] == "patch"


def test_creation_needs_its_own_right(answers):
    assert answers["rbac-create-ig-forbidden"].body["message"] == (
        'inferencegraphs.serving.kserve.io is forbidden: User "system:serviceaccount:demo:penstock"'
        ' cannot create resource "inferencegraphs" in API group "serving.kserve.io" in the '
        'namespace "demo"'
    )


def test_schedules_need_one_entry_of_five_fields(answers):
    empty = answers["cw-empty-schedules"].body["details"]["causes"]
    assert empty == [
        {
            "reason": "FieldValueInvalid",
            "message": "Invalid value: 0: spec.schedules in body should have at least 1 items",
            "field": "spec.schedules",
        }
    ]
    six = answers["cw-six-fields"].body["details"]["causes"][0]
    assert six["field"] == "spec.schedules[0]"
    assert six["message"].startswith('Invalid value: "0 * * * * *": spec.schedules[0] in body')
