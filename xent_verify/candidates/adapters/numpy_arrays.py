"""NumPy arrays (ml_dtypes for bfloat16 and float8), as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAME = "numpy"
gradient_of = None


def prepare(function: Callable[..., Any], _device: str) -> Callable[..., Any]:
    """Nothing to prepare."""
    return function


def to_target(array: NDArray[Any], _device: str) -> NDArray[Any]:
    """The array itself."""
    return array


def from_target(value: Any) -> NDArray[Any] | None:
    """Arrays and NumPy scalars; anything with ``__array__`` (pandas, array-api namespaces) through it."""
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        return np.asarray(value)
    if hasattr(value, "__dlpack__"):
        return np.from_dlpack(value)
    return None
