from __future__ import annotations

import json

import pytest

from penstock.errors import ManifestError, UnreachableError
from serving.router.endpoints import Balancer, Endpoints, read_endpoints
from serving.router.execute import Answer, GraphRun, exists
from serving.router.graph import read_graph
from tests.shared_data import shared

VECTORS = "data/kserve/router-v0.20.0-vectors.json"


def manifest(nodes, **spec):
    return {"metadata": {"name": "g"}, "spec": {"nodes": nodes, **spec}}


def sequence(*steps):
    return {"root": {"routerType": "Sequence", "steps": list(steps)}}


class Upstreams:
    """The stub services that the real router's answers were recorded with."""

    def __init__(self, table):
        self.table = table
        self.calls = []

    async def call(self, step, body):
        name = step.url.rpartition("/")[2]
        if "DEAD" in step.url:
            raise UnreachableError("connection refused")
        self.calls.append((name, body))
        if name == "echo":
            return Answer(status=200, body=body)
        recorded = self.table[name]
        text = recorded["body"]
        raw = text if isinstance(text, str) else json.dumps(text)
        return Answer(status=recorded["status"], body=raw.encode())


async def replay(vector, table):
    """Return our answer to a recorded request, or None if the graph is refused when loaded."""
    try:
        graph = read_graph({"metadata": {"name": "v"}, "spec": vector["graph"]})
    except ManifestError:
        return None, []
    upstreams = Upstreams(table)
    request = vector["request"]
    raw = request["raw_latin1"]
    body = raw.encode("latin1") if raw is not None else json.dumps(request["json"]).encode()
    return await GraphRun(graph, upstreams.call).answer(body), upstreams.calls


async def test_the_answers_are_those_of_kserves_router():
    recorded = json.loads(shared(VECTORS).read_text())
    replayed = 0
    for vector in recorded["vectors"]:
        answer, calls = await replay(vector, recorded["upstreams"])
        expected = vector["expect"]
        if answer is None or expected["json"] is None:
            continue
        replayed += 1
        got = json.loads(answer.body)
        wanted = expected["json"]
        if isinstance(wanted, dict) and "cause" in wanted:
            got, wanted = {**got, "cause": ""}, {**wanted, "cause": ""}
        assert (answer.status, got) == (expected["status"], wanted), vector["id"]
        assert sorted(name for name, _ in calls) == sorted(
            call["upstream"] for call in vector["calls"]
        ), vector["id"]
    assert replayed >= 25


async def test_what_kserves_router_would_break_on_is_refused_when_loaded():
    recorded = json.loads(shared(VECTORS).read_text())
    by_id = {vector["id"]: vector for vector in recorded["vectors"]}
    for name in (
        "seq-empty",
        "node-ghost",
        "no-root",
        "split-weight-missing",
        "seq-cond-first-step",
    ):
        answer, _ = await replay(by_id[name], {})
        assert answer is None, name


@pytest.mark.parametrize(
    ("nodes", "fault"),
    [
        ({"x": {"routerType": "Sequence", "steps": [{"serviceName": "a"}]}}, "has no `root`"),
        ({"root": {"routerType": "Loop", "steps": []}}, "spec.nodes.root.routerType"),
        (sequence(), "spec.nodes.root.steps: must be a list of at least one"),
        (sequence({"serviceName": "a", "serviceUrl": "b"}), "steps[0]: must have exactly one"),
        (sequence({"nodeName": "ghost"}), "there is no node 'ghost'"),
        (sequence({"nodeName": "root"}), "cycle"),
        (sequence({"serviceName": "a", "dependency": "Firm"}), "must be Soft or Hard"),
        (
            sequence({"serviceName": "a"}, {"serviceName": "b", "condition": "a.#(b>1)"}),
            "is more than a plain path",
        ),
        (
            {"root": {"routerType": "Splitter", "steps": [{"serviceName": "a", "weight": 90}]}},
            "must add up to 100, got 90",
        ),
        (
            {"root": {"routerType": "Switch", "steps": [{"serviceName": "a"}]}},
            "the step could never match",
        ),
    ],
)
def test_a_graph_that_cannot_run_is_refused_with_the_path(nodes, fault):
    with pytest.raises(ManifestError) as caught:
        read_graph(manifest(nodes))
    assert fault in str(caught.value)


