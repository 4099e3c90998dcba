from __future__ import annotations

import pytest

from serving.cluster.listing import matches

LABELS = {"app": "a", "tier": "web"}


@pytest.mark.parametrize(
    "selector",
    ["", "app=a", "app==a,tier=web", "app!=b", "ghost!=x", "app", "!ghost", "app in (a, b),tier",
     "app notin (b,c)", "ghost notin (x)"],  # codespell:ignore notin
)  # fmt: skip
def test_a_selector_takes_what_fulfils_all_its_terms(selector):
    assert matches(LABELS, selector)


@pytest.mark.parametrize(
    "selector",
    ["app=b", "app=a,tier=db", "app!=a", "ghost", "!app", "app in (b,c)", "ghost in (x)"],
)
def test_a_selector_leaves_out_what_breaks_one_term(selector):
    assert not matches(LABELS, selector)
