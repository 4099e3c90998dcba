"""A variant's CPU allocations: each is measured by itself, and all make one profile.

The profile of one allocation is a profile like any other; so each is kept, and measured in a pod of
its own, as if there were no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from penstock.domain import Profile, Variant
from penstock.errors import ProfileError


def allocations(variant: Variant) -> tuple[Variant, ...]:
    """Return the variant once for each of its CPU allocations, and with that one only."""
    return tuple(only(variant, cores) for cores in variant.cpu_allocations)


def only(variant: Variant, cpu_cores: float) -> Variant:
    """Return the variant with one of its CPU allocations only.

    Raises:
        ProfileError: it has no such allocation.
    """
    if cpu_cores not in variant.cpu_allocations:
        known = ", ".join(f"{cores:g}" for cores in variant.cpu_allocations)
        raise ProfileError(f"variant {variant.name!r} is never given {cpu_cores:g} cores: {known}")
    return replace(variant, cpu_cores=cpu_cores, cpu_choices=())


def joined(profiles: Sequence[Profile]) -> Profile:
    """Return one profile of those of a variant's allocations.

    It starts as slowly and takes as much memory as the worst of them. What their provenances have
    in common is said once, what differs for each allocation.

    Raises:
        ProfileError: an allocation was measured more than once, with different results.
    """
    every = [one for i, one in enumerate(profiles) if one not in profiles[:i]]
    if len(every) == 1:
        return every[0]
    points = [point for one in every for point in one.points]
    keys = [(point.cpu_cores, point.batch_size) for point in points]
    if len(set(keys)) < len(keys):
        name = f"{every[0].stage}/{every[0].variant}"
        raise ProfileError(f"{name} was measured more than once on the same cores: keep one")
    return replace(
        every[0],
        points=tuple(sorted(points, key=lambda p: (p.cpu_cores, p.batch_size))),
        load_time_s=max(one.load_time_s for one in every),
        memory_mib=max(one.memory_mib for one in every),
        provenance=_provenance(every),
    )


def joined_by_variant(profiles: Iterable[Profile]) -> tuple[Profile, ...]:
    """Return one profile per variant, in the order in which the variants first come.

    Raises:
        ProfileError: an allocation was measured more than once, with different results.
    """
    of: dict[tuple[str, str], list[Profile]] = {}
    for one in profiles:
        of.setdefault((one.stage, one.variant), []).append(one)
    return tuple(joined(parts) for parts in of.values())


def _provenance(profiles: Sequence[Profile]) -> Mapping[str, str]:
    keys = dict.fromkeys(key for one in profiles for key in one.provenance)
    return {key: _said(key, profiles) for key in keys}


def _said(key: str, profiles: Sequence[Profile]) -> str:
    texts = [one.provenance.get(key, "") for one in profiles]
    if len(set(texts)) == 1:
        return texts[0]
    cores = [f"{one.points[0].cpu_cores:g}" for one in profiles]
    return "; ".join(f"{n} cores: {t}" for n, t in zip(cores, texts, strict=True) if t)
