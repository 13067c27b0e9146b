"""Arrays in a given shape, without the time that NumPy's ``broadcast_to`` takes for small ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["full"]


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
