"""Whatever plan runs and whatever plan comes next: the way there is safe, and it ends there."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.clock import VirtualClock
from penstock.domain import Node, NodeKind, Step
from penstock.errors import UnreachableError
from serving.cluster import Readiness
from serving.cluster.memory import MemoryCluster
from serving.diff import diff
from serving.manifest import from_yaml, merge, to_yaml, undo
from serving.render import RenderSettings, render
from serving.state import State, from_manifest, plan_of, to_manifest
from tests import builders as make
from tests.applying import bring as bring_by_ticks
from tests.applying import live

BRANCHES = Node(
    kind=NodeKind.SPLITTER,
    steps=(Step(to="locate", weight=30), Step(to="classify", weight=70)),
)
PIPELINES = (
    make.pipeline(),
    make.pipeline(graph=BRANCHES),
    make.pipeline(graph=Node(kind=NodeKind.SEQUENCE, steps=(Step(to=BRANCHES),))),
)
SETTINGS = {
    kind: RenderSettings(
        image="i:1", store_uri="s3://m", autoscaling=kind, prometheus_url="http://p.m.svc"
    )
    for kind in ("fixed", "hpa", "external")
}


def options(stage):
    return st.builds(
        make.option,
        stage=st.just(stage),
        variant=st.sampled_from(["small", "large"]),
        batch_size=st.sampled_from([1, 2, 4]),
        cpu_cores=st.sampled_from([0.25, 1.0]),
        replicas=st.integers(1, 5),
    )


plans = st.tuples(options("locate"), options("classify")).map(lambda s: make.plan(stages=s))
rendered = st.tuples(st.sampled_from(PIPELINES), plans, st.sampled_from(sorted(SETTINGS))).map(
    lambda drawn: render(drawn[0], drawn[1], SETTINGS[drawn[2]])
)


class Watched(MemoryCluster):
    """Looks, after each thing done to it, at whether every step of the graph is served."""

    def __init__(self, fails_at=None, slow=()):
        super().__init__(readiness=self._judge)
        self.fails_at = fails_at
        self.slow = slow
        self.done = 0
        self.watching = False
        self.clock = VirtualClock()

    def _judge(self, manifest):
        ready = not self.watching or manifest["metadata"]["name"] not in self.slow
        return Readiness(ready=ready, reason="" if ready else "slow")

    def apply(self, change):
        self._count()
        result = super().apply(change)
        self._look()
        return result

    def delete(self, kind, namespace, name):
        self._count()
        result = super().delete(kind, namespace, name)
        self._look()
        return result

    def _count(self):
        self.done += self.watching
        if self.watching and self.done == self.fails_at:
            raise UnreachableError("no answer")

    def _look(self):
        graph = self.get("InferenceGraph", "default", "digits")
        nodes = graph["spec"]["nodes"].values() if graph else ()
        for step in (s for node in nodes for s in node["steps"] if "serviceName" in s):
            service = self.get("InferenceService", "default", step["serviceName"])
            assert service is not None, f"{step['serviceName']} is named but not there"
            assert service["spec"]["predictor"].get("minReplicas", 1) >= 1


def bring(cluster, desired):
    cluster.clock.sleep(60.0)  # whoever held a switch is gone by now
    return bring_by_ticks(cluster, desired, cluster.clock, ready_timeout_s=2.0, settle_s=1.0)


@given(rendered, rendered)
@settings(max_examples=40, deadline=None)
def test_after_an_apply_from_any_plan_to_any_plan_nothing_differs(first, second):
    cluster = Watched()
    assert bring(cluster, first).ok
    assert bring(cluster, second).ok
    assert diff(second, live(cluster)) == ()


@given(rendered, rendered, st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_an_outage_anywhere_leaves_every_stage_served_and_the_next_tick_finishes(
    first, second, fails_at
):
    cluster = Watched(fails_at)
    assert bring(cluster, first).ok
    cluster.watching = True
    bring(cluster, second)
    cluster.watching = False
    assert bring(cluster, second).ok
    assert diff(second, live(cluster)) == ()


@given(rendered, rendered, st.sets(st.sampled_from(["digits", "digits-locate-large"])))
@settings(max_examples=40, deadline=None)
def test_a_rollout_that_never_gets_ready_leaves_every_stage_served(first, second, slow):
    cluster = Watched(slow=slow)
    assert bring(cluster, first).ok
    cluster.watching = True
    report = bring(cluster, second)
    assert report.ok or report.error


@given(rendered)
@settings(max_examples=40, deadline=None)
def test_rendered_manifests_survive_their_yaml(manifests):
    assert from_yaml(to_yaml(manifests)) == manifests


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)
without_null = json_values.filter(lambda v: "null" not in to_yaml([{"v": v}]))
mappings = st.dictionaries(st.text(max_size=3), without_null, max_size=4)
patches = st.dictionaries(st.text(max_size=3), json_values, max_size=4)


@given(mappings, patches)
@settings(max_examples=60, deadline=None)
def test_a_merge_patch_can_be_undone(document, patch):
    assert merge(merge(document, patch), undo(patch, document)) == document


@given(mappings, patches)
@settings(max_examples=60, deadline=None)
def test_a_merge_patch_twice_is_a_merge_patch_once(document, patch):
    once = merge(document, patch)
    assert merge(once, patch) == once


@given(mappings, st.floats(0, 1e10), st.lists(mappings, max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_state_survives_its_config_map(plan, now_s, decisions):
    state = State(pipeline="digits", namespace="demo").with_plan(plan, now_s=now_s)
    for decision in decisions:
        state = state.with_decision(decision, keep=3)
    read = from_manifest(to_manifest(state))
    assert read == state
    assert plan_of(read) == plan
