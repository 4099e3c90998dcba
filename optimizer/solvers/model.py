"""The problem as a mixed-integer linear model; one of the two doors to Pyomo.

Every variable set, constraint and objective is one function whose docstring is the inequality it
adds. The symbols: s a stage, o an option of a stage, v a variant, c a combination of variants, x
the choice, l a latency, r the cores, b a batch size, a an accuracy; alpha, beta and delta the
objective's weights. Rows are divided by their limits, so that a solver's absolute tolerance is
relative to the limit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pyomo.core as pyo

from optimizer.composition import mean_weights
from penstock.domain import AccuracyMode, Merge, NodeKind

if TYPE_CHECKING:
    from optimizer.options import StageOptions
    from optimizer.problem import Problem
    from penstock.domain import Node

Expression = Any
"""A linear expression of Pyomo's, or a number."""


def build_model(problem: Problem) -> pyo.ConcreteModel:
    """Return the model of a problem whose stages all have an option.

    ``model.choose[s, o]`` is 1 for the chosen option of each stage.
    """
    model = pyo.ConcreteModel(name=problem.pipeline)
    add_choice(model, problem)
    add_one_option_per_stage(model, problem)
    add_slo_on_each_path(model, problem)
    if problem.max_cores is not None:
        add_cores(model, problem, problem.max_cores)
    if problem.max_cost_per_hour is not None:
        add_budget(model, problem, problem.max_cost_per_hour)
    if problem.max_paid is not None:
        add_paid(model, problem, problem.max_paid)
    if problem.max_switches is not None:
        add_switches(model, problem, problem.max_switches)
    floor = problem.objective.accuracy_floor
    accuracy = add_accuracy(model, problem) if problem.objective.accuracy_weight or floor else 0.0
    if floor:
        add_accuracy_floor(model, accuracy, floor)
    add_objective(model, problem, accuracy)
    return model


def chosen_options(model: pyo.ConcreteModel, problem: Problem) -> tuple[int, ...]:
    """Return the option index per stage that the model's values choose."""
    return tuple(
        max(range(len(stage.options)), key=lambda o: model.choose[s, o].value or 0.0)
        for s, stage in enumerate(problem.stages)
    )


def add_choice(model: pyo.ConcreteModel, problem: Problem) -> None:
    """x[s,o] in {0, 1}: option o of stage s is chosen."""
    pairs = [(s, o) for s, stage in enumerate(problem.stages) for o in range(len(stage.options))]
    model.choose = pyo.Var(pairs, domain=pyo.Binary)


def add_one_option_per_stage(model: pyo.ConcreteModel, problem: Problem) -> None:
    """sum_o x[s,o] = 1 for every stage s."""

    def rule(_: Any, s: int) -> Any:
        return sum(model.choose[s, o] for o in range(len(problem.stages[s].options))) == 1

    model.one_option_per_stage = pyo.Constraint(range(len(problem.stages)), rule=rule)


def add_slo_on_each_path(model: pyo.ConcreteModel, problem: Problem) -> None:
    """sum_(s in path) sum_o l[s,o] x[s,o] <= SLO for every path."""

    def rule(_: Any, p: int) -> Any:
        latency = sum(
            option.latency_s / problem.slo.latency_s * model.choose[s, o]
            for s in problem.paths[p]
            for o, option in enumerate(problem.stages[s].options)
        )
        return latency <= 1

    model.slo_on_each_path = pyo.Constraint(range(len(problem.paths)), rule=rule)


def add_cores(model: pyo.ConcreteModel, problem: Problem, max_cores: float) -> None:
    """sum_s sum_o r[s,o] x[s,o] <= max_cores, with r = cores per replica x replicas."""
    model.cores = pyo.Constraint(
        expr=sum(
            option.cost_cores / max_cores * model.choose[s, o]
            for s, stage in enumerate(problem.stages)
            for o, option in enumerate(stage.options)
        )
        <= 1
    )


