from __future__ import annotations

import copy

import pytest

from penstock.errors import ManifestError
from serving.diff import Action, Step, describe, diff
from serving.journal import only_replicas
from serving.manifest import merge
from serving.render import RenderSettings, render
from serving.scale import AT_LEAST, AT_MOST
from serving.state import State, to_manifest
from tests import builders as make

SETTINGS = RenderSettings(image="i:1", store_uri="s3://m")


def scaled_by(autoscaling):
    return RenderSettings(
        image="i:1", store_uri="s3://m", autoscaling=autoscaling, prometheus_url="http://p.m.svc"
    )


def plan(variant="small", replicas=1, batch_size=1, cpu_cores=1.0):
    locate = make.option(
        "locate", variant=variant, replicas=replicas, batch_size=batch_size, cpu_cores=cpu_cores
    )
    return make.plan(stages=(locate, make.option("classify")))


def manifests(of=None, settings=SETTINGS):
    return render(make.pipeline(), of or plan(), settings)


def first(of, kind):
    return next(m for m in of if m["kind"] == kind)


def short(changes):
    return [(c.action.value, c.kind, c.name) for c in changes]


def test_nothing_to_do_is_an_empty_tuple():
    assert diff(manifests(), manifests()) == ()


def test_into_an_empty_cluster_the_graph_comes_last():
    assert short(diff(manifests(), ())) == [
        ("create", "ConfigMap", "digits-batching"),
        ("create", "PodDisruptionBudget", "digits"),
        ("create", "PodDisruptionBudget", "digits-classify-small"),
        ("create", "PodDisruptionBudget", "digits-locate-small"),
        ("create", "InferenceService", "digits-classify-small"),
        ("create", "InferenceService", "digits-locate-small"),
        ("create", "InferenceGraph", "digits"),
    ]


def test_another_variant_is_started_before_the_graph_moves_and_the_old_one_goes_after():
    changes = diff(manifests(plan("large")), manifests(plan("small")))
    assert short(changes) == [
        ("patch", "ConfigMap", "digits-batching"),
        ("create", "PodDisruptionBudget", "digits-locate-large"),
        ("create", "InferenceService", "digits-locate-large"),
        ("patch", "InferenceGraph", "digits"),
        ("delete", "InferenceService", "digits-locate-small"),
        ("delete", "PodDisruptionBudget", "digits-locate-small"),
        ("patch", "ConfigMap", "digits-batching"),
    ]


def test_the_limits_of_the_old_variant_stay_while_it_serves():
    first, *_, last = diff(manifests(plan("large")), manifests(plan("small")))
    assert list(first.body["data"]) == ["locate-large.json"]
    assert last.body == {"data": {"locate-small.json": None}}


@pytest.mark.parametrize(("before", "after", "step"), [(1, 3, Step.PREPARE), (3, 1, Step.RETIRE)])
def test_other_replicas_are_one_patch_of_one_field(before, after, step):
    (change,) = diff(manifests(plan(replicas=after)), manifests(plan(replicas=before)))
    assert change.body == {"spec": {"predictor": {"minReplicas": after}}}
    assert (change.action, change.step) == (Action.PATCH, step)


def test_another_batch_size_touches_only_its_own_limit():
    (change,) = diff(manifests(plan(batch_size=4)), manifests(plan(batch_size=1)))
    assert (change.kind, list(change.body["data"])) == ("ConfigMap", ["locate-small.json"])


def test_a_switch_patches_nothing_of_the_graph_but_its_steps():
    changes = diff(manifests(plan("large")), manifests(plan("small")))
    (graph,) = [c for c in changes if c.kind == "InferenceGraph"]
    assert list(graph.body) == ["spec"]
    assert list(graph.body["spec"]["nodes"]["root"]) == ["steps"]


def test_status_defaults_and_foreign_fields_are_ignored():
    live = copy.deepcopy(manifests())
    for manifest in live:
        manifest["metadata"] |= {"uid": "u", "resourceVersion": "7", "generation": 3}
        manifest["metadata"].setdefault("annotations", {})["theirs"] = "x"
        manifest["status"] = {"url": "http://x"}
    service, graph = first(live, "InferenceService"), first(live, "InferenceGraph")
    container = service["spec"]["predictor"]["containers"][0]
    container["imagePullPolicy"] = "Always"
    container["env"][0]["defaulted"] = True
    service["spec"]["predictor"]["dnsPolicy"] = "ClusterFirst"
    graph["spec"]["timeout"] = 60
    assert diff(manifests(), live) == ()


def test_a_node_somebody_added_to_the_graph_is_removed():
    live = copy.deepcopy(manifests())
    first(live, "InferenceGraph")["spec"]["nodes"]["extra"] = {
        "routerType": "Sequence",
        "steps": [],
    }
    (change,) = diff(manifests(), live)
    assert change.body == {"spec": {"nodes": {"extra": None}}}


def test_a_label_somebody_took_away_comes_back():
    live = copy.deepcopy(manifests())
    del first(live, "InferenceService")["metadata"]["labels"]["penstock.dev/stage"]
    (change,) = diff(manifests(), live)
    assert change.body == {"metadata": {"labels": {"penstock.dev/stage": "locate"}}}


def test_objects_that_are_not_ours_are_left_alone():
    foreign = copy.deepcopy(first(manifests(), "InferenceService"))
    foreign["metadata"]["name"] = "theirs"
    foreign["metadata"]["labels"] = {}
    assert diff(manifests(), [*manifests(), foreign]) == ()


def test_the_state_is_never_touched():
    state = to_manifest(State(pipeline="digits"))
    assert diff(manifests(), [*manifests(), state]) == ()


