"""What a variant does with a request: tensors → item, items → one model call → tensors.

A handler is found by the name in the variant's ``variant.json`` and imported on demand, so that a
replica pays only for what it serves.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from penstock.errors import ArtifactError
from serving.predictor.protocol import Tensors
from serving.predictor.session import OnnxSession

HANDLERS: Mapping[str, str] = {
    "tensor": "serving.predictor.handlers.tensor:TensorHandler",
    "detect": "serving.predictor.handlers.detect:DetectHandler",
    "classify": "serving.predictor.handlers.classify:ClassifyHandler",
}
"""Handler name → ``module:class``; the class is called with ``(session, params)``."""


class Handler(Protocol):
    """Turns requests into items, and a batch of items into one answer each."""

    def decode(self, tensors: Tensors) -> Any:
        """Return the item of one request.

        Raises:
            InputError: the request lacks a tensor or holds one that makes no sense; the others are
                not touched.
        """
        ...

    def run(self, items: Sequence[Any]) -> list[Tensors]:
        """Return one answer per item, from one model call for all of them.

        Raises:
            ModelError: the model failed.
        """
        ...


def make_handler(name: str, session: OnnxSession, params: Mapping[str, Any]) -> Handler:
    """Import and construct the handler of that name.

    Raises:
        ArtifactError: there is no such handler; the message lists those there are.
    """
    target = HANDLERS.get(name)
    if target is None:
        raise ArtifactError(f"no handler {name!r}; variant.json may name one of {sorted(HANDLERS)}")
    module, _, attribute = target.partition(":")
    factory = cast(
        "Callable[[OnnxSession, Mapping[str, Any]], Handler]",
        getattr(importlib.import_module(module), attribute),
    )
    return factory(session, params)
