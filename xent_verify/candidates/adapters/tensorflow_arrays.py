"""TensorFlow and Keras tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

NAME = "tensorflow"


def prepare(function: Callable[..., Any], _device: str) -> Callable[..., Any]:
    """Nothing to prepare."""
    return function


def to_target(array: NDArray[Any], _device: str) -> Any:
    """A constant tensor of the same dtype (ml_dtypes are TensorFlow's own)."""
    return tf.constant(array)


def from_target(value: Any) -> NDArray[Any] | None:
    """The tensor's values as NumPy."""
    return np.asarray(value.numpy()) if isinstance(value, (tf.Tensor, tf.Variable)) else None


def gradient_of(loss: Callable[..., Any], _device: str) -> Callable[..., Any]:
    """The gradient of the per-sample loss, by a tape."""

    def gradient(logits: Any, target: Any, **options: Any) -> Any:
        leaf = tf.Variable(logits)
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(loss(leaf, target, **options))
        return tape.gradient(value, leaf)

    return gradient
