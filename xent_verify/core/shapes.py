"""What NumPy has, too (``broadcast_to``, ``clip``, ``isin``), without the time that it takes there for small arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["among", "clipped", "full"]


def full(array: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """An array that broadcasts to a shape, in that shape; it is not to be written to.

    Args:
        array: An array or a number.
        shape: The shape.

    Returns:
        The array itself where it has the shape, else a view of it.

    Raises:
        ValueError: It does not broadcast to the shape.
    """
    if isinstance(array, np.ndarray):
        if array.shape == shape:
            return array
        if not array.shape and array.dtype.kind in "fb":
            return np.ndarray(shape, array.dtype, array, strides=(0,) * len(shape))
    return np.broadcast_to(array, shape)


def clipped(array: Any, low: float, high: float) -> NDArray[Any]:
    """An array, no element of which lies outside of two bounds; NaN stays."""
    return np.asarray(np.minimum(np.maximum(array, low), high))


def among(codes: NDArray[Any], wanted: Any) -> NDArray[np.bool_]:
    """True where a code, a number from 0 to 255, is one of those wanted."""
    table = np.zeros(256, np.bool_)
    table[wanted] = True
    return np.asarray(table[codes])
