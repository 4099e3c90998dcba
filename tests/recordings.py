"""Makers of recordings, and a whole example folder as a demo would leave it behind."""

from __future__ import annotations

import math
import random
from itertools import product
from pathlib import Path
from typing import Any

from optimizer.forecast.card import LstmConfig, ModelCard
from optimizer.forecast.score import Score
from penstock.domain import (
    AccuracyMode,
    Forecast,
    Load,
    Objective,
    Pipeline,
    Plan,
    ProfilePoint,
    ProfileTable,
)
from penstock.plan_json import plan_to_json
from profiles.table import save
from tests.builders import option, pipeline, plan, profile, promise, stage, variant
from workflows.recorded import (
    Decided,
    Durations,
    Outcome,
    Recording,
    Request,
    RunInfo,
    Sample,
    StageState,
    Tick,
)
from workflows.recording import write_recording

DURATION_S = 60
SLO_S = 0.5
SWITCH_S = 1.2
STEP_S = 3
LADDER = {
    "light": (("det-s", 1), ("cls-s", 1), 62.0, 0.060, 0.71),
    "middle": (("det-m", 2), ("cls-m", 1), 46.0, 0.110, 0.83),
    "heavy": (("det-l", 2), ("cls-l", 2), 27.0, 0.190, 0.91),
}
"""Level: stage choices (variant, replicas), capacity [req/s], service time [s], accuracy."""


def request(**fields: Any) -> Request:
    known = {"scheduled_s": 0.0, "latency_s": 0.1, "status": 200, "index": 0}
    return Request(**{**known, "correct": 3, "total": 4, **fields})


def sample(time_s: float = 0.0, variant: str = "det-s", **fields: Any) -> Sample:
    state = StageState(variant=variant, replicas=fields.pop("replicas", 1), ready=1)
    return Sample(**{"time_s": time_s, "stages": {"locate": state}, "cost_cores": 1.0, **fields})


def run_info(**fields: Any) -> RunInfo:
    known = {"run": "adaptive", "pipeline": "digits", "slo_s": SLO_S, "duration_s": 10.0}
    return RunInfo(**{**known, "wall_seconds": 12.0, "solver": "glpk", **fields})


def tick(**fields: Any) -> Tick:
    known = {
        "id": "t-0001",
        "pipeline": "digits",
        "time_s": 3.0,
        "load": Load(values_rps=(10.0, 12.0), step_s=1.0, end_s=3.0),
        "forecast": Forecast(
            load_rps=14.0, horizon_s=6.0, forecaster="lstm", quantiles_rps={0.9: 16.0}
        ),
        "plan": plan(),
        "status": "optimal",
        "gap": 0.0,
        "solver": "glpk",
        "decision": Decided(kind="keep", reason="the running plan is the best one"),
        "result": Outcome(ok=True, message="nothing to do"),
        "durations_s": Durations(load=0.01, forecast=0.002, solve=0.12, apply=0.0, total=0.14),
    }
    return Tick(**{**known, **fields})


def recording(**fields: Any) -> Recording:
    known = {"info": run_info(), "requests": (request(),), "timeline": (sample(),)}
    return Recording(**{**known, "ticks": (tick(),), **fields})


def plan_at(level: str, load_rps: float) -> Plan:
    *stages, capacity_rps, service_s, accuracy = LADDER[level]
    options = tuple(
        option(
            name,
            variant,
            replicas=replicas,
            cpu_cores=0.25,
            capacity_rps=capacity_rps,
            latency_s=service_s / 2,
            accuracy=math.sqrt(accuracy * 1.12) if accuracy < 0.8 else math.sqrt(accuracy) * 1.01,
        )
        for name, (variant, replicas) in zip(("locate", "classify"), stages, strict=True)
    )
    promised = promise(
        latency_s=service_s * 1.8,
        capacity_rps=capacity_rps,
        cost_cores=sum(o.cost_cores for o in options),
        accuracy=accuracy,
        accuracy_product=math.prod(o.accuracy for o in options),
        accuracy_joint=accuracy,
        objective=10 * accuracy - 0.5,
    )
    return plan(load_rps=load_rps, stages=options, promise=promised, solver="glpk")


