"""The bootstrap pipeline on this machine: start it, watch it, end it, keep what it gave.

kfp runs in a process of its own (``python -m workflows.bootstrap``), the leader of its own process
group: Ctrl-C, a failing step and a killed parent all end the whole group. What the steps gave is
put into the layout only when all of them are done, each part whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.steps import NONE_FILE, read_catalog
from penstock import errors
from penstock.errors import ArtifactError, PenstockError, UserError
from penstock.progress import PROGRESS_VARIABLE, Progress, Report, parse_line, silent
from penstock.spec import format_pipeline, read_pipeline
from serving.store import make_store
from workflows.fingerprint import fingerprint
from workflows.layout import Layout
from workflows.parameters import Parameters
from workflows.steplog import Failure, StepLog

POLL_S = 0.1
GRACE_S = 5.0
"""How long steps may take to end on SIGTERM before they are killed."""
PUBLISHED = {
    "models": ("trained", "models"),
    "dataset": ("trained", "dataset"),
    "catalog": ("catalog", ""),
    "profiles": ("profiles", ""),
    "forecaster": ("forecaster", ""),
    "plan": ("plan", ""),
    "manifests": ("manifests", ""),
}
"""Part of the layout: the pipeline's result that becomes it, and where within it."""
TITLES = {
    "train-models": "train models",
    "upload-models": "upload",
    "profile-variant": "profile",
    "assemble-profiles": "end-to-end accuracy",
    "train-forecaster": "train load predictor",
    "gate-forecaster": "gate",
    "optimize-plan": "solve",
    "render-manifests": "render",
    "apply-plan": "apply",
}
"""kfp's name of a task: what the step itself calls it when it reports."""
UNCHANGED = "unchanged since the last run"


def run_local(layout: Layout, parameters: Parameters, *, report: Report = silent) -> Path:
    """Run the bootstrap pipeline of ``layout.spec`` with kfp's local runner.

    A step whose inputs and code are those of an earlier run is not done again. Modules are found
    from the current folder, as ``python -m`` finds them.

    Returns:
        The log of kfp and of all steps.

    Raises:
        SpecError: the document has faults.
        UserError: a step refused its input, or a parameter can't be run here.
        RetryLaterError: a step failed on something that may be gone the next time.
        PenstockError: a step failed; all three name it and tell the end of its log.
    """
    _check(layout, parameters)
    log_path = layout.logs / "bootstrap.log"
    root = layout.root / "kfp"
    cache = root / "cache" / fingerprint(parameters.trainer, parameters.shared)
    try:
        for folder in (layout.logs, cache):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise UserError(f"{layout.root} can't be written: {err}; choose another folder") from err
    with _alone(root), _scratch(root) as scratch:
        if store_lost_models(layout.catalog):
            _remove(cache)
        run = _Run(scratch=scratch, log=StepLog(log_path), report=report)
        run.carry_out(_command(layout, parameters, root, cache, run.results), log_path)
        publish(layout, json.loads(run.results.read_text(encoding="utf-8")))
        _forget(root, cache)
    return log_path


def publish(layout: Layout, results: Mapping[str, str]) -> None:
    """Copy the pipeline's results to their places, each appearing whole.

    A forecaster that the gate turned down leaves no older one behind: none is in use then.

    Raises:
        UserError: a place can't be written.
    """
    for part, (result, within) in PUBLISHED.items():
        source = Path(results[result]) / within
        target: Path = getattr(layout, part)
        try:
            if (source / NONE_FILE).exists():
                _remove(target)
            else:
                _replace(source, target)
        except OSError as err:
            raise UserError(f"{target} can't be written: {err}; free or choose a folder") from err


