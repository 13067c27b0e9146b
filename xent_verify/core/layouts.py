"""Memory layouts (``model.LAYOUTS``): views with equal values and the strides a caller's array may really have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.failures import UnknownNameError

__all__ = ["LAYOUT_MAKERS", "UNWRITABLE", "apply", "layout_of"]

Array = NDArray[Any]


def _sliced(array: Array) -> Array:
    """A window of a larger array: rows are not adjacent."""
    if not array.ndim:
        return array.copy()
    larger = np.ones(tuple(n + 3 for n in array.shape), array.dtype)
    view = larger[tuple(slice(1, n + 1) for n in array.shape)]
    view[...] = array
    return view


def _strided(array: Array) -> Array:
    """Every second element along the last axis."""
    if not array.ndim:
        return array.copy()
    larger = np.ones((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    view = larger[..., ::2]
    view[...] = array
    return view


def _negative(array: Array) -> Array:
    """A reversed view of a reversed copy: negative stride along the last axis."""
    return array[..., ::-1].copy()[..., ::-1] if array.ndim else array.copy()


def _broadcast(array: Array) -> Array:
    """Zero stride along the first axis, where the rows are equal (else a plain copy)."""
    if array.ndim < 2 or not array.shape[0] or not _rows_equal(array):
        return array.copy()
    return np.broadcast_to(array[:1].copy(), array.shape)


def _rows_equal(array: Array) -> bool:
    raw = np.ascontiguousarray(array).view(np.uint8)
    return bool((raw == raw[:1]).all())


def _readonly(array: Array) -> Array:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def _upside_down(array: Array) -> Array:
    """A reversed view of a reversed copy: negative stride along the first axis."""
    return array[::-1].copy()[::-1] if array.ndim else array.copy()


def _mixed(array: Array) -> Array:
    """The last two axes exchanged in memory, the others in their order."""
    if array.ndim < 2:
        return array.copy()
    return np.swapaxes(np.swapaxes(array, -1, -2).copy(), -1, -2)


UNWRITABLE = ("readonly", "broadcast", "one_column")
"""Views that cannot be written to, or whose elements share memory."""


def _one_column(array: Array) -> Array:
    """Zero stride along the last axis, where the values of each row are equal (else a plain copy)."""
    if not array.ndim or not array.size or not _rows_equal(np.moveaxis(array, -1, 0)):
        return array.copy()
    return np.broadcast_to(array[..., :1].copy(), array.shape)


def _misaligned(array: Array) -> Array:
    """The values begin one byte beyond an address that fits the dtype."""
    memory = np.empty(array.nbytes + 1, np.uint8)[1:]
    view = memory.view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def _byteswapped(array: Array) -> Array:
    """The other byte order: a plain copy of narrow values, and of formats that are not NumPy's own."""
    other = array.dtype.newbyteorder("S")
    swapped = array.dtype.kind in "iuf" and array.dtype.itemsize > 2 and other != array.dtype
    return array.astype(other) if swapped else array.copy()


LAYOUT_MAKERS: dict[str, Callable[[Array], Array]] = {
    "C": lambda array: np.array(array, order="C", copy=True),
    "F": lambda array: np.array(array, order="F", copy=True),
    "sliced": _sliced,
    "strided": _strided,
    "negative": _negative,
    "broadcast": _broadcast,
    "readonly": _readonly,
    "upside_down": _upside_down,
    "mixed": _mixed,
    "one_column": _one_column,
    "misaligned": _misaligned,
    "byteswapped": _byteswapped,
}


def apply(array: Array, layout: str) -> Array:
    """A fresh array (never sharing memory with ``array``) of equal values in that layout."""
    if layout not in LAYOUT_MAKERS:
        raise UnknownNameError("layout", layout, LAYOUT_MAKERS)
    return LAYOUT_MAKERS[layout](array)


def layout_of(array: Array) -> str:
    """The layout that an array has; whether it may be written to is not looked at.

    >>> layout_of(np.zeros((2, 3)).T)
    'F'
    """
    if not array.dtype.isnative:
        return "byteswapped"
    if not array.flags.aligned:
        return "misaligned"
    if array.flags.c_contiguous:
        return "C"
    views = ("F", "broadcast", "one_column", "negative", "upside_down", "mixed", "strided")
    return next((name for name in views if apply(array, name).strides == array.strides), "sliced")