def load_curve() -> tuple[float, ...]:
    """Rates [req/s] per second: a valley, a burst, a valley, a higher burst."""
    bursts = ((18, 3.5, 26.0), (44, 4.5, 36.0))
    return tuple(
        14 + 3 * math.sin(s / 7) + sum(h * math.exp(-(((s - at) / w) ** 2)) for at, w, h in bursts)
        for s in range(DURATION_S)
    )


def simulated(run: str, *, seed: int = 7) -> Recording:
    """One plausible run: a queue with the capacity of the level in effect, under a Poisson load."""
    curve, ticks = load_curve(), ()
    levels = [{"lightest": "light", "heaviest": "heavy"}.get(run, "")] * DURATION_S
    if run == "adaptive":
        levels, ticks = _adapt(curve)
    info = run_info(
        run=run,
        duration_s=float(DURATION_S),
        wall_seconds=DURATION_S + 4.2,
        load_curve_rps=curve,
        solver="glpk" if ticks else "",
        seed=seed,
    )
    requests = _serve(levels, curve, random.Random(seed))
    return Recording(info=info, requests=requests, timeline=_timeline(levels), ticks=ticks)


def write_example(
    folder: Path, runs: tuple[str, ...] = ("adaptive", "lightest", "heaviest")
) -> Path:
    """Write an example's folder: runs, a plan, the forecaster's scores."""
    for run in runs:
        write_recording(folder / "runs" / run, simulated(run))
    (folder / "plan.json").write_text(plan_to_json(plan_at("heavy", 18.0)))
    save(profiled(), folder / "profiles" / "profiles.json")
    (folder / "forecaster").mkdir(parents=True, exist_ok=True)
    (folder / "forecaster" / "forecaster.json").write_text(model_card().to_json())
    return folder


def document() -> Pipeline:
    """The pipeline that the runs are of."""
    sizes = {"batch_sizes": (1, 2, 4, 8), "cpu_cores": 0.25}
    ladders = {"locate": ("det-s", "det-m", "det-l"), "classify": ("cls-s", "cls-m", "cls-l")}
    return pipeline(
        stages=tuple(
            stage(name, variants=tuple(variant(one, **sizes) for one in variants))
            for name, variants in ladders.items()
        ),
        objective=Objective(mode=AccuracyMode.JOINT),
        max_cores=2.0,
    )


def profiled() -> ProfileTable:
    """Profiles of all variants, and an accuracy per combination below the product of its stages."""
    ladders = (
        ("locate", "det-s", 0.80, 0.012),
        ("locate", "det-m", 0.90, 0.022),
        ("locate", "det-l", 0.95, 0.050),
        ("classify", "cls-s", 0.89, 0.004),
        ("classify", "cls-m", 0.94, 0.009),
        ("classify", "cls-l", 0.97, 0.020),
    )
    accuracy = {name: value for _, name, value, _ in ladders}
    names = [[n for s, n, *_ in ladders if s == of] for of in ("locate", "classify")]
    joint = {
        (u, v): accuracy[u] * accuracy[v] * (0.99 - 0.5 * (1 - accuracy[u]))
        for u, v in product(*names)
    }
    return ProfileTable(
        profiles=tuple(
            profile(stage, name, accuracy=value, points=_points(seconds))
            for stage, name, value, seconds in ladders
        ),
        joint_accuracy=joint,
    )


def model_card() -> ModelCard:
    """A forecaster's card with the scores of three forecasters."""
    names = (("lstm", 2.1, 0.04), ("last", 4.9, 0.31), ("max", 5.6, 0.07))
    scores = tuple(
        Score(
            forecaster=name,
            windows=4200,
            smape_pct=4.1 * mae,
            mae_rps=mae,
            under_share=under,
            excess_pct=3.0 * mae,
            coverage={0.9: 1 - under} if name == "lstm" else {},
        ).to_dict()
        for name, mae, under in names
    )
    return ModelCard(
        config=LstmConfig(),
        model_sha256="0" * 64,
        source="the generated load",
        data_sha256="1" * 64,
        trained_until_s=9e4,
        history_s=1e5,
        windows=9000,
        final_loss=0.01,
        seconds=21.4,
        scores=scores,
    )


