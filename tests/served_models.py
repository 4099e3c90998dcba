"""Tiny artifacts that a real predictor can serve, for the tests that start processes."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
from onnx import TensorProto, helper


def scaling_artifact(folder: Path, factor: float, *, reads: str = "x", writes: str = "y") -> Path:
    """Write an artifact whose model multiplies the rows of ``reads`` by ``factor``."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(
        [helper.make_node("MatMul", [reads, "w"], [writes])],
        "scaling",
        [helper.make_tensor_value_info(reads, TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info(writes, TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [factor, 0.0, 0.0, factor])],
    )
    return _save(folder, graph)


def adding_artifact(folder: Path, *terms: str) -> Path:
    """Write an artifact whose model adds two inputs of the given names into ``y``."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(
        [helper.make_node("Add", list(terms), ["y"])],
        "adding",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in terms],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    )
    return _save(folder, graph)


def lookup_artifact(folder: Path) -> Path:
    """Write an artifact that looks numbers up in [10, 20, 30] and fails for any other index."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "index"], ["value"])],
        "lookup",
        [helper.make_tensor_value_info("index", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor("table", TensorProto.FLOAT, [3], [10.0, 20.0, 30.0])],
    )
    return _save(folder, graph)


def _save(folder: Path, graph: onnx.GraphProto) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    (folder / "variant.json").write_text(json.dumps({"handler": "tensor"}))
    return folder
