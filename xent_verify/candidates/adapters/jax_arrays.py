"""JAX arrays, with 64-bit types switched on (a float64 target would silently be float32 otherwise)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

NAME = "jax"

jax.config.update("jax_enable_x64", True)


def prepare(function: Callable[..., Any], _device: str) -> Callable[..., Any]:
    """Nothing to prepare."""
    return function


def to_target(array: NDArray[Any], _device: str) -> Any:
    """A device array of the same dtype."""
    return jnp.asarray(array)


def from_target(value: Any) -> NDArray[Any] | None:
    """The array's values as NumPy (ml_dtypes for the narrow types)."""
    return np.asarray(value) if isinstance(value, jax.Array) else None


def gradient_of(loss: Callable[..., Any], _device: str) -> Callable[..., Any]:
    """The gradient of the per-sample loss, by ``jax.grad``."""

    def gradient(logits: Any, target: Any, **options: Any) -> Any:
        return jax.grad(lambda x: loss(x, target, **options).sum())(logits)

    return gradient
