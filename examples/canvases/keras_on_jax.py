"""Keras with its smallest back-end: it looks for TensorFlow unless told so before its import."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras

__all__ = ["keras"]
