"""The local cluster's loop: it ends when it is told to, whatever happens at the same moment."""

from __future__ import annotations

import asyncio
from pathlib import Path

from serving.cluster.local_node import LocalNode
from serving.cluster.memory import MemoryCluster
from serving.cluster.processes import Cores
from serving.diff import Action, Change


def config_map(name: str) -> Change:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {}}
    return Change(action=Action.CREATE, kind="ConfigMap", namespace="default", name=name, body=body)


async def test_a_change_in_the_moment_of_the_end_does_not_keep_it_alive(tmp_path: Path) -> None:
    node = LocalNode(tmp_path, MemoryCluster(), Cores([0]), gateway_port=0)
    loop = asyncio.create_task(node.run())
    for _ in range(5):
        await asyncio.sleep(0)
    node.apply(config_map("limits"))
    loop.cancel()
    done, _ = await asyncio.wait({loop}, timeout=2.0)
    assert done == {loop}
    assert loop.cancelled()
