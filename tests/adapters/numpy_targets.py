"""The targets of the conformance check, for NumPy."""

import numpy as np


def copy(x):
    return np.array(x)


def softmax(x, axis=-1):
    wide = x.astype(np.float64)
    e = np.exp(wide - wide.max(axis=axis, keepdims=True))
    return (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype)


def write(x):
    x += x.dtype.type(1)
    return np.array(x)


def refuse(x):
    raise ValueError("refused")
