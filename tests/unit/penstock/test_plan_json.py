from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from penstock.errors import SpecError
from penstock.plan_json import plan_from_json, plan_to_json
from tests.builders import plan, promise


def document(**changes: Any) -> dict[str, Any]:
    return {**json.loads(plan_to_json(plan())), **changes}


def faults(written: Any) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        plan_from_json(json.dumps(written), source="plan.json")
    return caught.value.faults


def test_a_plan_survives_the_round_trip() -> None:
    assert plan_from_json(plan_to_json(plan())) == plan()
    assert plan_from_json(plan_to_json(plan(solver="glpk"))).solver == "glpk"


@pytest.mark.parametrize("band", [[1], [2, 1], [1, 2.5], "wide"])
def test_a_band_is_a_rising_pair_of_whole_numbers(band: Any) -> None:
    written = document()
    written["stages"][1]["band"] = band

    assert len(faults(written)) == 1
    assert faults(written)[0].startswith("stages[1].band")


def test_a_plan_written_before_there_were_bands_is_read() -> None:
    written = document()
    for entry in written["stages"]:
        del entry["band"]
    del written["promise"]["switch_cost"]

    assert plan_from_json(json.dumps(written)) == plan()


def test_equal_plans_have_equal_bytes() -> None:
    assert plan_to_json(plan()) == plan_to_json(plan_from_json(plan_to_json(plan())))


def test_document_is_for_people_too() -> None:
    text = plan_to_json(plan())

    assert text.startswith('{\n  "format": "penstock.dev/plan/v1",\n  "load_rps": 10.0,\n')
    assert text.endswith("}\n")


def test_a_promise_without_bound_is_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        plan_to_json(plan(promise=promise(latency_s=math.inf)))


def test_an_objective_may_be_negative() -> None:
    written = plan(promise=promise(objective=-3.5))

    assert plan_from_json(plan_to_json(written)) == written


def test_a_sum_of_accuracies_may_exceed_one() -> None:
    written = plan(promise=promise(accuracy=1.7))

    assert plan_from_json(plan_to_json(written)) == written


def test_text_that_is_not_json_is_refused_with_its_source() -> None:
    with pytest.raises(SpecError, match=r"(?s)plan\.json: 1 fault.*is not JSON"):
        plan_from_json("{", source="plan.json")


def test_every_fault_is_named_at_once_with_its_path() -> None:
    written = document(format="v0", load_rps=-1, colour="red")
    del written["solver"]
    written["stages"][0]["replicas"] = 1.5
    written["stages"][1]["variant"] = 7
    del written["stages"][1]["accuracy"]
    written["promise"]["accuracy_product"] = 1.2
    written["promise"]["latency_s"] = True

    assert faults(written) == (
        "colour: is unknown; known are format, pipeline, load_rps, stages, promise, solver",
        "solver: is missing",
        "format: must be 'penstock.dev/plan/v1', got 'v0'",
        "load_rps: must be a number of at least 0, got -1",
        "promise.latency_s: must be a number of at least 0, got True",
        "promise.accuracy_product: must be a number in [0, 1], got 1.2",
        "stages[0].replicas: must be a whole number of at least 0, got 1.5",
        "stages[1].accuracy: is missing",
        "stages[1].variant: must be text, got int",
    )


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ([], "must be a mapping, got list"),
        (document(stages={}), "stages: must be a list, got dict"),
        (document(stages=[]), "stages: must not be empty"),
        (document(stages=[1]), "stages[0]: must be a mapping, got int"),
        (document(promise=None), "promise: must be a mapping, got NoneType"),
        (document(load_rps=math.nan), "load_rps: must be a number of at least 0, got nan"),
    ],
)
def test_a_wrong_shape_is_named(written: Any, fault: str) -> None:
    assert fault in faults(written)


def test_absent_parts_are_faults_too() -> None:
    assert set(faults({})) == {
        f"{name}: is missing"
        for name in ("format", "pipeline", "load_rps", "stages", "promise", "solver")
    }


def test_different_plans_have_different_documents() -> None:
    assert plan_to_json(plan()) != plan_to_json(replace(plan(), load_rps=11.0))
