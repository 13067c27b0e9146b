"""NumPy arrays (ml_dtypes for bfloat16 and float8), as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.candidates.classes import instantiated
from xent_verify.core.failures import UsageError

__all__ = ["Arrays"]


class Arrays:
    """NumPy itself, and whatever comes back as something that converts through ``__array__`` or DLPack."""

    def __init__(self, argument: str = "", device: str = "cpu") -> None:  # noqa: ARG002  every adapter's signature
        if device != "cpu":
            raise UsageError(
                f"device {device!r}: NumPy has no devices; arrays of torch, jax, tensorflow or CuPy have (--arrays)"
            )

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return instantiated(function)

    def to_target(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def from_target(self, value: Any) -> NDArray[Any] | None:
        if isinstance(value, (np.ndarray, np.generic)):
            return np.asarray(value)
        if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
            return np.asarray(value)
        return np.from_dlpack(value) if hasattr(value, "__dlpack__") else None

    def gradient_of(self, _function: Callable[[Any], Any]) -> None:
        return None
