from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.predictor.protocol import (
    AnswerError,
    InputError,
    decode,
    encode_answer,
    encode_request,
)


def body(**changes):
    tensor = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}
    return json.dumps({"id": "7", "inputs": [{**tensor, **changes}]}).encode()


def fault_of(raw):
    with pytest.raises(InputError) as caught:
        decode(raw)
    return caught.value.path


def test_a_request_becomes_arrays_of_its_datatype():
    message = decode(body(shape=[2, 1]))
    assert message.id == "7"
    assert message.tensors["x"].dtype == np.float32
    assert message.tensors["x"].tolist() == [[1.0], [2.0]]


def test_the_answer_of_one_stage_is_the_request_of_the_next():
    answer = encode_answer({"y": np.array([1, 2])}, model="m", identity="7")
    assert decode(answer).tensors["y"].tolist() == [1, 2]


def test_bytes_travel_as_base64():
    images = np.empty(2, dtype=object)
    images[:] = [b"\x89PNG\n", b""]
    raw = encode_request({"image": images})
    assert json.loads(raw)["inputs"][0]["parameters"] == {"content_type": "base64"}
    assert decode(raw).tensors["image"].tolist() == [b"\x89PNG\n", b""]


def test_bytes_without_a_content_type_are_text():
    raw = body(datatype="BYTES", data=["a", "é"])
    assert decode(raw).tensors["x"].tolist() == [b"a", "é".encode()]


@pytest.mark.parametrize("array", [np.array([[True], [False]]), np.arange(3, dtype=np.uint8)])
def test_arrays_come_back_as_they_left(array):
    back = decode(encode_request({"a": array})).tensors["a"]
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_an_empty_tensor_keeps_its_shape():
    back = decode(encode_answer({"boxes": np.zeros((0, 4), np.float32)}, model="m"))
    assert back.tensors["boxes"].shape == (0, 4)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"name": ""}, "inputs[0].name"),
        ({"datatype": "FLOAT"}, "inputs[0].datatype"),
        ({"shape": [-1]}, "inputs[0].shape"),
        ({"shape": [True, 2]}, "inputs[0].shape"),
        ({"shape": [0, 10**30], "data": []}, "inputs[0].shape"),
        ({"data": [1]}, "inputs[0].data"),
        ({"data": ["1", "2"]}, "inputs[0].data"),
        ({"data": [[1, 2], [3]]}, "inputs[0].data"),
        ({"data": [1e39, 1]}, "inputs[0].data"),
        ({"datatype": "UINT8", "data": [0, 256]}, "inputs[0].data"),
        ({"datatype": "INT64", "data": [0.5, 1]}, "inputs[0].data"),
        ({"datatype": "INT64", "data": [2**70, 1]}, "inputs[0].data"),
        ({"datatype": "BOOL", "data": [0, 1]}, "inputs[0].data"),
        ({"datatype": "BYTES", "data": ["a", 1]}, "inputs[0].data[1]"),
        (
            {"datatype": "BYTES", "data": ["a", "?"], "parameters": {"content_type": "base64"}},
            "inputs[0].data[0]",
        ),
    ],
)
def test_the_bad_field_is_named(changes, path):
    assert fault_of(body(**changes)) == path


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"{", ""),
        (b"[1]", ""),
        (b"\xff", ""),
        (b"[" * 100_000, ""),
        (b'{"inputs": []}', "inputs"),
        (b'{"inputs": [1]}', "inputs[0]"),
        (b'{"id": 1, "inputs": [{"name":"a","datatype":"BOOL","shape":[0],"data":[]}]}', "id"),
    ],
)
def test_a_body_that_is_no_request_is_refused(raw, path):
    assert fault_of(raw) == path


def merged(**answers):
    return json.dumps(answers).encode()


def answer(*values, name="y"):
    tensor = {"name": name, "datatype": "FP32", "shape": [len(values)], "data": list(values)}
    return {"model_name": "m", "id": "", "outputs": [tensor]}


def test_an_ensembles_answers_are_read_under_the_names_of_its_steps():
    found = decode(merged(left=answer(1), right={"a": answer(2), "b": answer(3, name="z")}))
    assert {name: list(array) for name, array in found.tensors.items()} == {
        "left.y": [1],
        "right.a.y": [2],
        "right.b.z": [3],
    }


def test_a_fault_in_one_of_an_ensembles_answers_is_named():
    broken = {"outputs": [{"name": "y", "datatype": "FP32", "shape": [2], "data": [1]}]}
    assert fault_of(merged(left=answer(1), right={"b": broken})) == "right.b.outputs[0].data"


def test_what_is_nested_deeper_than_any_graph_is_no_ensembles_answer():
    document = answer(1)
    for _ in range(900):
        document = {"a": document}
    assert fault_of(json.dumps(document).encode()) == "inputs"


def test_a_name_that_is_there_twice_is_refused():
    tensor = {"name": "x", "datatype": "BOOL", "shape": [0], "data": []}
    assert fault_of(json.dumps({"inputs": [tensor, tensor]}).encode()) == "inputs[1].name"


@pytest.mark.parametrize("array", [np.array([np.nan], np.float32), np.array([1j])])
def test_an_answer_json_cannot_carry_is_the_models_fault(array):
    with pytest.raises(AnswerError):
        encode_answer({"y": array}, model="m")


@given(st.binary(max_size=200))
def test_any_bytes_survive_the_wire(content):
    tensor = np.empty(1, dtype=object)
    tensor[0] = content
    assert decode(encode_request({"b": tensor})).tensors["b"][0] == content


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["inputs", "name", "datatype", "shape", "data", "parameters"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_json_arrives_is_read_or_refused(document):
    try:
        message = decode(json.dumps(document).encode())
    except InputError:
        return
    assert message.tensors
