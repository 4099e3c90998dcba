from __future__ import annotations

from typing import Any

import pytest

from penstock.errors import NotFoundError, UnreachableError
from penstock.settings import Settings
from serving.cluster.discovery import Discovery
from tests.builders import pipeline
from workflows.deployment import DeploySettings, Loop
from workflows.preflight import Check, check_cluster


class Pages:
    """Answers as an API server that has these kinds, by group and version; every right is given."""

    def __init__(self, minor: str = "34+") -> None:
        self.minor = minor
        self.kinds = {
            "serving.kserve.io/v1beta1": "inferenceservices",
            "serving.kserve.io/v1alpha1": "inferencegraphs",
            "argoproj.io/v1alpha1": "cronworkflows",
        }

    def __call__(self, method: str, path: str, *, body: Any = None) -> dict[str, Any]:
        if path == "/version":
            return {"major": "1", "minor": self.minor}
        if method == "POST":
            return {"status": {"allowed": True}}
        named = path.removeprefix("/apis/")
        if named in self.kinds:
            return {"resources": [{"name": self.kinds[named]}]}
        versions = [gv.split("/")[1] for gv in self.kinds if gv.startswith(f"{named}/")]
        if not versions:
            raise NotFoundError(path)
        return {"versions": [{"version": version} for version in versions]}


def failed(
    pages: Pages, loop: Loop = Loop.CRON, *, monitoring: bool = False, **settings: Any
) -> dict[str, Check]:
    how = DeploySettings(loop=loop, monitoring=monitoring)
    checks = check_cluster(Discovery(pages), pipeline(), Settings(**settings), how)
    return {c.what: c for c in checks if c.stops}


def test_a_cluster_with_all_of_it_has_no_fault() -> None:
    assert failed(Pages()) == {}


def test_without_argo_a_watching_tick_still_runs() -> None:
    pages = Pages()
    del pages.kinds["argoproj.io/v1alpha1"]
    assert "--watch 10" in failed(pages)["cronworkflows.argoproj.io"].hint
    assert failed(pages, Loop.WATCH) == {}


def test_another_version_than_is_written_is_told() -> None:
    pages = Pages()
    pages.kinds["serving.kserve.io/v1beta2"] = pages.kinds.pop("serving.kserve.io/v1beta1")
    fault = failed(pages)["inferenceservices.serving.kserve.io"]
    assert "serving.kserve.io has v1alpha1, v1beta2" in fault.found


def test_all_that_is_missing_is_told_at_once() -> None:
    pages = Pages(minor="24")
    pages.kinds.clear()
    assert list(failed(pages)) == [
        "Kubernetes",
        "inferenceservices.serving.kserve.io",
        "inferencegraphs.serving.kserve.io",
        "cronworkflows.argoproj.io",
    ]


def test_keda_is_needed_only_when_it_scales() -> None:
    assert "scaledobjects.keda.sh" in failed(Pages(), autoscaling="keda")


def test_the_prometheus_operator_is_needed_only_for_its_monitors() -> None:
    assert "podmonitors.monitoring.coreos.com" in failed(Pages(), monitoring=True)


def test_what_has_no_version_is_no_api_server() -> None:
    with pytest.raises(UnreachableError, match="API server"):
        Discovery(lambda method, path, body=None: {"hello": "world"}).version()
