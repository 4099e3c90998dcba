"""A trainer that trains nothing: models of a few nodes, written as ONNX by hand.

A canvas has four cells of 8 x 8 pixels, one of them lit. The detectors call a cell an item by its
mean; the faint ones are seen by one variant only. The classifiers tell bright from faint by the
mean of a crop; one of them calls everything faint. So accuracies are known beforehand.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, save
from PIL import Image

from penstock.dataset import LabelledRequest, write_dataset
from penstock.progress import Progress, Report

CELL_PX = 8
CANVAS_PX = 2 * CELL_PX
BRIGHT, FAINT = 250, 120
SEEN_FROM = {"keen": 60.0, "dull": 180.0}
PARTED_AT = {"fair": 185.0, "blunt": 1000.0}


def main(out: Path, report: Report) -> None:
    """Write the models and the held-out requests."""
    for done, (name, least) in enumerate(SEEN_FROM.items()):
        params = {
            "canvas_px": CANVAS_PX,
            "stride_px": CELL_PX,
            "scale_px": float(CELL_PX),
            "crop_px": CELL_PX,
            "threshold": 0.5,
        }
        _write(out / "models/locate" / name, detector(least), "detect", params)
        report(Progress(step="train models", done=done + 1, total=4))
    for done, (name, border) in enumerate(PARTED_AT.items()):
        params = {"crop_px": CELL_PX}
        _write(out / "models/classify" / name, classifier(border), "classify", params)
        report(Progress(step="train models", done=done + 3, total=4))
    lit = [(cell, grey) for cell in range(4) for grey in (BRIGHT, FAINT)]
    write_dataset(out / "dataset/requests.jsonl.gz", [_request(c, g, crop=False) for c, g in lit])
    write_dataset(out / "dataset/classify.jsonl.gz", [_request(c, g, crop=True) for c, g in lit])


def detector(least: float) -> ModelProto:
    """A cell's logit is its mean less ``least``; place and size are always the cell's own."""
    nodes = [
        helper.make_node("Reshape", ["image", "planes"], ["plane"]),
        helper.make_node(
            *("AveragePool", ["plane"], ["mean"]), kernel_shape=[8, 8], strides=[8, 8]
        ),
        helper.make_node("Sub", ["mean", "least"], ["above"]),
        helper.make_node("Mul", ["above", "zero"], ["nothing"]),
        helper.make_node("Concat", ["above", *["nothing"] * 3], ["stacked"], axis=1),
        helper.make_node("Transpose", ["stacked"], ["grid"], perm=[0, 2, 3, 1]),
    ]
    shapes = [CANVAS_PX, CANVAS_PX, 1], [2, 2, 4]
    return _model(nodes, "grid", *shapes, planes=[-1, 1, CANVAS_PX, CANVAS_PX], least=least)


def classifier(border: float) -> ModelProto:
    """Class 1 is brighter than ``border``, class 0 is not."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["kept"], axes=[1, 2], keepdims=0),
        helper.make_node("Sub", ["kept", "least"], ["bright"]),
        helper.make_node("Neg", ["bright"], ["faint"]),
        helper.make_node("Concat", ["faint", "bright"], ["logits"], axis=1),
        helper.make_node("Softmax", ["logits"], ["shares"], axis=1),
    ]
    return _model(nodes, "shares", [CELL_PX, CELL_PX, 1], [2], planes=[-1], least=border)


def _model(
    nodes: list[NodeProto],
    result: str,
    takes: list[int],
    gives: list[int],
    *,
    planes: list[int],
    least: float,
) -> ModelProto:
    constants = [
        helper.make_tensor("planes", TensorProto.INT64, [len(planes)], planes),
        helper.make_tensor("least", TensorProto.FLOAT, [1], [least]),
        helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", *takes])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, ["n", *gives])],
        initializer=constants,
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def _write(folder: Path, model: ModelProto, handler: str, params: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    save(model, folder / "model.onnx")
    (folder / "variant.json").write_text(json.dumps({"handler": handler, "params": params}))


def _request(cell: int, grey: int, *, crop: bool) -> LabelledRequest:
    """A canvas with one lit cell, or the crop of it alone, as the wire has it."""
    x, y = cell % 2 * CELL_PX, cell // 2 * CELL_PX
    canvas = np.zeros((CANVAS_PX, CANVAS_PX), dtype=np.uint8)
    canvas[y : y + CELL_PX, x : x + CELL_PX] = grey
    pixels = canvas[y : y + CELL_PX, x : x + CELL_PX] if crop else canvas
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    tensor = {
        "name": "crops" if crop else "image",
        "datatype": "BYTES",
        "shape": [1],
        "data": [base64.b64encode(png.getvalue()).decode()],
        "parameters": {"content_type": "base64"},
    }
    return LabelledRequest(
        body=json.dumps({"inputs": [tensor]}).encode(),
        boxes=((float(x), float(y), float(x + CELL_PX), float(y + CELL_PX)),),
        labels=(int(grey == BRIGHT),),
    )
