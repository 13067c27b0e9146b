"""How a function of rows becomes a function of arrays: any axis, any layout, any format.

A *row kernel* sees a C-contiguous matrix [R, n] (n >= 1) in the working precision: float64 for float64, float32 for
everything narrower. ``row_map`` and ``row_reduction`` give it the contract's signature ``f(x, axis=-1)``. The
decorated functions keep their own name and docstring but not the kernel's signature, which is not theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = [
    "ALL_FORMATS",
    "FLOAT8",
    "Array",
    "AxisCall",
    "as_rows",
    "from_rows",
    "named_after",
    "row_map",
    "row_reduction",
    "typed_row_map",
    "typed_row_reduction",
    "working_dtype",
]

Array = NDArray[Any]
RowKernel = Callable[[Array], Array]
TypedRowKernel = Callable[[Array, "np.dtype[Any]"], Array]

FLOAT8 = ("float8_e4m3fn", "float8_e5m2")
ALL_FORMATS = ("float64", "float32", "float16", "bfloat16", *FLOAT8)


Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def named_after(body: Callable[..., Any], call: Decorated) -> Decorated:
    """``call`` with the name, module and docstring of ``body``.

    Not ``functools.wraps``: its ``__wrapped__`` would make ``inspect.signature`` report the body's signature.
    """
    for attribute in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(call, attribute, getattr(body, attribute))
    return call


class AxisCall(Protocol):
    """``f(x, axis=-1)``: the signature of softmax, log_softmax and logsumexp."""

    def __call__(self, x: ArrayLike, axis: int = -1) -> Array: ...


def working_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """float64 for float64 (in either byte order), float32 for every narrower format."""
    double = np.dtype(dtype).newbyteorder("=") == np.float64  # in either byte order
    return np.dtype(np.float64 if double else np.float32)


def as_rows(x: Array, axis: int, dtype: DTypeLike | None = None) -> Array:
    """A fresh C-contiguous matrix [R, n] with ``axis`` last, in the working precision (or ``dtype``)."""
    moved = np.moveaxis(x, axis, -1)
    wide = np.array(moved, dtype=dtype or working_dtype(x.dtype), order="C", copy=True)
    return wide.reshape(int(np.prod(moved.shape[:-1], dtype=np.int64)), moved.shape[-1])


def from_rows(rows: Array, like: Array, axis: int) -> Array:
    """The matrix [R, n] back in the shape and format of ``like``, C-contiguous."""
    moved = rows.reshape(np.moveaxis(like, axis, -1).shape)
    return np.ascontiguousarray(np.moveaxis(moved, -1, axis)).astype(like.dtype)


def typed_row_map(kernel: TypedRowKernel) -> AxisCall:
    """[R, n] and the input's dtype -> [R, n]: a function that keeps the shape. Empty input gives an empty result."""

    def call(x: ArrayLike, axis: int = -1) -> Array:
        given = np.asarray(x)
        if given.size == 0:
            return np.empty(given.shape, given.dtype)
        with np.errstate(all="ignore"):
            return from_rows(kernel(as_rows(given, axis), given.dtype), given, axis)

    return named_after(kernel, call)


def typed_row_reduction(kernel: TypedRowKernel) -> AxisCall:
    """[R, n] and the input's dtype -> [R]: a function that removes the axis. An empty row gives -inf."""

    def call(x: ArrayLike, axis: int = -1) -> Array:
        given = np.asarray(x)
        shape = np.moveaxis(given, axis, -1).shape[:-1]
        with np.errstate(all="ignore"):
            if given.size == 0:
                return np.full(shape, -np.inf).astype(given.dtype)[()]
            return kernel(as_rows(given, axis), given.dtype).reshape(shape).astype(given.dtype)[()]

    return named_after(kernel, call)


def row_map(kernel: RowKernel) -> AxisCall:
    """As ``typed_row_map``, for a kernel that need not know the input's dtype."""
    return named_after(kernel, typed_row_map(lambda rows, _: kernel(rows)))


def row_reduction(kernel: RowKernel) -> AxisCall:
    """As ``typed_row_reduction``, for a kernel that need not know the input's dtype."""
    return named_after(kernel, typed_row_reduction(lambda rows, _: kernel(rows)))
