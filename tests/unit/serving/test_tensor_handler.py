from __future__ import annotations

import numpy as np
import pytest

from penstock.errors import ArtifactError
from serving.predictor.handlers import make_handler
from serving.predictor.handlers.tensor import TensorHandler
from serving.predictor.protocol import InputError
from serving.predictor.session import ModelError, TensorSpec


class Doubling:
    """A session whose model doubles ``x``; it remembers the rows of each call."""

    def __init__(self, shape=(-1, 2), *, rows_lost=0):
        self.inputs = (TensorSpec(name="x", datatype="FP32", shape=shape),)
        self.outputs = (TensorSpec(name="y", datatype="FP32", shape=shape),)
        self.calls = []
        self._rows_lost = rows_lost

    def run(self, inputs):
        self.calls.append(len(inputs["x"]))
        doubled = 2 * inputs["x"]
        return [doubled[: len(doubled) - self._rows_lost]]


def rows(*values):
    return {"x": np.array(values, dtype=np.float32)}


def answers_of(handler, *requests):
    items = [handler.decode(request) for request in requests]
    return [answer["y"].tolist() for answer in handler.run(items)]


def test_requests_are_one_call_and_each_gets_its_own_rows():
    session = Doubling()
    handler = TensorHandler(session, {})
    assert answers_of(handler, rows([1, 2]), rows([3, 4], [5, 6])) == [
        [[2, 4]],
        [[6, 8], [10, 12]],
    ]
    assert session.calls == [3]


def test_rows_of_another_shape_take_a_call_of_their_own():
    session = Doubling(shape=(-1, -1))
    handler = TensorHandler(session, {})
    answers = answers_of(handler, rows([1, 2]), rows([1, 2, 3]), rows([5, 6]))
    assert answers == [[[2, 4]], [[2, 4, 6]], [[10, 12]]]
    assert session.calls == [2, 1]


def test_a_model_with_a_fixed_batch_is_called_once_per_request():
    session = Doubling(shape=(1, 2))
    handler = TensorHandler(session, {})
    assert answers_of(handler, rows([1, 2]), rows([3, 4])) == [[[2, 4]], [[6, 8]]]
    assert session.calls == [1, 1]


def test_a_model_that_loses_rows_is_the_models_fault():
    handler = TensorHandler(Doubling(rows_lost=1), {})
    with pytest.raises(ModelError, match="for 2 rows"):
        answers_of(handler, rows([1, 2]), rows([3, 4]))


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"x": np.zeros((1, 3), np.float32)},
        {"x": np.zeros(2, np.float32)},
        {"x": np.zeros((1, 2), np.float64)},
    ],
)
def test_a_request_the_model_cannot_take_is_refused_with_the_tensor(tensors):
    with pytest.raises(InputError) as caught:
        TensorHandler(Doubling(), {}).decode(tensors)
    assert caught.value.path == "inputs.x"


def test_inputs_of_different_length_are_refused():
    session = Doubling()
    session.inputs += (TensorSpec(name="z", datatype="FP32", shape=(-1,)),)
    with pytest.raises(InputError, match="same number of rows"):
        TensorHandler(session, {}).decode({**rows([1, 2]), "z": np.zeros(2, np.float32)})


def test_handlers_are_found_by_name():
    assert isinstance(make_handler("tensor", Doubling(), {}), TensorHandler)
    with pytest.raises(ArtifactError, match=r"classify.*detect.*tensor"):
        make_handler("nothing", Doubling(), {})
