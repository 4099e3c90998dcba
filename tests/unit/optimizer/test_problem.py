from __future__ import annotations

import math
from dataclasses import replace

import pytest

from optimizer.accuracy import combined_accuracy
from optimizer.options import exceeds
from optimizer.problem import Problem, build_problem
from penstock.domain import AccuracyMode, Adaptation, Objective, Pipeline, ProfileTable, Slo
from penstock.errors import DomainError, ProfileError
from penstock.graph import Node, NodeKind, Step
from tests.builders import pipeline, point, profile, profile_table, stage, variant
from tests.problems import options, problem


def one_stage(**fields: object) -> Pipeline:
    """One variant, batch size 1, 100 req/s per replica."""
    only = stage("locate", **{"variants": (variant("small", batch_sizes=(1,)),), **fields})
    return pipeline(stages=(only,), slo=Slo(latency_s=10.0))


def table_of(latency_s: float = 0.01, **fields: object) -> ProfileTable:
    return ProfileTable(
        profiles=(profile("locate", "small", points=(point(1, latency_s),), **fields),)
    )


def replicas_of(built: Problem) -> list[int]:
    return [o.replicas for o in built.stages[0].options]


def test_replicas_are_a_constant_of_the_option() -> None:
    built = build_problem(one_stage(), table_of(), 270.0)

    assert replicas_of(built) == [3, 4, 5, 6, 7, 8]


def test_more_replicas_are_offered_only_while_they_make_the_stage_faster() -> None:
    built = build_problem(one_stage(max_replicas=8), table_of(), 3.0)

    assert replicas_of(built) == [1, 2, 3]
    assert [o.latency_s for o in built.stages[0].options][-1] == 0.01


def test_without_load_the_minimum_of_replicas_is_enough() -> None:
    assert replicas_of(build_problem(one_stage(min_replicas=2), table_of(), 0.0)) == [2]
    assert replicas_of(build_problem(one_stage(min_replicas=0), table_of(), 0.0)) == [0]


@pytest.mark.parametrize("load_rps", [5e-324, 1e-300, 0.001])
def test_any_load_needs_a_replica(load_rps: float) -> None:
    assert replicas_of(build_problem(one_stage(min_replicas=0), table_of(), load_rps))[0] == 1


def test_headroom_comes_from_the_pipeline_unless_given() -> None:
    roomy = replace(one_stage(), adaptation=Adaptation(headroom=1.0))

    assert replicas_of(build_problem(roomy, table_of(), 100.0))[0] == 2
    assert replicas_of(build_problem(roomy, table_of(), 90.0, headroom=0.0))[0] == 1


def test_visit_ratio_multiplies_the_load_of_a_stage() -> None:
    built = build_problem(one_stage(visit_ratio=3.0), table_of(), 90.0)

    assert replicas_of(built)[0] == 3
    assert built.stages[0].options[0].capacity_rps == pytest.approx(100.0)


def test_a_declared_accuracy_wins_over_the_measured_one() -> None:
    declared = one_stage(variants=(variant("small", batch_sizes=(1,), accuracy=0.5),))

    assert build_problem(declared, table_of(), 1.0).stages[0].options[0].accuracy == 0.5
    assert build_problem(one_stage(), table_of(), 1.0).stages[0].options[0].accuracy == 0.8


def test_a_variant_that_needs_too_many_replicas_is_dropped_with_the_reason() -> None:
    (only,) = build_problem(one_stage(max_replicas=2), table_of(), 500.0).stages

    assert only.options == ()
    assert only.dropped[0].reason == "needs 6 replicas for 500 req/s, max_replicas is 2"


def test_a_variant_that_misses_the_slo_alone_is_dropped_with_the_reason() -> None:
    tight = replace(one_stage(), slo=Slo(latency_s=0.005))
    (only,) = build_problem(tight, table_of(), 1.0).stages

    assert only.options == ()
    assert only.dropped[0].reason == "takes 0.01 s alone with 1 replicas, the SLO is 0.005 s"


def test_options_that_another_beats_in_everything_are_left_out() -> None:
    worse = variant("worse", batch_sizes=(1,))
    both = one_stage(variants=(variant("small", batch_sizes=(1,)), worse))
    bad = profile("locate", "worse", points=(point(1, 0.02),), accuracy=0.7)
    table = ProfileTable(profiles=(*table_of().profiles, bad))

    assert build_problem(both, table, 1.0).stages[0].variants == ("small",)