def _points(seconds: float) -> tuple[ProfilePoint, ...]:
    served = {batch: seconds * (0.4 + 0.6 * batch) for batch in (1, 2, 4, 8)}
    return tuple(
        ProfilePoint(
            batch_size=batch,
            cpu_cores=0.25,
            latency_s={0.5: 0.7 * value, 0.99: value},
            throughput_rps=batch / value,
        )
        for batch, value in served.items()
    )


def _adapt(curve: tuple[float, ...]) -> tuple[list[str], tuple[Tick, ...]]:
    levels, ticks, level = [], [], "heavy"
    for second in range(DURATION_S):
        if second % STEP_S == 0:
            expected = max(curve[max(0, second - 4) : second + 5])
            wanted = next(
                (name for name in ("heavy", "middle") if LADDER[name][2] > expected * 1.25), "light"
            )
            ticks.append(_tick(second, expected, level, wanted, curve))
            level = wanted
        levels.append(level)
    return levels, tuple(ticks)


def _tick(second: int, expected: float, level: str, wanted: str, curve: tuple[float, ...]) -> Tick:
    moves, lighter = level != wanted, LADDER[wanted][2] > LADDER[level][2]
    reason = (
        f"the running plan carries {LADDER[level][2]:.0f} req/s, {expected:.0f} are expected"
        if moves and lighter
        else "gain of 9 % on the objective, above the threshold of 2 %"
        if moves
        else "the running plan is still the best one"
    )
    start = max(0, second - 10)
    return tick(
        id=f"t-{second:04d}",
        time_s=float(second),
        load=Load(values_rps=curve[start : second + 1], step_s=1.0, end_s=float(second)),
        forecast=Forecast(
            load_rps=expected,
            horizon_s=5.0,
            forecaster="lstm",
            quantiles_rps={0.5: expected * 0.93, 0.9: expected * 1.1},
        ),
        plan=plan_at(wanted, expected),
        decision=Decided(
            kind="move" if moves else "keep",
            reason=reason,
            gain=0.09 if moves else 0.0,
            urgent=moves and lighter,
        ),
        changes=(
            f"patch InferenceService/digits-locate-{LADDER[wanted][0][0]}: replicas 0 -> 2",
            f"patch InferenceGraph/digits: locate answers from {LADDER[wanted][0][0]}",
        )
        if moves
        else (),
        result=Outcome(ok=True, message="2 changes" if moves else "nothing to do"),
        durations_s=Durations(
            load=0.008,
            forecast=0.003,
            solve=0.11 + 0.001 * second,
            apply=SWITCH_S if moves else 0.0,
            total=0.14 + 0.001 * second + (SWITCH_S if moves else 0),
        ),
    )


def _serve(levels: list[str], curve: tuple[float, ...], rng: random.Random) -> tuple[Request, ...]:
    requests: list[Request] = []
    now, free = 0.0, 0.0
    while now < DURATION_S:
        *_, capacity_rps, service_s, accuracy = LADDER[levels[min(int(now), DURATION_S - 1)]]
        begins = max(now, free)
        wait_s = begins - now
        lost = wait_s > 4.0
        if not lost:
            free = begins + 1 / capacity_rps
        total = rng.randint(1, 6)
        latency_s = wait_s + service_s * (0.8 + rng.random() * 0.5)
        requests.append(
            request(
                scheduled_s=round(now, 4),
                latency_s=None if lost else round(latency_s, 5),
                status=504 if lost else 200,
                index=len(requests) % 200,
                correct=None if lost else sum(rng.random() < accuracy for _ in range(total)),
                total=total,
            )
        )
        now += rng.expovariate(curve[int(now)])
    return tuple(requests)


def _timeline(levels: list[str]) -> tuple[Sample, ...]:
    samples = []
    for half in range(2 * DURATION_S):
        level, before = levels[half // 2], levels[max(0, half // 2 - 1)]
        locate, classify, *_ = LADDER[level]
        states = {
            name: StageState(variant=variant, replicas=replicas, ready=replicas)
            for name, (variant, replicas) in (("locate", locate), ("classify", classify))
        }
        extra = sum(r for _, r in LADDER[before][:2]) if before != level else 0
        cores = 0.25 * (sum(s.replicas for s in states.values()) + extra)
        samples.append(Sample(time_s=half / 2, stages=states, cost_cores=cores))
    return tuple(samples)