def test_all_faults_come_at_once():
    nodes = sequence({"nodeName": "ghost"}, {"serviceName": "a", "dependency": "Firm"})
    with pytest.raises(ManifestError) as caught:
        read_graph(manifest(nodes))
    assert "steps[0].nodeName" in str(caught.value)
    assert "steps[1].dependency" in str(caught.value)


def test_a_graph_names_its_services_once_and_its_timeout():
    graph = read_graph(
        manifest(
            sequence({"serviceName": "a"}, {"serviceName": "b"}, {"serviceName": "a"}),
            routerTimeouts={"serviceClient": 3},
        )
    )
    assert graph.services() == ("a", "b")
    assert graph.timeout_s == 3.0


async def test_a_hard_step_that_fails_ends_the_sequence():
    graph = read_graph(
        manifest(sequence({"serviceName": "a", "dependency": "Hard"}, {"serviceName": "b"}))
    )
    asked = []

    async def call(step, _body):
        asked.append(step.service)
        return Answer(status=503, body=b"{}")

    answer = await GraphRun(graph, call).answer(b"{}")
    assert (answer.status, asked) == (503, ["a"])


@pytest.mark.parametrize(("drawn", "service"), [(0.0, "a"), (0.199, "a"), (0.2, "b"), (0.99, "b")])
async def test_a_splitter_follows_its_weights(drawn, service):
    steps = [{"serviceName": "a", "weight": 20}, {"serviceName": "b", "weight": 80}]
    graph = read_graph(manifest({"root": {"routerType": "Splitter", "steps": steps}}))

    async def call(step, _body):
        return Answer(status=200, body=step.service.encode())

    answer = await GraphRun(graph, call, draw=lambda: drawn).answer(b"{}")
    assert answer.body.decode() == service


@pytest.mark.parametrize(("body", "service"), [(b'{"vip": null}', "a"), (b"{}", "b")])
async def test_a_switch_ends_at_the_step_that_takes_what_is_left(body, service):
    steps = [{"serviceName": "a", "condition": "vip"}, {"serviceName": "b", "condition": "@this"}]
    nodes = {"root": {"routerType": "Switch", "steps": steps}}

    async def call(step, _body):
        return Answer(status=200, body=step.service.encode())

    answer = await GraphRun(read_graph(manifest(nodes)), call).answer(body)
    assert answer.body.decode() == service


@pytest.mark.parametrize(
    ("path", "there"),
    [("a", True), ("a.0", True), ("a.1", False), ("b.c", True), ("b.d", False), ("n", True)],
)
def test_a_path_exists_when_it_leads_to_any_value(path, there):
    assert exists({"a": [1], "b": {"c": False}, "n": None}, path.split(".")) is there


def test_replicas_take_turns_while_they_are_equally_busy():
    balancer = Balancer()
    taken = []
    for _ in range(4):
        url = balancer.take(("a", "b"))
        taken.append(url)
        balancer.give_back(url)
    assert taken == ["a", "b", "a", "b"]


def test_the_replica_with_the_fewest_calls_is_taken():
    balancer = Balancer()
    first = balancer.take(("a", "b"))
    assert balancer.take(("a", "b")) != first
    balancer.give_back(first)
    assert balancer.take(("a", "b")) == first


def test_a_replica_that_was_tried_is_taken_again_only_without_another():
    balancer = Balancer()
    assert balancer.take(("a", "b"), tried=["a"]) == "b"
    assert balancer.take(("a",), tried=["a"]) == "a"
    assert balancer.take(()) is None


def test_counts_of_replicas_that_are_gone_are_forgotten_once_idle():
    balancer = Balancer()
    balancer.take(("gone",))
    balancer.forget_all_but(Endpoints(urls={"s": ("kept",)}))
    assert balancer.take(("gone", "kept")) == "kept"
    balancer.give_back("gone")
    balancer.forget_all_but(Endpoints(urls={"s": ("kept",)}))
    assert balancer.take(("gone", "kept")) == "gone"


@pytest.mark.parametrize("document", [[], {"s": "url"}, {"s": [1]}])
def test_a_table_that_makes_no_sense_is_refused(document):
    with pytest.raises(ManifestError, match="endpoints"):
        read_endpoints(document)
