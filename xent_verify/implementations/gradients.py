"""The gradient of each row's loss with respect to its logits: p - onehot, or p·Σy - y for probability targets.

``f(logits, target)``: logits [N, C], target int [N] or probabilities [N, C] -> [N, C] in the logits' dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations import normalisers
from xent_verify.implementations.naive import naive_probabilities
from xent_verify.implementations.rows import Array, named_after
from xent_verify.implementations.stable import defined, probabilities
from xent_verify.implementations.targets import Task, labels

__all__ = [
    "GradientCall",
    "as_gradient",
    "gradient_naive",
    "gradient_others",
    "gradient_stable",
    "gradient_wide",
    "minus_target",
]


class GradientCall(Protocol):
    """The contract's signature of ``cross_entropy_grad``."""

    def __call__(self, logits: ArrayLike, target: ArrayLike) -> Array: ...


def as_gradient(body: Callable[[Task], Array]) -> GradientCall:
    """The contract's signature for a function of a ``Task``; the result in the logits' dtype."""

    def call(logits: ArrayLike, target: ArrayLike) -> Array:
        task = Task(np.asarray(logits), np.asarray(target))
        with np.errstate(all="ignore"):
            return body(task).astype(task.logits.dtype)

    return named_after(body, call)


def minus_target(p: Array, task: Task) -> Array:
    """p - onehot, or p·Σy - y."""
    if task.soft:
        y = task.target.astype(p.dtype)
        return np.asarray(p * y.sum(axis=-1, keepdims=True) - y)
    ids, _ = labels(task)
    gradient = p.copy()
    gradient[np.arange(len(ids)), ids] -= p.dtype.type(1)
    return gradient


@as_gradient
def gradient_naive(task: Task) -> Array:
    """Unshifted softmax minus the target, in the logits' own format.

    NaN above the overflow edge of exp and 0/0 when all logits are below the underflow edge.
    """
    return minus_target(naive_probabilities(task.logits), task)


@as_gradient
def gradient_stable(task: Task) -> Array:
    """Shifted softmax minus the target. At the target p - 1: one rounding of absolute error, 0 when p rounds to 1."""
    return minus_target(probabilities(task.rows), task)


@as_gradient
def gradient_others(task: Task) -> Array:
    """At an integer target -Σ of the other probabilities: relative accuracy also where p is almost 1."""
    if task.soft:
        return minus_target(probabilities(task.rows), task)
    ids, _ = labels(task)
    rows, each = task.rows, np.arange(len(ids))
    reference, total, _ = defined(rows, normalisers.shifted)
    terms = np.exp(rows - reference)
    p = np.asarray(terms / total)
    terms[each, ids] = 0
    p[each, ids] = -(terms.sum(axis=-1) / total[:, 0])
    return p


@as_gradient
def gradient_wide(task: Task) -> Array:
    """Shifted softmax minus the target in float64, rounded at the end."""
    return minus_target(probabilities(task.rows.astype(np.float64)), task)
