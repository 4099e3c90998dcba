from __future__ import annotations

import pytest

from penstock.errors import ManifestError
from serving.names import check_names, service_name
from tests import builders as make


def test_a_service_is_named_by_pipeline_stage_and_variant():
    assert service_name("digits", "locate", "small") == "digits-locate-small"


def test_the_longest_name_that_fits_is_taken():
    # <name>-<stage>-<variant>-predictor-default must have 63 characters.
    name = "p" * (63 - len("-locate-small-predictor-default"))
    check_names(make.pipeline(name, stages=(make.stage("locate"),)))


def test_one_character_more_is_refused_with_what_to_do():
    name = "p" * (64 - len("-locate-small-predictor-default"))
    with pytest.raises(ManifestError, match=r"of 64 characters.*shorten a name by 1"):
        check_names(make.pipeline(name, stages=(make.stage("locate"),)))


def test_every_malformed_name_is_reported_at_once():
    stages = (make.stage("lo_cate"), make.stage("Classify"))
    with pytest.raises(ManifestError) as caught:
        check_names(make.pipeline("1digits", stages=stages))
    text = str(caught.value)
    assert all(part in text for part in ("'1digits'", "stages[lo_cate]", "stages[Classify]"))


def test_two_variants_that_would_share_a_service_are_refused():
    stages = (
        make.stage("a", variants=(make.variant("b-c"),)),
        make.stage("a-b", variants=(make.variant("c"),)),
    )
    with pytest.raises(ManifestError, match="digits-a-b-c"):
        check_names(make.pipeline(stages=stages))


def test_a_graph_name_that_is_too_long_is_refused():
    with pytest.raises(ManifestError, match=r"graph 'd{63}'"):
        check_names(make.pipeline("d" * 63))