def add_budget(model: pyo.ConcreteModel, problem: Problem, max_cost_per_hour: float) -> None:
    """sum_s sum_o m[s,o] x[s,o] <= max_cost_per_hour, with m = price per replica x replicas."""
    model.budget = pyo.Constraint(
        expr=sum(
            option.cost_per_hour / max_cost_per_hour * model.choose[s, o]
            for s, stage in enumerate(problem.stages)
            for o, option in enumerate(stage.options)
        )
        <= 1
    )


def add_paid(model: pyo.ConcreteModel, problem: Problem, max_paid: float) -> None:
    """sum_s sum_o (r + w)[s,o] x[s,o] <= max_paid, with w = the cost of moving to the option."""
    model.paid = pyo.Constraint(
        expr=sum(
            _paid(problem, s, o) / max_paid * model.choose[s, o]
            for s, stage in enumerate(problem.stages)
            for o in range(len(stage.options))
        )
        <= 1
    )


def add_switches(model: pyo.ConcreteModel, problem: Problem, max_switches: int) -> None:
    """Sum of x[s,o] over the options that change a stage's pods <= max_switches."""
    switched = [
        model.choose[s, o]
        for s, stage in enumerate(problem.stages)
        for o, option in enumerate(stage.options)
        if problem.switches[s].is_switch(option)
    ]
    if switched:
        model.switches = pyo.Constraint(expr=sum(switched) <= max_switches)


def _paid(problem: Problem, s: int, o: int) -> float:
    """Return r + w of an option: its cost and that of moving to it."""
    option = problem.stages[s].options[o]
    moving = problem.switches[s].cost(option) if problem.switches else 0.0
    return problem.cost([option]) + moving


def add_accuracy_floor(model: pyo.ConcreteModel, accuracy: Expression, floor: float) -> None:
    """A >= accuracy_floor."""
    model.accuracy_floor = pyo.Constraint(expr=accuracy / floor >= 1)


def add_objective(model: pyo.ConcreteModel, problem: Problem, accuracy: Expression) -> None:
    """Maximise alpha A - beta sum (r + w) x - delta sum b x (IPA equation 8 with w, moving)."""
    weights = problem.objective
    price = sum(
        (weights.cost_weight * _paid(problem, s, o) + weights.batch_weight * option.batch_size)
        * model.choose[s, o]
        for s, stage in enumerate(problem.stages)
        for o, option in enumerate(stage.options)
    )
    model.objective = pyo.Objective(
        expr=weights.accuracy_weight * accuracy - price, sense=pyo.maximize
    )


def add_accuracy(model: pyo.ConcreteModel, problem: Problem) -> Expression:
    """Add what the accuracy mode needs and return A, linear in the model's variables."""
    if problem.graph is not None and problem.objective.mode is not AccuracyMode.JOINT:
        return _Composer(model, problem).value(problem.graph, 1.0, 1.0)[0]
    match problem.objective.mode:
        case AccuracyMode.SUM | AccuracyMode.RANKS:
            return accuracy_sum(model, problem)
        case AccuracyMode.MEAN:
            return accuracy_sum(model, problem) / len(problem.stages)
        case AccuracyMode.PRODUCT:
            return add_accuracy_product(model, problem)
        case AccuracyMode.JOINT:
            return add_accuracy_joint(model, problem)


def accuracy_sum(model: pyo.ConcreteModel, problem: Problem) -> Expression:
    """A = sum_s sum_o a[s,o] x[s,o]."""
    return sum(
        stage.score(option) * model.choose[s, o]
        for s, stage in enumerate(problem.stages)
        for o, option in enumerate(stage.options)
    )


def variant_chosen(model: pyo.ConcreteModel, problem: Problem, s: int, variant: str) -> Expression:
    """z[s,v] = sum of x[s,o] over the options o of variant v: 1 when the variant is chosen.

    Variants are told apart by stage *and* name: two stages may use the same one.
    """
    return sum(
        model.choose[s, o]
        for o, option in enumerate(problem.stages[s].options)
        if option.variant == variant
    )


