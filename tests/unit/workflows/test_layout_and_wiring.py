"""Where files lie, and which classes are picked for which settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from optimizer.forecast import WithFallback
from optimizer.load import PrometheusLoad
from penstock.domain import Adaptation
from penstock.errors import ArtifactError, UserError
from penstock.settings import Settings
from profiles import table
from serving.cluster.memory import MemoryCluster
from tests.builders import pipeline, profile_table
from tests.forecaster_folders import handmade
from workflows import wiring
from workflows.layout import MAKERS, Layout, layout_of


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(root=tmp_path / "out", spec=tmp_path / "pipeline.yaml")


def test_the_default_folder_is_named_after_the_pipeline() -> None:
    made = layout_of(pipeline("video"), Path("x/pipeline.yaml"))
    assert made.plan == Path("out/video/plan.json")
    assert layout_of(pipeline("video"), Path("p.yaml"), Path("/tmp/o")).root == Path("/tmp/o")


@pytest.mark.parametrize("part", sorted(MAKERS))
def test_a_missing_part_is_told_with_the_command_that_makes_it(layout: Layout, part: str) -> None:
    with pytest.raises(UserError, match=r"is not there yet; make it with: penstock \w+ .*yaml"):
        layout.needed(part)


def test_measured_profiles_go_before_those_that_came_with_the_document(layout: Layout) -> None:
    with pytest.raises(UserError, match="penstock profile"):
        layout.known_profiles()
    table.save(profile_table(), layout.shipped_profiles)
    assert layout.known_profiles() == layout.shipped_profiles
    table.save(profile_table(), layout.profiles)
    assert layout.known_profiles() == layout.profiles
    assert wiring.profile_table(layout) == profile_table()


def test_the_store_is_a_folder_of_the_layout_unless_one_is_named(layout: Layout) -> None:
    assert wiring.store_uri(layout, Settings()) == layout.store.resolve().as_uri()
    assert wiring.store_uri(layout, Settings(store="s3://models")) == "s3://models"


def test_without_a_trained_predictor_the_window_decides(layout: Layout) -> None:
    assert wiring.make_forecaster(pipeline(), layout).name == "max"


def test_a_trained_predictor_is_always_guarded(layout: Layout) -> None:
    handmade(layout.forecaster)
    at_once = {"solve_s": 0.0, "start_s": 0.0, "rollout_s": 0.0}
    quick = pipeline(adaptation=Adaptation(step_s=1.0, interval_s=2.0, **at_once))
    assert isinstance(wiring.make_forecaster(quick, layout), WithFallback)


def test_a_predictor_for_another_horizon_is_refused(layout: Layout) -> None:
    handmade(layout.forecaster)
    with pytest.raises(ArtifactError, match="not the 100 s that are asked for"):
        wiring.make_forecaster(pipeline(), layout)


def test_load_comes_from_prometheus_when_it_is_named(layout: Layout) -> None:
    settings = Settings(prometheus_url="http://prometheus:9090")
    ports = wiring.make_ports(pipeline(), layout, settings, MemoryCluster(), lambda tick: None)
    assert isinstance(ports.source, PrometheusLoad)
    assert 'pipeline="digits"' in ports.source.query


def test_a_cluster_without_any_load_is_refused(layout: Layout) -> None:
    with pytest.raises(UserError, match="PENSTOCK_PROMETHEUS_URL"):
        wiring.make_ports(pipeline(), layout, Settings(), MemoryCluster(), lambda tick: None)


def test_an_unknown_cluster_is_answered_with_the_known_ones(layout: Layout) -> None:
    with pytest.raises(UserError, match="no cluster 'moon'; there are local, kubernetes, memory"):
        wiring.attach("moon", layout)


def test_rendering_takes_its_names_from_the_settings(layout: Layout) -> None:
    made = wiring.render_settings(layout, Settings(predictor_image="a/b:1", autoscaling="hpa"))
    assert (made.image, made.autoscaling.value) == ("a/b:1", "hpa")
    assert wiring.tick_settings(layout, Settings(ready_timeout_s=7.0)).ready_timeout_s == 7.0
