"""Targets for the tests: sound ones, faulty ones, and hostile ones, as a stranger's module would hold them."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

NOT_CALLABLE = 3
_calls = 0
_buffer: dict[tuple[int, ...], np.ndarray] = {}


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """A sound softmax of someone else's."""
    if x.shape[axis] == 0:
        return np.empty_like(x)
    wide = x.astype(np.float32) if x.dtype.itemsize < 4 else x
    e = np.exp(wide - wide.max(axis=axis, keepdims=True))
    return (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype)


def softmax_of_a_row(x: np.ndarray) -> np.ndarray:
    """Ten lines of a colleague's: one row, no axis."""
    e = np.exp(x - x.max())
    return e / e.sum()


def softmax_dim(x: np.ndarray, dim: int = 0) -> np.ndarray:
    """Another name for the axis, another default."""
    return softmax(x, dim)


def cross_entropy_plain(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Part of the signature: index targets and a mean, nothing else."""
    wide = logits.astype(np.float64)
    d = wide - wide.max(axis=1, keepdims=True)
    loss = np.log(np.exp(d).sum(axis=1)) - d[np.arange(len(d)), target.astype(np.int64)]
    return np.asarray(loss.mean()).astype(logits.dtype)[()]


def nondeterministic(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Another answer at every call."""
    global _calls
    _calls += 1
    return softmax(x, axis) * x.dtype.type(1 + 1e-3 * (_calls % 3))


def remembers(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """The answer depends on the call before."""
    global _calls
    bias = 1e-2 * _calls
    _calls = int(abs(float(np.nan_to_num(x.astype(np.float64).ravel()[:1].sum()))) > 0) if x.size else 0
    return (softmax(x, axis).astype(np.float64) + bias).astype(x.dtype)


def batch_wide(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """One maximum for the whole batch."""
    if not x.size:
        return np.empty_like(x)
    e = np.exp(x - x.max())
    return e / e.sum(axis=axis, keepdims=True)


def reads_storage(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Takes a transposed array for a C-ordered one."""
    if x.ndim > 1 and not x.flags.c_contiguous and x.flags.f_contiguous:
        x = x.ravel(order="K").reshape(x.shape)
    return softmax(x, axis)


def raises(x: np.ndarray, axis: int = -1) -> np.ndarray:
    raise RuntimeError("no")


def exits(x: np.ndarray, axis: int = -1) -> np.ndarray:
    sys.exit(0)


def aborts(x: np.ndarray, axis: int = -1) -> np.ndarray:
    os.abort()


def prints(x: np.ndarray, axis: int = -1) -> np.ndarray:
    print("hello from the target")
    os.write(1, b"and from below\n")
    return softmax(x, axis)


def writes_to_its_input(x: np.ndarray, axis: int = -1) -> np.ndarray:
    x -= x.max(axis=axis, keepdims=True, initial=-np.inf)
    return softmax(x, axis)


def shares_a_buffer(x: np.ndarray, axis: int = -1) -> np.ndarray:
    out = _buffer.setdefault(x.shape, np.empty_like(x))
    out[...] = softmax(x, axis)
    return out


def returns_none(x: np.ndarray, axis: int = -1) -> Any:
    return None


def returns_wrong_shape(x: np.ndarray, axis: int = -1) -> Any:
    return softmax(x, axis)[..., :1]


def returns_wrong_dtype(x: np.ndarray, axis: int = -1) -> Any:
    return softmax(x.astype(np.float64), axis)