def add_accuracy_product(model: pyo.ConcreteModel, problem: Problem) -> Expression:
    """P[s] = P[s-1] a[s,v] for the chosen v, as a chain of shares p[s,v]; A = P of the last stage.

    ``0 <= p[s,v] <= U[s-1] z[s,v]`` and ``sum_v p[s,v] = P[s-1]``, with ``P[s] = sum_v a[s,v]
    p[s,v]``, ``P[-1] = 1`` and U[s] the highest product that stages 0..s can reach. Exact: for
    every v not chosen z = 0 forces p = 0, so the chosen one takes all of P[s-1], and
    ``P[s-1] <= U[s-1]`` never cuts it off.
    """
    accuracies = [_accuracies(stage) for stage in problem.stages]
    pairs = [(s, v) for s, of in enumerate(accuracies) for v in of]
    model.share = pyo.Var(pairs, domain=pyo.NonNegativeReals)
    reached: list[Expression] = [1.0]
    for s, of in enumerate(accuracies):
        reached.append(sum(a * model.share[s, v] for v, a in of.items()))
    highest = [math.prod(max(of.values()) for of in accuracies[:s]) for s in range(len(accuracies))]

    def only_the_chosen(_: Any, s: int, v: str) -> Any:
        return model.share[s, v] <= highest[s] * variant_chosen(model, problem, s, v)

    def handed_on(_: Any, s: int) -> Any:
        return sum(model.share[s, v] for v in accuracies[s]) == reached[s]

    model.share_only_the_chosen = pyo.Constraint(pairs, rule=only_the_chosen)
    model.share_handed_on = pyo.Constraint(range(len(accuracies)), rule=handed_on)
    return reached[-1]


def add_accuracy_joint(model: pyo.ConcreteModel, problem: Problem) -> Expression:
    """A = sum_c a[c] y[c], with sum over the c that have v at stage s of y[c] = z[s,v].

    ``0 <= y[c] <= 1``, one per measured combination c of variants. Exact without binaries: z = 0
    forces every y[c] with an unchosen variant to 0; what is left is the chosen combination, and
    z = 1 forces its y to 1.
    """
    offered = [set(stage.variants) for stage in problem.stages]
    combinations = [
        names
        for names in problem.joint_accuracy
        if len(names) == len(offered)
        and all(name in of for name, of in zip(names, offered, strict=True))
    ]
    indices = range(len(combinations))
    model.combination = pyo.Var(indices, bounds=(0, 1))
    pairs = [(s, v) for s, stage in enumerate(problem.stages) for v in stage.variants]

    def linked(_: Any, s: int, v: str) -> Any:
        with_variant = [model.combination[c] for c in indices if combinations[c][s] == v]
        return sum(with_variant, start=0.0) == variant_chosen(model, problem, s, v)

    model.combination_linked = pyo.Constraint(pairs, rule=linked)
    return sum(problem.joint_accuracy[combinations[c]] * model.combination[c] for c in indices)