def test_in_joint_mode_a_variant_is_never_replaced_by_another() -> None:
    worse = variant("worse", batch_sizes=(1,))
    both = replace(
        one_stage(variants=(variant("small", batch_sizes=(1,)), worse)),
        objective=Objective(mode=AccuracyMode.JOINT),
    )
    bad = profile("locate", "worse", points=(point(1, 0.02),), accuracy=0.7)
    table = ProfileTable(
        profiles=(*table_of().profiles, bad),
        joint_accuracy={("small",): 0.5, ("worse",): 0.9},
    )

    assert build_problem(both, table, 1.0).stages[0].variants == ("small", "worse")


def test_all_that_was_not_measured_is_named_at_once() -> None:
    asked = pipeline()
    known = ProfileTable(profiles=(profile("locate", "small", points=(point(1), point(4))),))

    with pytest.raises(ProfileError) as caught:
        build_problem(asked, known, 1.0)

    assert str(caught.value).splitlines() == [
        "pipeline 'digits': 4 missing from the profiles",
        "  stages[0].variants[0].batch_sizes[1]: locate/small is not profiled at batch size 2 "
        "on 1 cores",
        "  stages[0].variants[1]: no profile of locate/large",
        "  stages[1].variants[0]: no profile of classify/small",
        "  stages[1].variants[1]: no profile of classify/large",
        "run `penstock profile` on the spec to measure them",
    ]


def test_a_profile_on_other_cpu_is_no_profile() -> None:
    asked = one_stage(variants=(variant("small", batch_sizes=(1,), cpu_cores=2.0),))

    with pytest.raises(ProfileError, match="not profiled at batch size 1 on 2 cores"):
        build_problem(asked, table_of(), 1.0)


def test_joint_mode_names_the_combinations_that_were_not_measured() -> None:
    asked = pipeline(objective=Objective(mode=AccuracyMode.JOINT))
    known = replace(profile_table(asked), joint_accuracy={("small", "small"): 0.5})

    with pytest.raises(ProfileError) as caught:
        build_problem(asked, known, 1.0)

    assert "3 missing" in str(caught.value)
    assert "no measured accuracy of large+small" in str(caught.value)


def test_what_a_graph_lacks_is_not_said_to_be_measurable() -> None:
    both = Node(name="", kind=NodeKind.ENSEMBLE, steps=(Step(to="locate"), Step(to="classify")))
    asked = pipeline(objective=Objective(mode=AccuracyMode.JOINT), graph=both)

    with pytest.raises(ProfileError) as caught:
        build_problem(asked, profile_table(asked), 1.0)

    assert "4 missing" in str(caught.value)
    assert "penstock profile" not in str(caught.value)
    assert "a graph is not measured end to end: use another objective.mode" in str(caught.value)


@pytest.mark.parametrize("load_rps", [-1.0, math.nan, math.inf])
def test_a_load_that_is_no_rate_is_refused(load_rps: float) -> None:
    with pytest.raises(DomainError, match="finite and at least 0"):
        build_problem(pipeline(), profile_table(), load_rps)


@pytest.mark.parametrize("paths", [(), ((),), ((0, 2),), ((-1,),)])
def test_paths_must_be_of_the_stages(paths: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(DomainError, match="paths"):
        problem(options("a", {}), options("b", {}), paths=paths)


def test_the_slowest_path_counts() -> None:
    stages = [options(n, {"latency_s": s}) for n, s in (("a", 0.1), ("b", 0.2), ("c", 0.5))]
    forked = problem(*stages, paths=((0, 1), (0, 2)))

    assert forked.latency_s(forked.chosen((0, 0, 0))) == pytest.approx(0.6)


def test_objective_is_accuracy_less_cores_less_batches() -> None:
    row = {"accuracy": 0.5, "cpu_cores": 2.0, "replicas": 3, "batch_size": 4}
    weighed = problem(
        options("a", row),
        options("b", row),
        objective=Objective(accuracy_weight=10.0, cost_weight=0.5, batch_weight=0.01),
    )

    assert weighed.objective_of(weighed.chosen((0, 0))) == pytest.approx(2.5 - 6.0 - 0.08)


def test_the_accuracies_of_all_stages_count_in_every_mode() -> None:
    accuracies = [0.9, 0.8, 0.7, 0.6, 0.5]

    assert combined_accuracy(accuracies, AccuracyMode.PRODUCT) == pytest.approx(0.1512)
    assert combined_accuracy(accuracies, AccuracyMode.SUM) == pytest.approx(3.5)
    assert combined_accuracy(accuracies, AccuracyMode.MEAN) == pytest.approx(0.7)


def test_a_joint_accuracy_is_never_computed() -> None:
    with pytest.raises(DomainError, match="looked up"):
        combined_accuracy([0.9], AccuracyMode.JOINT)


def test_a_limit_is_kept_within_a_millionth() -> None:
    assert not exceeds(1.0000005, 1.0)
    assert exceeds(1.000002, 1.0)
