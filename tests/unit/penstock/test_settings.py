"""Settings come from the environment, every fault at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import SpecError
from penstock.settings import VARIABLES, Settings, read_settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert read_settings({}) == Settings()
    assert read_settings({"PENSTOCK_SOLVER": " "}).solver == "auto"


def test_each_setting_has_its_variable(tmp_path: Path) -> None:
    environment = {
        "PENSTOCK_IMAGE": "example/penstock:7",
        "PENSTOCK_PREDICTOR_IMAGE": "example/predictor:7",
        "PENSTOCK_STORE": "s3://models/digits",
        "PENSTOCK_SCHEMAS": str(tmp_path),
        "PENSTOCK_PROMETHEUS_URL": "http://prometheus:9090",
        "PENSTOCK_SOLVER": "highs",
        "PENSTOCK_SOLVER_TIME_LIMIT_S": "2.5",
        "PENSTOCK_READY_TIMEOUT_S": "30",
        "PENSTOCK_SETTLE_S": "40",
        "PENSTOCK_QUARANTINE_S": "300",
        "PENSTOCK_EDITS": "respect",
        "PENSTOCK_METRICS_PORT": "9464",
        "PENSTOCK_METRICS_FOLDER": "/tmp/numbers",
        "PENSTOCK_ARGO_ARTIFACTS": "on",
        "PENSTOCK_AUTOSCALING": "hpa",
        "PENSTOCK_SERVICE_ACCOUNT": "runner",
        "PENSTOCK_SHARED": str(tmp_path),
    }
    assert set(environment) == set(VARIABLES.values())
    read = read_settings(environment)
    assert read.schemas == read.shared == tmp_path
    assert (read.solver, read.solver_time_limit_s, read.ready_timeout_s) == ("highs", 2.5, 30.0)
    assert (read.image, read.predictor_image) == ("example/penstock:7", "example/predictor:7")
    assert read.autoscaling == "hpa"
    assert read.argo_artifacts


def test_the_older_word_for_fixed_replicas_is_still_read() -> None:
    assert read_settings({"PENSTOCK_AUTOSCALING": "none"}).autoscaling == "fixed"


def test_all_bad_variables_are_told_together() -> None:
    with pytest.raises(SpecError) as caught:
        read_settings(
            {
                "PENSTOCK_SOLVER": "gurobi",
                "PENSTOCK_SCHEMAS": "/no/such/folder",
                "PENSTOCK_SOLVER_TIME_LIMIT_S": "-1",
                "PENSTOCK_READY_TIMEOUT_S": "soon",
            }
        )
    assert caught.value.source == "environment"
    assert len(caught.value.faults) == 4
    assert (
        "PENSTOCK_SOLVER: must be one of auto, frontier, mip, glpk, highs, exhaustive, got 'gurobi'"
        in str(caught.value)
    )
