"""What is given up, rung by rung, when a load cannot be served as asked; never an exception.

1. as asked, with the wanted accuracy (``objective.accuracy_target``);
2. the accuracy, down to the declared floor, which no rung goes below;
3. the money (``max_cost_per_hour``), up to a ceiling where others are paid from the same budget;
   ``max_cores`` stays, because cores that are not there cannot be had;
4. the load: what is above the highest that can be served is shed, and how much is stated;
5. the SLO: when not even a hint of load keeps it, the fastest plan for as much load as can be.

A rung is left only when it is proven to have no plan. All share one time limit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optimizer.explain import binding_limits, explanation, is_feasible, without_slo
from optimizer.latency import MAX_UTILISATION, find_point, stage_capacity_rps
from optimizer.plan import Outcome, find_plan
from optimizer.problem import build_problem
from optimizer.solvers import Status, require_time_limit

if TYPE_CHECKING:
    from optimizer.solvers import Solver
    from optimizer.switching import Running
    from penstock.domain import Pipeline, Plan, ProfileTable

TARGET, COST, LOAD, SLO = "objective.accuracy_target", "max_cost_per_hour", "load", "slo.latency_s"
GIVE_UPS = (TARGET, COST, LOAD, SLO)
"""All that may be given up, in the order of the ladder: paths in the spec, and the load."""

_STEP = 0.75
_LOWEST = 1e-3
_LOAD_GRAIN = 0.005
_LATENCY_GRAIN = 0.01
_LEAST_S = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """The plan of the first rung that has one, and what was given up for it.

    ``found`` is the rung's outcome. ``asked`` is the pipeline without the limits that were given
    up, so that the plan keeps all of ``asked`` at ``served_rps``; in the last rung its SLO is the
    one that can be kept. ``status`` says how the solve for the whole load within the pipeline's
    limits ended, the accuracy target not being one. ``plan`` is ``None`` when a stage can carry no
    load at all, no combination of variants reaches the floor, or the time was over: then nothing
    was given up. ``words`` say what was given up, ``explanation`` why.
    """

    load_rps: float
    found: Outcome
    given_up: tuple[str, ...]
    asked: Pipeline
    status: Status
    explanation: str

    @property
    def plan(self) -> Plan | None:
        """The plan of the rung."""
        return self.found.plan

    @property
    def served_rps(self) -> float:
        """The load [req/s] that the plan is made for; 0 without one."""
        return 0.0 if self.plan is None else self.found.load_rps

    @property
    def shed_rps(self) -> float:
        """The load [req/s] that is not served."""
        return max(0.0, self.load_rps - self.served_rps)

    @property
    def words(self) -> str:
        """What was given up, empty when nothing was."""
        if not self.given_up:
            return ""
        words = f"given up: {', '.join(self.given_up)}"
        if self.shed_rps > 0:
            words += f"; sheds {self.shed_rps:.4g} of {self.load_rps:.4g} req/s"
        if SLO in self.given_up and self.plan is not None:
            words += f"; takes {self.plan.promise.latency_s:.3g} s"
        return words

    @property
    def outcome(self) -> Outcome:
        """The rung as an outcome of planning: for the load that it serves, within ``asked``."""
        load_rps = self.load_rps if self.plan is None else self.served_rps
        return replace(self.found, load_rps=load_rps, explanation=self.explanation)


def climb(  # noqa: PLR0913 - what is asked, with what, and what is there before
    pipeline: Pipeline,
    table: ProfileTable,
    load_rps: float,
    *,
    solver: Solver,
    time_limit_s: float = 10.0,
    cost_ceiling: float | None = None,
    running: Running | None = None,
) -> Climb:
    """Return the plan of the first rung that serves a load [req/s at the entry].

    ``cost_ceiling`` is what ``max_cost_per_hour`` may rise to when it is given up; ``None`` is
    whatever it takes. ``running`` is as for ``solve_plan``.

    Raises:
        ProfileError: profiles are missing.
        DomainError: the load or the time limit makes no sense.
    """
    require_time_limit(time_limit_s)
    ladder = _Ladder(table, load_rps, solver, running, time.perf_counter() + time_limit_s)
    given_up: tuple[str, ...] = ()
    status = Status.INFEASIBLE
    for path, asked in _rungs(pipeline, cost_ceiling):
        given_up = (*given_up, path) if path else given_up
        outcome = ladder.plan(asked, load_rps)
        if path in ("", TARGET):
            status = outcome.status
        if outcome.status is not Status.INFEASIBLE:
            status = outcome.status if outcome.plan is None else status
            why = outcome.explanation
            return ladder.stopped(outcome, asked, given_up=given_up, status=status, why=why)
    why = _why_not(pipeline, table, load_rps)
    try:
        return ladder.last_rungs(asked, outcome, given_up, why)
    except _OutOfTimeError:
        why += "; what could be served was not found in time: raise the time limit"
        return ladder.stopped(outcome, asked, given_up=(), status=Status.TIMED_OUT, why=why)


def describe_climb(climbed: Climb) -> str:
    """Return the rungs that were tried as lines for a person, the one that holds last."""
    tried = [f"without {path}" if path in (TARGET, COST) else path for path in climbed.given_up]
    lines = ["the ladder:", *(f"  {rung}: no plan" for rung in ("as asked", *tried[:-1]))]
    if climbed.plan is None:
        return "\n".join([*lines, "  no rung holds"])
    if not climbed.given_up:
        return "the ladder: as asked"
    return "\n".join([*lines, f"  {tried[-1]}: holds; {climbed.words}"])


def _rungs(pipeline: Pipeline, cost_ceiling: float | None) -> Iterator[tuple[str, Pipeline]]:
    """Yield what each rung gives up and what is asked then."""
    objective = pipeline.objective
    target, floor = objective.accuracy_target, objective.accuracy_floor
    plain = replace(pipeline, objective=replace(objective, accuracy_target=None))
    if target is not None:
        wanted = replace(plain.objective, accuracy_floor=max(target, floor or 0.0))
        yield "", replace(plain, objective=wanted)
        yield TARGET, plain
    else:
        yield "", plain
    budget = pipeline.max_cost_per_hour
    if budget is not None and (cost_ceiling is None or cost_ceiling > budget):
        yield COST, replace(plain, max_cost_per_hour=cost_ceiling)


def _why_not(pipeline: Pipeline, table: ProfileTable, load_rps: float) -> str:
    plain = replace(pipeline, objective=replace(pipeline.objective, accuracy_target=None))
    binding = binding_limits(plain, table, load_rps)
    return explanation(plain, table, load_rps, binding=binding, served_rps=None)


class _OutOfTimeError(Exception):
    """The time was over before it was known which load can be served."""


@dataclass(frozen=True, slots=True)
class _Ladder:
    """A load, with what and until when [s of ``perf_counter``] to solve for it."""

    table: ProfileTable
    load_rps: float
    solver: Solver
    running: Running | None
    deadline_s: float

    def plan(self, asked: Pipeline, load_rps: float) -> Outcome:
        return find_plan(
            asked,
            self.table,
            load_rps,
            solver=self.solver,
            time_limit_s=self._left_s(),
            running=self.running,
        )

    def last_rungs(
        self, asked: Pipeline, outcome: Outcome, given_up: tuple[str, ...], why: str
    ) -> Climb:
        """Serve less, or else slower."""
        how: dict[str, Any] = {"status": Status.INFEASIBLE, "given_up": given_up, "why": why}
        served_rps = self._highest_rps(asked)
        if served_rps is None:
            how["given_up"] = (*given_up, SLO)
            asked = without_slo(asked)
            served_rps = self._highest_rps(asked)
            if served_rps is None:
                return self.stopped(outcome, asked, **how)
            asked = self._fastest(asked, served_rps)
        found = self.plan(asked, served_rps)
        if found.plan is None:
            how["why"] = f"{why}; {found.explanation}"
        if served_rps < self.load_rps:
            how["given_up"] = tuple(p for p in GIVE_UPS if p in (*how["given_up"], LOAD))
        return self.stopped(found, asked, **how)

    def stopped(
        self,
        outcome: Outcome,
        asked: Pipeline,
        *,
        given_up: tuple[str, ...],
        status: Status,
        why: str,
    ) -> Climb:
        """Return where the climb ended: with a plan, or with none and so nothing given up."""
        return Climb(
            load_rps=self.load_rps,
            found=outcome,
            given_up=() if outcome.plan is None else given_up,
            asked=asked,
            status=status,
            explanation=why,
        )

    def _highest_rps(self, asked: Pipeline) -> float | None:
        """Return the highest load up to ours that a plan serves, to 0.5 %; ``None`` without one.

        Where batches take time to fill, a lower load may be the harder one. So the loads are tried
        downwards, and those that are tried do not depend on ours: of two loads, the higher one
        then gets no less. Half of the time that is left is for this.

        Raises:
            _OutOfTimeError: it was over before a load was found.
        """
        until_s = time.perf_counter() + self._left_s() / 2
        for load in _downwards(self.load_rps, _ceiling_rps(asked, self.table)):
            if self._is_feasible(asked, load, until_s):
                return self._refined(asked, load, until_s)
            if time.perf_counter() > until_s:
                raise _OutOfTimeError
        return None

    def _refined(self, asked: Pipeline, low: float, until_s: float) -> float:
        high = low / _STEP
        while 0 < low < self.load_rps and high - low > _LOAD_GRAIN * high:
            if time.perf_counter() > until_s:
                break
            middle = (low + high) / 2
            if middle < self.load_rps and self._is_feasible(asked, middle, until_s):
                low = middle
            else:
                high = middle
        return low

    def _fastest(self, boundless: Pipeline, load_rps: float) -> Pipeline:
        """Return what is asked with the lowest SLO [s] that is kept at a load, to 1 %."""
        until_s = time.perf_counter() + self._left_s() / 2
        found = self.plan(boundless, load_rps).plan
        if found is None:
            return boundless
        low, high = 0.0, found.promise.latency_s
        while high - low > _LATENCY_GRAIN * high and time.perf_counter() < until_s:
            middle = (low + high) / 2
            faster = replace(boundless, slo=replace(boundless.slo, latency_s=middle))
            if self._is_feasible(faster, load_rps, until_s):
                high = middle
            else:
                low = middle
        return replace(boundless, slo=replace(boundless.slo, latency_s=high))

    def _is_feasible(self, asked: Pipeline, load_rps: float, until_s: float) -> bool:
        left_s = max(_LEAST_S, until_s - time.perf_counter())
        return is_feasible(build_problem(asked, self.table, load_rps), patience_s=left_s)

    def _left_s(self) -> float:
        return max(_LEAST_S, self.deadline_s - time.perf_counter())


def _downwards(load_rps: float, ceiling_rps: float) -> Iterator[float]:
    """Yield a load and then those below it that every load has below it; 0 at the end."""
    if load_rps <= ceiling_rps:
        yield load_rps
    step = ceiling_rps
    while step > _LOWEST * ceiling_rps:
        if step < load_rps:
            yield step
        step *= _STEP
    yield 0.0


def _ceiling_rps(pipeline: Pipeline, table: ProfileTable) -> float:
    """Return a load that no plan exceeds: what the weakest stage carries at its strongest."""
    share = max(1 + pipeline.adaptation.headroom, 1 / MAX_UTILISATION)
    strongest = []
    for stage in map(pipeline.visited, pipeline.stages):
        points = [
            find_point(profile, batch_size=b, cpu_cores=cores)
            for variant in stage.variants
            if (profile := table.find(stage.name, variant.name)) is not None
            for b in variant.batch_sizes
            for cores in variant.cpu_allocations
        ]
        strongest.append(
            max(
                stage_capacity_rps(
                    point, replicas=stage.max_replicas, visit_ratio=stage.visit_ratio
                )
                for point in points
                if point is not None
            )
        )
    return min(strongest) / share
