"""Component: find the plan for a load."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def optimize_plan(
    spec: str,
    load_rps: float,
    solver: str,
    profiles: dsl.Input[dsl.Artifact],
    plan: dsl.Output[dsl.Artifact],
    front: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Choose variant, batch size and replicas of every stage.

    Args:
        spec: Pipeline document, as YAML text.
        load_rps: Load to plan for, in requests per second.
        solver: auto, frontier, mip, glpk, highs or exhaustive.
        profiles: What assemble_profiles wrote.
        plan: JSON file with the plan and what it promises.
        front: The plan, its promises, and the plans that nothing beats in accuracy and cost.
        metrics: What the plan promises.
    """
    from components import scores, steps

    scores.record(
        steps.optimize_plan(
            spec=spec,
            profiles=profiles.path,
            load_rps=load_rps,
            solver=solver,
            out=plan.path,
            page=front.path,
        ),
        metrics,
    )
