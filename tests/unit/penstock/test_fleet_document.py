"""The fleet document and the share: all faults at once, with their paths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from penstock.domain import Goal, LatencyModel, Objective, Prices, Slo
from penstock.errors import DomainError, SpecError
from penstock.fleet import Fleet, FleetMember, read_fleet
from penstock.share import Share, format_share, hold, read_share
from penstock.spec import format_pipeline
from tests.builders import pipeline

EXAMPLE = Path(__file__).parents[3] / "examples" / "fleet.yaml"


def written(folder: Path, text: str, **pipelines) -> Path:
    for name, one in pipelines.items():
        (folder / f"{name}.yaml").write_text(format_pipeline(one))
    path = folder / "fleet.yaml"
    path.write_text(text)
    return path


def document(spec: str) -> str:
    return f"apiVersion: penstock.dev/v1\nkind: Fleet\nmetadata: {{name: both}}\nspec: {spec}\n"


def test_the_example_is_both_examples_under_one_budget() -> None:
    fleet = read_fleet(EXAMPLE)
    assert [m.pipeline.name for m in fleet.members] == ["digits", "fashion"]
    assert fleet.budget == fleet.max_cores == 2.0
    assert fleet.members[1].priority == 2.0


def test_every_fault_of_the_fleet_and_its_pipelines_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text(
        format_pipeline(pipeline()).replace("latency_s: 0.5", "latency_s: -1")
    )
    path = written(
        tmp_path,
        document(
            "{max_cores: 2.0, max_cost_per_hour: 1.0, pipelines: [{document: a.yaml}, "
            "{document: a.yaml}, {document: broken.yaml}, {document: absent.yaml}]}"
        ),
        a=replace(pipeline("a"), objective=Objective(goal=Goal.COST_FIRST)),
    )
    with pytest.raises(SpecError) as caught:
        read_fleet(path)
    told = "\n".join(caught.value.faults)
    for words in (
        "spec: needs max_cores or max_cost_per_hour, and not both",
        f"spec.pipelines[2].document: {tmp_path}/broken.yaml: spec.slo.latency_s: must be greater",
        "spec.pipelines[3].document",
        "two pipelines are called 'a'",
        "pipeline 'a': has no prices, and the budget is money",
        "spec.objective.goal is cost-first",
    ):
        assert words in told


def test_a_shape_that_is_none_is_told_with_its_path(tmp_path: Path) -> None:
    path = written(tmp_path, document("{pipelines: [{priority: 0, path: x}]}"))
    with pytest.raises(SpecError) as caught:
        read_fleet(path)
    assert len(caught.value.faults) == 3
    assert "spec.pipelines[0].path: no such key" in caught.value.faults


def test_what_one_budget_cannot_weigh_is_no_fleet() -> None:
    tail = Slo(latency_s=0.5, latency_model=LatencyModel.CONVOLUTION)
    odd = replace(pipeline("odd"), slo=tail, prices=Prices(cpu_core_hour=1.0))
    member = FleetMember(pipeline=odd, document=Path("odd.yaml"))
    with pytest.raises(DomainError, match=r"has prices, and the budget is cores.*convolution"):
        Fleet(name="f", members=(member,), max_cores=1.0)


@pytest.mark.parametrize("limit", [{"max_cores": 1.25}, {"max_cost_per_hour": 0.5}])
def test_a_share_is_read_back_as_it_was_written(tmp_path: Path, limit) -> None:
    share = Share(fleet="both", pipeline="digits", **limit)
    path = tmp_path / "share.json"
    path.write_text(format_share(share))
    assert read_share(path) == share


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"max_cores": -1}'])
def test_what_is_no_share_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "share.json"
    path.write_text(text)
    with pytest.raises(SpecError):
        read_share(path)


def test_a_share_without_a_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "share.json"
    share = Share(fleet="both", pipeline="digits", max_cores=1.0)
    path.write_text(format_share(share).replace("max_cores", "max_cost_per_hour"))
    assert read_share(path).max_cost_per_hour == 1.0
    path.write_text("\n".join(x for x in path.read_text().split("\n") if "cost" not in x))
    path.write_text(path.read_text().replace('"digits",', '"digits"'))
    with pytest.raises(SpecError, match="needs max_cores or max_cost_per_hour"):
        read_share(path)


def test_the_tighter_of_share_and_own_limit_holds() -> None:
    share = Share(fleet="both", pipeline="digits", max_cores=2.0)
    assert hold(pipeline(), share).pipeline.max_cores == 2.0
    assert hold(pipeline(max_cores=1.0), share).pipeline.max_cores == 1.0
    money = Share(fleet="both", pipeline="digits", max_cost_per_hour=2.0)
    priced = pipeline(prices=Prices(cpu_core_hour=1.0), max_cost_per_hour=1.5)
    held = hold(priced, money)
    assert (held.pipeline.max_cost_per_hour, held.cost_ceiling) == (1.5, 2.0)


def test_a_share_that_does_not_fit_the_pipeline_is_refused() -> None:
    with pytest.raises(DomainError, match="is no limit for 'digits'"):
        hold(pipeline(), Share(fleet="both", pipeline="other", max_cores=1.0))
    with pytest.raises(DomainError, match="has no prices any more"):
        hold(pipeline(), Share(fleet="both", pipeline="digits", max_cost_per_hour=1.0))
