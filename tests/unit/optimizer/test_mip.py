from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from optimizer.solvers import SOLVERS, Solution, Status, make_solver
from optimizer.solvers.mip import GlpkSolver, HighsSolver, polished
from optimizer.solvers.model import build_model
from penstock.domain import Objective, Slo
from penstock.errors import DomainError, MissingToolError
from tests.problems import hard_problem, options, problem


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a shell script in glpsol's place."""

    def put(*lines: str) -> None:
        script = tmp_path / "glpsol"
        script.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return put


def test_a_missing_program_is_named_with_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(MissingToolError, match=r"glpk-utils.*'highs'"):
        make_solver("glpk")


def test_a_missing_package_is_named_with_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(MissingToolError, match=r"highspy.*'glpk'"):
        make_solver("highs")


def test_an_unknown_solver_is_answered_with_those_there_are() -> None:
    with pytest.raises(DomainError, match="there are auto, frontier, mip, glpk, highs"):
        make_solver("gurobi")

    assert SOLVERS == ("auto", "frontier", "mip", "glpk", "highs", "exhaustive")


def test_glpk_gives_its_incumbent_and_bound_at_the_limit() -> None:
    hard = hard_problem()

    solution = GlpkSolver().solve(hard, time_limit_s=1)

    assert solution.status is Status.FEASIBLE
    assert hard.is_feasible(hard.chosen(solution.choices))
    assert 0 < solution.gap < 0.05
    assert solution.seconds < 5


def test_highs_stops_at_its_limit() -> None:
    solution = HighsSolver().solve(hard_problem(stages=300), time_limit_s=0.001)

    assert solution.status in (Status.FEASIBLE, Status.TIMED_OUT)
    assert solution.seconds < 5


def test_a_gap_that_is_good_enough_ends_the_search_early() -> None:
    solution = GlpkSolver(gap=0.2).solve(hard_problem(), time_limit_s=20)

    assert solution.status is Status.FEASIBLE
    assert solution.gap <= 0.2
    assert solution.seconds < 10


@pytest.mark.parametrize("name", ["glpk", "highs"])
def test_no_file_is_left_behind(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for limits in ({}, {"max_cores": 0.5}):
        make_solver(name).solve(problem(options("a", {}), **limits), time_limit_s=5)

    assert list(tmp_path.iterdir()) == []


def test_solvers_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("glpk", "highs"):
        make_solver(name).solve(problem(options("a", {})), time_limit_s=5)

    assert capfd.readouterr() == ("", "")


def broken(glpsol: Solution) -> bool:
    return glpsol.status is Status.FAILED and glpsol.choices == () and bool(glpsol.explanation)


def test_a_program_that_dies_is_a_failure(program) -> None:
    program('if [ "$1" = "--version" ]; then echo "GLPSOL v5.0"; exit; fi', "exit 3")

    assert broken(GlpkSolver().solve(problem(options("a", {})), time_limit_s=1))


def test_a_failure_leaves_no_file_behind(
    program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program('if [ "$1" = "--version" ]; then echo "GLPSOL v5.0"; exit; fi', "exit 3")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    GlpkSolver().solve(problem(options("a", {})), time_limit_s=1)

    assert list(scratch.iterdir()) == []


def test_a_choice_that_breaks_a_constraint_is_not_believed(program) -> None:
    # Answers with both options of the only stage at 1: neither one option nor within the SLO.
    program(
        'if [ "$1" = "--version" ]; then echo "GLPSOL v5.0"; exit; fi',
        "while [ $# -gt 0 ]; do",
        'case "$1" in --write) out=$2;; --wglp) names=$2;; esac; shift; done',
        "printf 'p mip max 0 2 0\\nn j 1 x2\\nn j 2 x3\\ne o f\\n' > $names",
        "printf 'c Status:\\ns mip 0 2 o 1\\nj 1 1\\nj 2 1\\ne o f\\n' > $out",
    )
    slow = {"latency_s": 9.0}

    solution = GlpkSolver().solve(problem(options("a", slow, slow)), time_limit_s=1)

    assert broken(solution)
    assert "breaks a constraint" in solution.explanation


def test_a_solution_has_choices_exactly_when_its_status_says_so() -> None:
    with pytest.raises(DomainError, match="optimal"):
        Solution(status=Status.OPTIMAL)
    with pytest.raises(DomainError, match="infeasible"):
        Solution(status=Status.INFEASIBLE, choices=(0,))


def test_differences_below_a_solvers_tolerance_are_settled_by_hand() -> None:
    batches = [{"batch_size": b, "latency_s": 0.5 / b} for b in (4, 2, 1)]
    tied = problem(
        options("a", *batches),
        options("b", *batches),
        slo=Slo(latency_s=0.75),
        objective=Objective(cost_weight=0.0, batch_weight=1e-9),
    )

    assert polished((0, 0), tied) in ((1, 1), (2, 1), (1, 2))
    assert tied.is_feasible(tied.chosen(polished((0, 0), tied)))


def test_gap_is_a_share_of_the_objective() -> None:
    found = Solution(status=Status.FEASIBLE, choices=(0,), objective=-2.0, bound=-1.5)

    assert found.gap == pytest.approx(0.25)
    assert replace(found, bound=math.inf).gap == math.inf


def test_model_has_a_binary_per_option_and_none_for_replicas() -> None:
    row = {"replicas": 3}
    model = build_model(problem(options("a", row, row), options("b", row, row, row)))
    binaries = [v for v in model.component_data_objects() if getattr(v, "is_binary", bool)()]

    assert len(binaries) == 5


def test_mip_is_glpk_where_it_is_installed_and_highs_elsewhere(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert make_solver("mip").name == "highs"
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert make_solver("mip").name == "glpk"
