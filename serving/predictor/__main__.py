"""``python -m serving.predictor``: load one variant, serve it, drain, end.

The only line on stdout is one JSON object when the replica is ready; everything else is on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from penstock.errors import ArtifactError, UserError
from penstock.files import write_whole
from penstock.process import exit_code_of
from serving.affinity import pin
from serving.lifetime import Lifetime
from serving.predictor.batching import BatchFile
from serving.predictor.handlers import make_handler
from serving.predictor.server import Model, Predictor, PredictorApp
from serving.predictor.session import OnnxSession

MAX_GRACE_S = 30.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to end; 0 after a drain, 2 when a person must act."""
    options = _parser().parse_args(argv)
    return exit_code_of(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    model = load_model(
        options.model_dir,
        name=options.model_name,
        threads=options.threads or max(1, math.ceil(options.cpu_cores)),
    )
    # Only now: loading takes the CPU for most of a second, and the replicas that already serve
    # on those cores shall not pay for it.
    pin(options.cpu_affinity)
    asyncio.run(_serve(model, options))


def load_model(folder: Path, *, name: str, threads: int = 1) -> Model:
    """Load the variant of an artifact folder.

    Raises:
        ArtifactError: ``variant.json`` or ``model.onnx`` is missing or broken.
    """
    variant = _read_variant(folder / "variant.json")
    session = OnnxSession(folder / "model.onnx", threads=threads)
    handler = make_handler(variant["handler"], session, variant.get("params", {}))
    return Model(name=name, handler=handler, inputs=session.inputs, outputs=session.outputs)


def _read_variant(path: Path) -> Mapping[str, Any]:
    try:
        variant = json.loads(path.read_bytes())
    except OSError as err:
        raise ArtifactError(f"cannot read {path}: {err.strerror}; is it an artifact?") from err
    except ValueError as err:
        raise ArtifactError(f"{path} is not JSON: {err}") from err
    if not isinstance(variant, dict) or not isinstance(variant.get("handler"), str):
        raise ArtifactError(f"{path} must be an object that names its `handler`")
    if not isinstance(variant.get("params", {}), dict):
        raise ArtifactError(f"{path}: `params` must be an object")
    return variant


def process_age_s() -> float:
    """Return the seconds since this process began: what a new replica is waited for.

    Where the system does not tell, the CPU time used so far stands for it; starting is all CPU.
    """
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return time.process_time()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


async def _serve(model: Model, options: argparse.Namespace) -> None:
    lifetime = Lifetime(parent_pid=options.parent_pid)
    predictor = Predictor(
        model,
        batch_file=BatchFile(options.batch_file),
        cpu_cores=options.cpu_cores,
        max_queue=options.max_queue,
    )
    face = PredictorApp(predictor)
    runner = web.AppRunner(face.application(), access_log=None, shutdown_timeout=MAX_GRACE_S)
    await runner.setup()
    try:
        port = await _listen(runner, options.host, options.port)
        load_time_s = round(process_age_s(), 3)
        predictor.metrics.load_seconds.set(load_time_s)
        _announce({"port": port, "pid": os.getpid(), "load_time_s": load_time_s}, options)
        await lifetime.ended()
        face.ready, face.draining = False, True
        await lifetime.linger(options.drain_s)
    finally:
        # Closes the door first, then waits for what was accepted, then stops the model.
        await runner.cleanup()
        if options.ready_file:
            options.ready_file.unlink(missing_ok=True)


async def _listen(runner: web.AppRunner, host: str, port: int) -> int:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as err:
        raise UserError(
            f"cannot listen on {host}:{port}: {err.strerror}; stop who does, or pass --port 0"
        ) from err
    return int(runner.addresses[0][1])


def _announce(facts: Mapping[str, Any], options: argparse.Namespace) -> None:
    line = json.dumps(facts)
    if options.ready_file:
        write_whole(options.ready_file, line)
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.predictor", description=__doc__)
    add = parser.add_argument
    add("--model-dir", type=Path, required=True, help="folder with model.onnx and variant.json")
    add("--model-name", required=True, help="name in the URL")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=8080, help="0 takes a free one")
    add("--batch-file", type=Path, help="JSON with max_batch_size and max_wait_s, followed")
    add("--cpu-cores", type=_share, default=0.0, help="share to keep to; 0: the kernel keeps it")
    add("--cpu-affinity", default="", help="cores to run on, like 1 or 1,2")
    add("--threads", type=int, default=0, help="threads of one model call; 0: ceil(cpu-cores)")
    add("--max-queue", type=int, default=256, help="requests that may wait; more get 503")
    add("--drain-s", type=float, default=5.0, help="how long to listen on after SIGTERM")
    add("--ready-file", type=Path, help="written when ready, removed at the end")
    add("--parent-pid", type=int, default=0, help="end when this parent is gone; 0: never")
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"must be finite and at least 0, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
