"""IPA's published model in Gurobi, on numbers from standard input; seconds per form to the output.

Written from the equations (``max alpha sum a - beta sum n R - delta sum b``, latency and queue
within the SLO, ``n x throughput >= load`` where an AND of variant and batch is 1), not from IPA's
code. Two forms: ``bilinear`` has the latency as products of the variant's and the batch's binary,
and the cost of replicas and variant, as coded there; ``linear`` has the latency over the AND
variables and the cost in an indicator, which is kinder. A form that the
size-limited licence refuses stays empty. Runs by itself: ``python bench/gurobi_ipa.py < cases``.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import gurobipy as gp
from gurobipy import GRB


def solve(case: dict[str, Any], form: str) -> float | None:
    """Return the seconds to build and solve, ``None`` where the licence says no."""
    started = time.perf_counter()
    with gp.Env(params={"OutputFlag": 0}) as env, gp.Model(env=env) as model:
        model.Params.NonConvex = 2
        model.Params.TimeLimit = case["time_limit_s"]
        build(model, case, bilinear=form == "bilinear")
        try:
            model.optimize()
        except gp.GurobiError:
            return None
        return time.perf_counter() - started


def build(model: gp.Model, case: dict[str, Any], *, bilinear: bool) -> None:
    """Write the model of one case."""
    batches, load_rps = case["batches"], case["load_rps"]
    alpha, beta, delta = case["weights"]
    latency, objective = 0, 0
    for stage in case["stages"]:
        picks = model.addVars(len(stage), vtype=GRB.BINARY)
        sizes = model.addVars(len(batches), vtype=GRB.BINARY)
        replicas = model.addVar(vtype=GRB.INTEGER, lb=1, ub=64)
        cores = model.addVar()
        objective -= 0 if bilinear else beta * cores
        model.addConstr(picks.sum() == 1)
        model.addConstr(sizes.sum() == 1)
        for v, variant in enumerate(stage):
            objective += alpha * variant["accuracy"] * picks[v]
            if bilinear:
                objective -= beta * variant["cores"] * replicas * picks[v]
            else:
                paid = cores >= variant["cores"] * replicas
                model.addGenConstrIndicator(picks[v], True, paid)
            for b in range(len(batches)):
                both = model.addVar(vtype=GRB.BINARY)
                model.addGenConstrAnd(both, [picks[v], sizes[b]])
                enough = replicas * variant["throughput_rps"][b]
                model.addGenConstrIndicator(both, True, enough, GRB.GREATER_EQUAL, load_rps)
                chosen = picks[v] * sizes[b] if bilinear else both
                latency += variant["latency_s"][b] * chosen
        for b, size in enumerate(batches):
            latency += (size - 1) / load_rps * sizes[b]
            objective -= delta * size * sizes[b]
    if bilinear:
        model.addQConstr(latency <= case["slo_s"])
    else:
        model.addConstr(latency <= case["slo_s"])
    model.setObjective(objective, GRB.MAXIMIZE)


def main() -> None:
    """Solve the cases of standard input in both forms."""
    cases = json.load(sys.stdin)
    found = {form: [solve(case, form) for case in cases] for form in ("bilinear", "linear")}
    json.dump(
        {form: [s for s in seconds if s is not None] for form, seconds in found.items()}, sys.stdout
    )


if __name__ == "__main__":
    main()
