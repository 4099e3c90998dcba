"""Whatever table can be made, its file says the same; whatever is read, nothing else breaks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain import Profile, ProfilePoint, ProfileTable
from penstock.errors import SpecError
from profiles import table

names = st.text(min_size=1, max_size=8)
positive = st.floats(min_value=1e-300, max_value=1e300)
shares = st.floats(min_value=0, max_value=1)
quantiles = st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True)


@st.composite
def points(draw: st.DrawFn, batch_size: int) -> ProfilePoint:
    at = draw(st.lists(quantiles, min_size=1, max_size=4, unique=True))
    seconds = sorted(draw(st.lists(positive, min_size=len(at), max_size=len(at))))
    return ProfilePoint(
        batch_size=batch_size,
        cpu_cores=draw(positive),
        latency_s=dict(zip(sorted(at), seconds, strict=True)),
        throughput_rps=draw(positive),
        samples=draw(st.integers(min_value=0, max_value=10**9)),
    )


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    sizes = draw(st.lists(st.integers(1, 512), min_size=1, max_size=3, unique=True))
    return Profile(
        stage=draw(names),
        variant=draw(names),
        points=tuple(draw(points(size)) for size in sizes),
        accuracy=draw(shares),
        load_time_s=draw(st.floats(min_value=0, max_value=1e6)),
        memory_mib=draw(st.floats(min_value=0, max_value=1e6)),
        provenance=draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2)),
    )


tables = st.builds(
    ProfileTable,
    profiles=st.lists(profiles(), max_size=3, unique_by=lambda p: (p.stage, p.variant)).map(tuple),
    joint_accuracy=st.dictionaries(
        st.lists(names, min_size=1, max_size=3).map(tuple), shares, max_size=3
    ),
)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["apiVersion", "kind", "profiles", "points", "latency_s", "x"]), inner
        )
    ),
    max_leaves=10,
)


@given(tables)
def test_a_table_is_what_its_text_says(known):
    text = table.render(known)
    again = table.parse(text, source="x")
    assert again == known
    assert table.render(again) == text


@given(documents)
def test_whatever_stands_for_a_profile_ends_as_faults(document):
    text = json.dumps(
        {"apiVersion": "penstock.dev/v1", "kind": "ProfileTable", "profiles": [document]}
    )
    with pytest.raises(SpecError) as caught:
        table.parse(text, source="x")
    assert caught.value.faults


@given(st.lists(tables, max_size=3))
def test_merging_step_by_step_is_merging_at_once(some):
    at_once = table.merge(some)
    stepwise = ProfileTable(profiles=())
    for one in some:
        stepwise = table.merge([stepwise, one])
    assert stepwise == at_once