class _Composer:
    """Adds what the accuracy of a graph needs, node by node.

    ``value(node, P, U)`` returns P x A(node) for an expression P in 0..U, and at most that. It
    needs no product of variables: P is handed down to the leaves, where it is split into shares of
    the variants, of which all but the chosen one's are forced to 0. P is 1 at the root, and what
    the steps before have reached in a Sequence of a product.
    """

    def __init__(self, model: pyo.ConcreteModel, problem: Problem) -> None:
        self._model, self._problem = model, problem
        self._index = {stage.stage: s for s, stage in enumerate(problem.stages)}
        model.part = pyo.VarList(domain=pyo.NonNegativeReals)
        model.best_branch = pyo.VarList(domain=pyo.Binary)
        model.composed = pyo.ConstraintList()

    def value(self, node: Node, reached: Expression, highest: float) -> tuple[Expression, float]:
        """Return P x A(node), by what the node is."""
        if node.merge is Merge.VOTE:
            return self._vote(node, reached, highest)
        if node.kind is not NodeKind.SEQUENCE:
            each = [self._step(step.to, reached, highest) for step in node.steps]
            if node.merge is Merge.MAX:
                return self._max(each)
            return self._sum(each, mean_weights(node))
        if self._problem.objective.mode is AccuracyMode.PRODUCT:
            for step in node.steps:
                reached, highest = self._step(step.to, reached, highest)
            return reached, highest
        each = [self._step(step.to, reached, highest) for step in node.steps]
        is_mean = self._problem.objective.mode is AccuracyMode.MEAN
        return self._sum(each, (1 / len(each) if is_mean else 1.0,) * len(each))

    def _sum(
        self, each: list[tuple[Expression, float]], weights: tuple[float, ...]
    ) -> tuple[Expression, float]:
        """P sum_i w[i] A[i]: each branch has its own shares of the same P."""
        pairs = list(zip(each, weights, strict=True))
        return sum(w * e for (e, _), w in pairs), math.fsum(w * top for (_, top), w in pairs)

    def _max(self, each: list[tuple[Expression, float]]) -> tuple[Expression, float]:
        """P max_i A[i] = max_i P A[i] = sum_i m[i], y[i] in {0, 1}.

        ``sum_i y[i] = 1``, ``m[i] <= U[i] y[i]`` and ``m[i] <= P A[i]``. The sum may be less but
        never more; as a higher accuracy only helps, in the objective and the floor, it is exact.
        """
        parts, branches = [], []
        for value, highest in each:
            part, branch = self._part(), self._model.best_branch.add()
            self._model.composed.add(part <= highest * branch)
            self._model.composed.add(part <= value)
            parts.append(part)
            branches.append(branch)
        self._model.composed.add(sum(branches) == 1)
        return sum(parts), max(highest for _, highest in each)

    def _step(
        self, to: str | Node, reached: Expression, highest: float
    ) -> tuple[Expression, float]:
        """P sum_v a[v] z[v] = sum_v a[v] p[v] with ``sum_v p[v] = P`` and ``p[v] <= U z[v]``."""
        if not isinstance(to, str):
            return self.value(to, reached, highest)
        s = self._index[to]
        stage = self._problem.stages[s]
        if isinstance(reached, float):
            chosen = enumerate(stage.options)
            return sum(stage.score(o) * self._model.choose[s, i] for i, o in chosen), 1.0
        scores = {option.variant: stage.score(option) for option in stage.options}
        shares = self._shares([(v,) for v in scores], (s,), reached, highest)
        total = sum(a * share for a, share in zip(scores.values(), shares, strict=True))
        return total, highest * max(scores.values())

    def _vote(self, node: Node, reached: Expression, highest: float) -> tuple[Expression, float]:
        """P a[c] = sum_c a[c] p[c] with ``sum_c p[c] = P``, p[c] 0 unless c is what was chosen."""
        indices = tuple(self._index[name] for name in node.stages())
        offered = [set(self._problem.stages[s].variants) for s in indices]
        votes = {
            names: accuracy
            for names, accuracy in node.votes.items()
            if all(name in of for name, of in zip(names, offered, strict=True))
        }
        shares = self._shares(list(votes), indices, reached, highest)
        total = sum(a * share for a, share in zip(votes.values(), shares, strict=True))
        return total, highest * max(votes.values())

    def _shares(
        self,
        combinations: list[tuple[str, ...]],
        indices: tuple[int, ...],
        reached: Expression,
        highest: float,
    ) -> list[Expression]:
        """Return shares p[c] of P over combinations of variants of some stages.

        ``sum over the c with v at s of p[c] <= U z[s,v]`` for every stage s and variant v: a
        combination with one variant that is not chosen gets nothing, so the chosen one gets all.
        """
        shares = [self._part() for _ in combinations]
        for place, s in enumerate(indices):
            for variant in self._problem.stages[s].variants:
                chosen = variant_chosen(self._model, self._problem, s, variant)
                pairs = zip(combinations, shares, strict=True)
                theirs = [share for c, share in pairs if c[place] == variant]
                self._model.composed.add(sum(theirs, start=0.0) <= highest * chosen)
        self._model.composed.add(sum(shares) == reached)
        return shares

    def _part(self) -> Expression:
        return self._model.part.add()


def _accuracies(stage: StageOptions) -> dict[str, float]:
    return {option.variant: option.accuracy for option in stage.options}
