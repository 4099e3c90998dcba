"""What a tick's process loads: all that it does not use is time from its start to its last call."""

from __future__ import annotations

import pytest

from bench.tick import LOADS_RPS, stand

LEFT_ALONE = {
    *("kubernetes", "pyomo", "highspy", "keras", "jax", "onnxruntime", "kfp", "hera"),
    *("matplotlib", "pandas", "sklearn", "aiohttp", "jinja2", "jsonschema", "prometheus_client"),
    *("rich", "urllib3", "minio", "PIL", "asyncio"),
}


@pytest.mark.slow
def test_ticks_of_a_pod_load_only_what_they_use(tmp_path):
    with stand(tmp_path) as made:
        ticks = []
        for rps in (LOADS_RPS[0], LOADS_RPS[0], LOADS_RPS[1]):
            made.load.rps = rps
            ticks.append(made.tick())
            assert {name.partition(".")[0] for name in made.loaded} & LEFT_ALONE == set()
    first, nothing, replicas = ticks
    assert (len(first.changed) > 1, len(nothing.changed), len(replicas.changed)) == (True, 0, 1)
    assert {c.user for c in made.served.calls} == {"admin"}
