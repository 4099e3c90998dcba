from __future__ import annotations

import pytest

from serving.render import RenderSettings, render, to_apply
from serving.scale import following, least_of, most_of, replicas_of, scales
from tests import builders as make

SETTINGS = RenderSettings(image="i:1", store_uri="s3://m", autoscaling="external")


def wanted(replicas):
    stages = (make.option("locate", replicas=replicas), make.option("classify"))
    return scales(make.pipeline(), make.plan(stages=stages), SETTINGS)


def standing(replicas):
    return [{**wanted(1)[0], "spec": {"replicas": replicas}}]


def first(found):
    return replicas_of(found[0]), most_of(found[0])


def test_the_plans_replicas_and_their_band_are_wanted_of_kserves_deployment():
    found = wanted(3)
    assert found[0]["metadata"]["name"] == "digits-locate-small-predictor"
    assert first(found) == (3, 6)


def test_another_autoscaler_may_go_below_the_plan_within_its_band():
    stages = (make.option("locate", replicas=3, band=(2, 5)), make.option("classify"))
    (found, _) = scales(make.pipeline(), make.plan(stages=stages), SETTINGS)
    assert (least_of(found), replicas_of(found), most_of(found)) == (2, 3, 5)


def test_what_is_rendered_for_gitops_has_no_replicas_of_ours():
    rendered = render(make.pipeline(), make.plan(), SETTINGS)
    assert "Scale" not in {m["kind"] for m in rendered}
    assert [m["kind"] for m in to_apply(make.pipeline(), make.plan(), SETTINGS)].count("Scale") == 2


@pytest.mark.parametrize(
    ("before", "there", "most"),
    [
        (4, 4, 2),  # nobody moved it: it follows the plan down
        (4, 3, 4),  # somebody did: the band is theirs
        (None, 3, 2),  # what was applied is not known
        (4, None, 2),  # it is new
    ],
)
def test_only_what_another_moved_keeps_its_band(before, there, most):
    live = [] if there is None else standing(there)
    applied = [] if before is None else wanted(before)
    assert first(following(wanted(2), live, applied)) == (2, most)
