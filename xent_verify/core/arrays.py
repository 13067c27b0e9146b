"""Any library's array of numbers as NumPy's, with the same bits; no library is imported for it."""

from __future__ import annotations

import functools
import sys
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

__all__ = ["as_numpy", "dtype_name"]

_AS_BITS = {
    "bfloat16": ("int16", ml_dtypes.bfloat16),
    "float8_e4m3fn": ("uint8", ml_dtypes.float8_e4m3fn),
    "float8_e5m2": ("uint8", ml_dtypes.float8_e5m2),
}
"""Formats of torch that its ``numpy()`` does not know: the integers of that width, and NumPy's name for the format."""


@functools.lru_cache(maxsize=256)
def dtype_name(dtype: np.dtype[Any]) -> str:
    """``dtype.name``, which NumPy puts together anew each time it is asked: calls of a sweep ask thousands of times."""
    return dtype.name


def as_numpy(value: Any) -> NDArray[Any] | None:
    """The array on the CPU, sharing memory where it lies there; None for what is no array.

    NumPy, torch (any format, on any device), CuPy, and whatever has ``__array__`` (JAX, TensorFlow) or ``__dlpack__``.
    """
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    root = type(value).__module__.partition(".")[0]
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _of_torch(value, torch)
    if root == "cupy":
        return np.asarray(value.get())
    if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        return np.asarray(value)
    return np.from_dlpack(value) if hasattr(value, "__dlpack__") else None


def _of_torch(value: Any, torch: Any) -> NDArray[Any]:
    tensor = value.detach().resolve_conj().resolve_neg().cpu()
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in _AS_BITS:
        return np.asarray(tensor.numpy())
    bits, dtype = _AS_BITS[name]
    return np.asarray(tensor.view(getattr(torch, bits)).numpy().view(dtype))
