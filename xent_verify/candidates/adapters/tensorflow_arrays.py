"""TensorFlow and Keras tensors (Keras with its TensorFlow backend)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from xent_verify.candidates.classes import instantiated
from xent_verify.core.failures import UsageError

__all__ = ["Arrays"]


class Arrays:
    """tf.Tensor; ml_dtypes are TensorFlow's own narrow types."""

    def __init__(self, argument: str = "", device: str = "cpu") -> None:  # noqa: ARG002  every adapter's signature
        gpu = device.startswith("cuda")
        if gpu and not tf.config.list_physical_devices("GPU"):
            raise UsageError(f"device {device!r}: TensorFlow sees no GPU here")
        self._device = "GPU:0" if gpu else "CPU:0"
        self.where = self._told() if gpu else ""

    def _told(self) -> str:
        details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
        version = tf.sysconfig.get_build_info().get("cuda_version", "")
        return f"{self._device}, {details.get('device_name', 'unknown')}, CUDA {version}"

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return instantiated(function)

    def to_target(self, array: NDArray[Any]) -> Any:
        with tf.device(self._device):
            return tf.constant(array)

    def from_target(self, value: Any) -> NDArray[Any] | None:
        return np.asarray(value.numpy()) if isinstance(value, (tf.Tensor, tf.Variable)) else None

    def gradient_of(self, function: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
        def gradient(x: Any, upstream: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                result = function(x)
            given = None if upstream is None else tf.cast(upstream, result.dtype)
            return tape.gradient(result, x, output_gradients=given)

        return gradient