def test_taking_everything_down_begins_with_the_graph():
    assert short(diff((), manifests())) == [
        ("delete", "InferenceGraph", "digits"),
        ("delete", "InferenceService", "digits-classify-small"),
        ("delete", "InferenceService", "digits-locate-small"),
        ("delete", "PodDisruptionBudget", "digits"),
        ("delete", "PodDisruptionBudget", "digits-classify-small"),
        ("delete", "PodDisruptionBudget", "digits-locate-small"),
        ("delete", "ConfigMap", "digits-batching"),
    ]


def test_going_back_from_a_band_to_fixed_replicas_clears_the_band():
    changes = diff(manifests(), manifests(settings=scaled_by("hpa")))
    predictor = changes[0].body["spec"]["predictor"]
    assert predictor == {"maxReplicas": None, "scaleMetric": None, "scaleTarget": None}


@pytest.mark.parametrize(
    ("before", "after"),
    [("fixed", "hpa"), ("fixed", "keda"), ("fixed", "external"), ("hpa", "external")],
)
def test_another_autoscaler_is_told_and_its_rollout_waited_for(before, after):
    old = manifests(plan(replicas=3), settings=scaled_by(before))
    change = diff(manifests(settings=scaled_by(after)), old)[0]
    assert (change.kind, change.step) == ("InferenceService", Step.PREPARE)
    assert describe(change)[0].endswith(
        f"class {after} from now on, for which its pods are replaced"
    )


@pytest.mark.parametrize(
    ("before", "after", "advice"),
    [
        ("hpa", "keda", "PENSTOCK_AUTOSCALING=fixed"),
        ("keda", "hpa", "kubectl delete scaledobject digits-classify-small-predictor"),
        ("keda", "fixed", "kubectl delete scaledobject"),
        ("keda", "external", "kubectl delete scaledobject"),
    ],
)
def test_a_running_service_never_gets_a_second_autoscaler(before, after, advice):
    live = sorted(manifests(settings=scaled_by(before)), key=lambda m: m["metadata"]["name"])
    wanted = sorted(manifests(settings=scaled_by(after)), key=lambda m: m["metadata"]["name"])
    with pytest.raises(ManifestError, match=f"runs with autoscaler class {before}") as caught:
        diff(wanted, live)
    assert advice in str(caught.value)


def test_a_moved_band_changes_no_pod():
    settings = scaled_by("keda")
    (change,) = diff(manifests(plan(replicas=3), settings), manifests(plan(), settings))
    assert (change.reason, only_replicas(change.body)) == ("more replicas", True)


def scale(replicas, **metadata):
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "d-predictor", **metadata},
        "spec": {"replicas": replicas},
    }


@pytest.mark.parametrize(
    ("running", "sent", "step"),
    [(1, 2, Step.PREPARE), (2, None, None), (4, None, None), (7, 4, Step.RETIRE)],
)
def test_replicas_of_ones_own_are_brought_to_the_nearer_end_of_their_band(running, sent, step):
    changes = diff([scale(2, annotations={AT_MOST: "4"})], [scale(running)])
    found = [(c.body["spec"]["replicas"], c.step) for c in changes]
    assert found == ([(sent, step)] if sent else [])
    assert all(c.before == {"spec": {"replicas": running}} for c in changes)


@pytest.mark.parametrize(("running", "sent"), [(1, 2), (2, None), (3, None), (5, 4)])
def test_a_band_that_begins_below_the_plan_is_left_alone_down_to_its_end(running, sent):
    wanted = scale(3, annotations={AT_LEAST: "2", AT_MOST: "4"})
    found = [c.body["spec"]["replicas"] for c in diff([wanted], [scale(running)])]
    assert found == ([sent] if sent else [])


def test_there_is_nothing_to_scale_before_kserve_made_the_deployment():
    assert diff([scale(2)], []) == diff([], [scale(2)]) == ()


def test_every_patch_can_be_undone_from_itself():
    desired, live = manifests(plan("small", 2, 4, 0.5)), manifests(plan("small", 3, 1, 1.0))
    there = {m["metadata"]["name"]: m for m in live}
    for change in diff(desired, live):
        before = there[change.name]
        assert merge(merge(before, change.body), change.before) == before


def test_a_manifest_without_a_name_is_refused():
    with pytest.raises(ManifestError, match=r"metadata\.name"):
        diff([{"kind": "ConfigMap"}], ())


def test_a_patch_is_described_by_what_it_changes():
    (change,) = diff(manifests(plan(replicas=3)), manifests(plan(replicas=1)))
    assert describe(change) == (
        "patch InferenceService default/digits-locate-small: more replicas",
        "  spec.predictor.minReplicas: 1 -> 3",
    )


def test_creation_and_removal_are_described_in_one_line():
    create = diff(manifests(), ())[0]
    remove = diff((), manifests())[0]
    assert describe(create) == ("create ConfigMap default/digits-batching: not there yet",)
    assert describe(remove) == ("delete InferenceGraph default/digits: the plan no longer has it",)


def test_a_new_field_is_described_as_having_been_absent():
    live = copy.deepcopy(manifests())
    del live[0]["data"]["locate-small.json"]
    (change,) = diff(manifests(), live)
    assert "data.locate-small.json: (none) -> " in describe(change)[1]


def test_a_removed_node_is_described_by_what_it_was():
    live = copy.deepcopy(manifests())
    first(live, "InferenceGraph")["spec"]["nodes"]["extra"] = {"routerType": "Switch"}
    (change,) = diff(manifests(), live)
    assert describe(change)[1] == '  spec.nodes.extra: {"routerType": "Switch"} -> (none)'
