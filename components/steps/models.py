"""Steps for models: train them, put them into the store, fetch them from it."""

import importlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, cast

from penstock import progress
from penstock.domain import Pipeline
from penstock.errors import ArtifactError, MissingToolError, UserError
from penstock.files import write_whole
from penstock.progress import Progress
from penstock.spec import parse_pipeline


class Trainer(Protocol):
    """What a module named as ``trainer`` has to offer."""

    def main(self, out: Path, report: progress.Report) -> None:
        """Write ``out/models/<stage>/<variant>/`` and ``out/dataset/``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """One variant's model in the artifact store."""

    stage: str
    variant: str
    key: str
    version: str
    digest: str
    uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Which version of which model lies in which store."""

    store: str
    models: tuple[Uploaded, ...]

    def find(self, stage: str, variant: str) -> Uploaded:
        """Return the entry of a stage's variant.

        Raises:
            ArtifactError: it was not uploaded.
        """
        for model in self.models:
            if (model.stage, model.variant) == (stage, variant):
                return model
        raise ArtifactError(f"the catalog has no model for {stage}/{variant}; upload the models")

    @property
    def uris(self) -> Mapping[str, str]:
        """URIs by ``<stage>/<variant>``."""
        return {f"{m.stage}/{m.variant}": m.uri for m in self.models}


def train_models(trainer: str, out: str) -> None:
    """Train the models of an example: the module's ``main`` writes models and held-out requests.

    Raises:
        UserError: the name is no module's, or the module has no ``main``.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", trainer):
        raise UserError(f"trainer must be a module's dotted name, got {trainer!r}")
    try:
        module = importlib.import_module(trainer)
    except ModuleNotFoundError as err:
        raise MissingToolError(
            f"trainer {trainer!r} can't be imported ({err}); run from the checkout, or install it"
        ) from err
    if not callable(getattr(module, "main", None)):
        raise UserError(f"trainer {trainer!r} has no function main(out, report)")
    cast("Trainer", module).main(Path(out), progress.from_environment())


def upload_models(spec: str, models: str, store: str, out: str) -> None:
    """Upload every variant's folder, and write the catalog of what lies where."""
    from serving.store import make_store
    from serving.store import upload_models as upload

    pipeline = parse_pipeline(spec)
    folders = {
        (stage.name, variant.name): _model_folder(Path(models), stage.name, variant.artifact)
        for stage in pipeline.stages
        for variant in stage.variants
    }
    report = progress.from_environment()
    done = 0

    def on_progress(artifact: object) -> None:
        nonlocal done
        done += 1
        note = f"{getattr(artifact, 'key', '')}"
        report(Progress(step="upload", done=done, total=len(folders), note=note))

    artifacts = upload(
        [(f"{pipeline.name}/{s}/{v}", folder) for (s, v), folder in folders.items()],
        make_store(store),
        on_progress,
    )
    entries = [
        Uploaded(stage=s, variant=v, key=a.key, version=a.version, digest=a.digest, uri=a.uri)
        for (s, v), a in zip(folders, artifacts, strict=True)
    ]
    document = {"store": store, "models": [asdict(e) for e in entries]}
    write_whole(Path(out), json.dumps(document, indent=2, sort_keys=True) + "\n")


def read_catalog(path: Path) -> Catalog:
    """Read what ``upload_models`` wrote.

    Raises:
        ArtifactError: the file can't be read or is no catalog.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        models = tuple(Uploaded(**entry) for entry in document["models"])
        return Catalog(store=document["store"], models=models)
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise ArtifactError(f"{path} is no catalog of uploaded models: {err}") from err


@contextmanager
def fetched_models(
    pipeline: Pipeline, catalog: Path, wanted: Sequence[tuple[str, str]]
) -> Iterator[Mapping[tuple[str, str], Path]]:
    """Fetch models from the store for the time of a ``with`` block."""
    from serving.store import make_store

    entries = read_catalog(catalog)
    store = make_store(entries.store)
    with tempfile.TemporaryDirectory(prefix=f"penstock-{pipeline.name}-") as folder:
        folders = {}
        for stage, variant in wanted:
            entry = entries.find(stage, variant)
            folders[stage, variant] = Path(folder) / stage / variant
            store.get(entry.key, entry.version, folders[stage, variant])
        yield folders


def _model_folder(models: Path, stage: str, artifact: str) -> Path:
    """Return the folder of a variant: ``models`` holds what its artifact path starts with."""
    relative = Path(artifact)
    if relative.parts[:1] == ("models",):
        relative = Path(*relative.parts[1:])
    folder = models / relative
    if not folder.is_dir():
        raise ArtifactError(f"stage {stage!r}: {folder} is not there; train the models first")
    return folder
