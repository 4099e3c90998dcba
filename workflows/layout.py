"""Where the files of a pipeline lie: one folder, the same whichever command wrote a file.

``out/<pipeline>`` is the default. A file that a command needs and that is not there is an error
that names the command which makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from penstock.domain import Pipeline
from penstock.errors import UserError

MAKERS = {
    "models": "penstock models {spec}",
    "dataset": "penstock models {spec}",
    "catalog": "penstock upload {spec}",
    "profiles": "penstock profile {spec}",
    "forecaster": "penstock train {spec}",
    "plan": "penstock plan {spec}",
    "manifests": "penstock render {spec}",
    "runs": "penstock demo {spec}",
}
"""The command that makes each part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The parts of an output folder; ``spec`` is the document it belongs to."""

    root: Path
    spec: Path

    @property
    def models(self) -> Path:
        """Trained models, ``<stage>/<variant>/{model.onnx,variant.json}``."""
        return self.root / "models"

    @property
    def dataset(self) -> Path:
        """Held-out labelled requests."""
        return self.root / "dataset"

    @property
    def store(self) -> Path:
        """The artifact store, when the settings name none."""
        return self.root / "store"

    @property
    def catalog(self) -> Path:
        """Which version of which model was uploaded where."""
        return self.root / "catalog.json"

    @property
    def profiles(self) -> Path:
        """Profiles of all variants and the measured accuracy of each combination."""
        return self.root / "profiles" / "profiles.json"

    @property
    def forecaster(self) -> Path:
        """The load predictor and its model card."""
        return self.root / "forecaster"

    @property
    def plan(self) -> Path:
        """The newest plan that was asked for."""
        return self.root / "plan.json"

    @property
    def share(self) -> Path:
        """The pipeline's share of a fleet's budget, if it has one."""
        return self.root / "share.json"

    @property
    def manifests(self) -> Path:
        """The plan as a kustomize tree."""
        return self.root / "manifests"

    @property
    def decisions(self) -> Path:
        """One line per tick of the adaptation."""
        return self.root / "decisions.jsonl"

    @property
    def decision(self) -> Path:
        """The last tick alone: what an Argo workflow keeps as its output."""
        return self.root / "decision.json"

    @property
    def deploy(self) -> Path:
        """What runs the pipeline on Kubernetes, as a kustomize tree that stands alone."""
        return self.root / "deploy"

    @property
    def cluster(self) -> Path:
        """Sockets, logs and process ids of the local cluster."""
        return self.root / "cluster"

    @property
    def runs(self) -> Path:
        """Recordings of load runs."""
        return self.root / "runs"

    @property
    def logs(self) -> Path:
        """What the steps wrote while they worked."""
        return self.root / "logs"

    @property
    def shipped_profiles(self) -> Path:
        """Profiles that came with the document; used until others are measured."""
        return self.spec.parent / "profiles.json"

    def known_catalog(self) -> Path | None:
        """Return the catalog of what was uploaded, else the one shipped beside the document."""
        return _first(self.catalog, self.spec.parent / self.catalog.name)

    def known_forecaster(self) -> Path | None:
        """Return the trained load predictor, else the one shipped beside the document."""
        return _first(self.forecaster, self.spec.parent / self.forecaster.name)

    def known_share(self) -> Path | None:
        """Return the share of a fleet's budget, else the one beside the document."""
        return _first(self.share, self.spec.parent / self.share.name)

    def known_profiles(self) -> Path:
        """Return the measured profiles, else those shipped beside the document.

        Raises:
            UserError: there are neither.
        """
        if not self.profiles.exists() and self.shipped_profiles.exists():
            return self.shipped_profiles
        return self.needed("profiles")

    def needed(self, part: str) -> Path:
        """Return the path of a part that must be there.

        Raises:
            UserError: it is not; the message names the command that makes it.
        """
        path: Path = getattr(self, part)
        if not path.exists():
            command = MAKERS[part].format(spec=self.spec)
            raise UserError(f"{path} is not there yet; make it with: {command}")
        return path


def _first(*paths: Path) -> Path | None:
    return next((path for path in paths if path.exists()), None)


def layout_of(pipeline: Pipeline, spec: Path, root: Path | None = None) -> Layout:
    """Return the layout for a pipeline; ``root`` defaults to ``out/<pipeline>``."""
    return Layout(root=root or Path("out") / pipeline.name, spec=spec)
