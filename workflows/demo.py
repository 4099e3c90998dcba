"""The main job on one machine, every step of it real: ``penstock demo``.

Steps 1 to 6 are the Kubeflow pipeline, run unchanged by kfp's local runner. Then the plan serves on
local processes, a bursty load is put on it while the tick adapts it, and the same load is put on
two plans that never change. What comes out is a report to look at.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optimizer.history import bursty_curve
from optimizer.plan import solve_plan
from penstock.domain import Mode, Pipeline
from penstock.errors import UserError
from penstock.progress import Report, silent
from penstock.spec import format_pipeline
from workflows import wiring
from workflows.calibrate import Calibration, calibrate
from workflows.live import Run, open_stand, run_live
from workflows.recording import (
    write_recording,
    write_text,
)

if TYPE_CHECKING:
    from penstock.settings import Settings
    from workflows.layout import Layout
    from workflows.summary import Summary

SECONDS = 54
SEED = 20
MOST_RPS = 120.0
"""Client, gateway and router share the machine with the replicas; above this they starve them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """What came of it: the comparison, and where the report lies."""

    calibration: Calibration
    summary: Summary
    report: Path


def prepare(layout: Layout, settings: Settings, trainer: str, *, report: Report = silent) -> None:
    """Run steps 1 to 6 under kfp's local runner: from training code to manifests.

    Raises:
        PenstockError: a step failed; the message names it.
    """
    from workflows.bootstrap_local import run_local
    from workflows.parameters import Parameters

    parameters = Parameters(
        trainer=trainer,
        store=wiring.store_uri(layout, settings),
        shared=str(settings.shared or ""),
        # the plan of step 5 is the integer program's; the ticks take what is fastest and exact
        solver="mip" if settings.solver == "auto" else settings.solver,
        image=settings.predictor_image,
    )
    run_local(layout, parameters, report=report)


def compare(
    pipeline: Pipeline,
    layout: Layout,
    settings: Settings,
    *,
    seconds: int = SECONDS,
    report: Report = silent,
) -> Demo:
    """Run the adaptive pipeline and the two static plans under one load, and write the report.

    Raises:
        PenstockError: profiles or models are missing, or a run failed.
    """
    from workflows.report import DOCUMENT, build_report
    from workflows.summary import write_summary

    if pipeline.adaptation.mode is not Mode.APPLY:
        raise UserError(
            f"the pipeline's mode is {pipeline.adaptation.mode}; "
            f"a demo needs spec.adaptation.mode: {Mode.APPLY}"
        )
    stand = open_stand(pipeline, layout, settings)
    solver = wiring.make_solver(settings)
    calibration = calibrate(pipeline, stand.table, solver, most_rps=MOST_RPS)
    curve_rps = calibration.curve(bursty_curve(seconds, seed=SEED))
    first = solve_plan(pipeline, stand.table, curve_rps[0], solver=solver)
    if first.plan is None:
        raise UserError(first.explanation)
    write_text(layout.runs / DOCUMENT, format_pipeline(pipeline))
    plans = {
        "adaptive": first.plan,
        "lightest": calibration.lightest,
        "heaviest": calibration.heaviest,
    }
    for name, plan in plans.items():
        run = Run(name=name, plan=plan, curve_rps=curve_rps, adaptive=name == "adaptive", seed=SEED)
        write_recording(layout.runs / name, run_live(run, stand, report=report))
    return Demo(
        calibration=calibration,
        summary=write_summary(layout.root),
        report=build_report(layout.root),
    )