@dataclass(kw_only=True)
class _Run:
    """One run under way; ``scratch`` holds what nobody needs after it."""

    scratch: Path
    log: StepLog
    report: Report
    _told: int = field(default=0, init=False)

    @property
    def results(self) -> Path:
        return self.scratch / "results.json"

    @property
    def _progress(self) -> Path:
        return self.scratch / "progress.jsonl"

    def carry_out(self, command: list[str], log_path: Path) -> None:
        with log_path.open("wb") as sink, _group(command, sink.fileno(), self._environment()) as of:
            while of.poll() is None:
                time.sleep(POLL_S)
                self._tell()
                if self.log.failed_for_good():
                    break
            else:
                self._tell()
        failure = self.log.failure()
        if failure is not None or of.returncode != 0 or not self.results.exists():
            raise _as_error(failure, self.log.tail(), log_path)

    def _environment(self) -> dict[str, str]:
        """Give steps the caller's environment, its modules, and a place for their leavings."""
        path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
        return {
            **os.environ,
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self.scratch),
            PROGRESS_VARIABLE: str(self._progress),
        }

    def _tell(self) -> None:
        """Pass on what steps reported since the last time, and what was not done again."""
        for step in self.log.read():
            title = TITLES.get(step, step)
            self.report(Progress(step=title, done=1, total=1, note=UNCHANGED))
        if not self._progress.exists():
            return
        with self._progress.open("rb") as file:
            file.seek(self._told)
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._told += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            progress = parse_line(line)
            if progress is not None:
                self.report(progress)


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Refuse a second run in the same folder; the lock goes with the process that holds it."""
    with (root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise UserError(f"another bootstrap is running in {root.parent}; wait for it") from err
        yield


@contextlib.contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    """Give an empty folder; what a killed run left in it goes first."""
    folder = (root / "scratch").resolve()
    _remove(folder)
    folder.mkdir()
    try:
        yield folder
    finally:
        _remove(folder)


@contextlib.contextmanager
def _group(
    command: list[str], sink: int, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command as the leader of a process group that does not outlive this block."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sink,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            _signal(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
        _signal(process.pid, signal.SIGKILL)
        process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _command(
    layout: Layout, parameters: Parameters, root: Path, cache: Path, results: Path
) -> list[str]:
    return [
        *(sys.executable, "-m", "workflows.bootstrap"),
        *("--spec", str(layout.spec)),
        *("--arguments", json.dumps(parameters.arguments())),
        *("--root", str(root.resolve())),
        *("--cache", str(cache.resolve())),
        *("--results", str(results)),
    ]


def _check(layout: Layout, parameters: Parameters) -> None:
    """Refuse what kfp's local runner would garble: it puts the interpreter for ``python3``."""
    texts = {
        "the output folder": str(layout.root.resolve()),
        "the document": format_pipeline(read_pipeline(layout.spec)),
        **{name: str(value) for name, value in parameters.arguments().items()},
    }
    garbled = [name for name, text in texts.items() if "python3" in text]
    if garbled:
        raise UserError(
            f"kfp's local runner can't take the text 'python3' in {', '.join(garbled)}: "
            "it would put the interpreter's path in its place; choose another name or folder"
        )


def store_lost_models(catalog_path: Path) -> bool:
    """Whether the last run's models are gone from the store: kfp's cache would not notice."""
    if not catalog_path.exists():
        return False
    try:
        catalog = read_catalog(catalog_path)
    except ArtifactError:
        return True
    store = make_store(catalog.store)
    return any(store.stat(model.key, model.version) is None for model in catalog.models)


def _as_error(failure: Failure | None, tail: str, log_path: Path) -> PenstockError:
    """Return the error of the failing step in its own class, so that exit codes stay right."""
    if failure is None:
        return PenstockError(f"the bootstrap pipeline ended early:\n{tail}\nfull log: {log_path}")
    known = getattr(errors, failure.error.rpartition(".")[2], None)
    kind: type[PenstockError] = PenstockError
    for candidate in (errors.UserError, errors.RetryLaterError):
        if isinstance(known, type) and issubclass(known, candidate):
            kind = candidate
    return kind(f"step {failure.step} failed: {failure.message}\nfull log: {log_path}")


def _replace(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    new, old = (target.with_name(f".{target.name}.{state}") for state in ("new", "old"))
    _remove(new)
    _remove(old)
    if source.is_dir():
        shutil.copytree(source, new)
        if target.exists():
            target.rename(old)
    else:
        shutil.copy2(source, new)
    new.replace(target)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _forget(root: Path, cache: Path) -> None:
    """Remove what only caches of other code, or no cache, still know."""
    for other in cache.parent.iterdir():
        if other != cache:
            _remove(other)
    known = "".join(entry.read_text(encoding="utf-8") for entry in cache.glob("*.json"))
    for run in root.glob("penstock-bootstrap-*"):
        if f"/{run.name}/" not in known:
            _remove(run)
