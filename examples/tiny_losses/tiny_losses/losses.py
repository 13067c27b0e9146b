"""Softmax, its logarithm and cross entropy with NumPy, each with the maximum subtracted first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def softmax(x: Floats, axis: int = -1) -> Floats:
    """exp(x) / sum exp(x), without overflow."""
    if x.shape[axis] == 0:
        return np.empty_like(x)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def log_softmax(x: Floats, axis: int = -1) -> Floats:
    """x - log sum exp(x), without overflow and without the logarithm of 0."""
    if x.shape[axis] == 0:
        return np.empty_like(x)
    d = x - x.max(axis=axis, keepdims=True)
    return d - np.log(np.exp(d).sum(axis=axis, keepdims=True))


def cross_entropy(logits: Floats, target: NDArray[np.integer[Any]], *, reduction: str = "mean") -> Any:
    """-log softmax(logits) at the index ``target`` of every row: their mean, their sum, or all of them ("none")."""
    losses = -log_softmax(logits)[np.arange(len(logits)), target]
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.mean()
