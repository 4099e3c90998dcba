"""What the commands share: their arguments, and how a document is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.errors import UserError
from penstock.progress import PROGRESS_VARIABLE
from penstock.settings import Settings, read_settings
from penstock.spec import read_pipeline
from workflows.layout import Layout, layout_of
from workflows.terminal import Board, following

if TYPE_CHECKING:
    from penstock.domain import Pipeline, Plan
    from penstock.share import Held

Spec = Annotated[Path, typer.Argument(help="Pipeline document: examples/digits/pipeline.yaml.")]
Root = Annotated[
    Path | None, typer.Option("--out", help="Folder of all results; default out/<pipeline>.")
]
ClusterName = Annotated[
    str,
    typer.Option(
        "--cluster",
        help="local: processes on this machine; kubernetes: KUBECONFIG's, else the pod's own; "
        "memory: a dry run.",
    ),
]
PlanFile = Annotated[
    Path | None, typer.Option("--plan", help="Plan to use; default plan.json of --out.")
]
Trainer = Annotated[
    str | None,
    typer.Option(help="Module that trains the models; default train.py beside the document."),
]
Parallel = Annotated[
    int,
    typer.Option("--parallel", min=1, help="Variants that Kubeflow profiles at once."),
]


def opened(spec: Path, root: Path | None) -> tuple[Pipeline, Layout, Settings]:
    """Return the document as a pipeline, the folders of its results, and the settings.

    Raises:
        SpecError: the document or a setting can't be used; every fault.
    """
    pipeline = read_pipeline(spec)
    return pipeline, layout_of(pipeline, spec, root), read_settings()


def held(pipeline: Pipeline, layout: Layout) -> Held:
    """Return the pipeline within its share of a fleet's budget, or as it is when it has none.

    Raises:
        SpecError: the share can't be read.
        DomainError: it does not fit the pipeline.
    """
    from penstock.share import Held, hold, read_share

    path = layout.known_share()
    return Held(pipeline=pipeline) if path is None else hold(pipeline, read_share(path))


def read_plan(layout: Layout, path: Path | None) -> Plan:
    """Return the plan of a file, by default the one that `penstock plan` wrote.

    Raises:
        UserError: it is not there or can't be read.
    """
    from optimizer.plan import plan_from_json

    chosen = path or layout.needed("plan")
    try:
        return plan_from_json(chosen.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(f"the plan {chosen} can't be read: {problem}") from problem


def trainer_of(spec: Path) -> str:
    """Return the module ``train.py`` beside the document, as its name from the current folder."""
    file = spec.parent / "train.py"
    try:
        relative = file.resolve().relative_to(Path.cwd())
    except ValueError:
        relative = file
    if not file.exists() or relative.is_absolute():
        raise UserError(
            f"{file} is not there or not below the current folder; name the training module with "
            "--trainer, or put models into the output folder yourself"
        )
    return ".".join(relative.with_suffix("").parts)


def known_trainer_of(spec: Path) -> str:
    """Return ``trainer_of``, or nothing where there is none: a run may name its own."""
    try:
        return trainer_of(spec)
    except UserError:
        return ""


@contextmanager
def watched(layout: Layout) -> Iterator[None]:
    """Show what steps report as bars, whether they run here or in a process of their own."""
    path = layout.logs / "progress.jsonl"
    os.environ[PROGRESS_VARIABLE] = str(path.resolve())
    try:
        with Board() as board, following(path, board):
            yield
    finally:
        del os.environ[PROGRESS_VARIABLE]
