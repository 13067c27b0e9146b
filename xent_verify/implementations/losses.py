"""The divergence of given log-probabilities, the focal loss.

Same dtype out; formats below float32 are computed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.rows import Array, as_rows, named_after, working_dtype
from xent_verify.implementations.targets import reduce_losses

__all__ = [
    "DivergenceCall",
    "FocalCall",
    "as_divergence",
    "as_focal",
    "focal_logarithms",
    "focal_naive",
    "focal_stable",
    "focal_wide",
    "kl_divergence_log_chunked",
    "kl_divergence_log_naive",
    "kl_divergence_log_stable",
    "kl_divergence_log_wide",
    "sigmoid",
    "softplus",
    "terms",
]

_CHUNK = 256


class DivergenceCall(Protocol):
    """``f(log_p, log_q, *, reverse=False, axis=-1)``."""

    def __call__(self, log_p: ArrayLike, log_q: ArrayLike, *, reverse: bool = False, axis: int = -1) -> Array: ...


DivergenceKernel = Callable[[Array, Array, "np.dtype[np.generic]"], Array]
"""Log-probabilities [R, n] twice in the working precision, those that weigh first, and the input's dtype -> [R]."""


def as_divergence(kernel: DivergenceKernel) -> DivergenceCall:
    """The kernel with the operation's signature."""

    def call(log_p: ArrayLike, log_q: ArrayLike, *, reverse: bool = False, axis: int = -1) -> Array:
        given = np.asarray(log_p)
        shape = np.moveaxis(given, axis, -1).shape[:-1]
        with np.errstate(all="ignore"):
            if given.size == 0:
                return np.zeros(shape, given.dtype)[()]
            pair = [as_rows(np.asarray(rows), axis, working_dtype(given.dtype)) for rows in (log_p, log_q)]
            own, other = pair[::-1] if reverse else pair
            return np.asarray(kernel(own, other, given.dtype)).reshape(shape).astype(given.dtype)[()]

    return named_after(kernel, call)


def terms(own: Array, other: Array) -> Array:
    """p (log p - log q), 0 where p is 0."""
    return np.where(np.isneginf(own), 0, np.exp(own) * (own - other))


@as_divergence
def kl_divergence_log_stable(own: Array, other: Array, _: np.dtype[np.generic]) -> Array:
    """Σ p·(log p - log q); a class without probability contributes 0."""
    return np.asarray(terms(own, other).sum(axis=-1))


@as_divergence
def kl_divergence_log_chunked(own: Array, other: Array, _: np.dtype[np.generic]) -> Array:
    """The same in chunks of 256 classes."""
    parts = [terms(own[:, k : k + _CHUNK], other[:, k : k + _CHUNK]) for k in range(0, own.shape[-1], _CHUNK)]
    return np.asarray(sum(part.sum(axis=-1) for part in parts))


@as_divergence
def kl_divergence_log_wide(own: Array, other: Array, _: np.dtype[np.generic]) -> Array:
    """The same in float64, rounded at the end."""
    return np.asarray(terms(own.astype(np.float64), other.astype(np.float64)).sum(axis=-1))


@as_divergence
def kl_divergence_log_naive(own: Array, other: Array, _: np.dtype[np.generic]) -> Array:
    """Σ p·log(p / q) of the probabilities: what underflows is 0·log 0 or p / 0."""
    p, q = np.exp(own), np.exp(other)
    return np.asarray((p * np.log(p / q)).sum(axis=-1))


class FocalCall(Protocol):
    """``f(logits, target, *, gamma=2.0, alpha=None, reduction="mean")``."""

    def __call__(
        self,
        logits: ArrayLike,
        target: ArrayLike,
        *,
        gamma: float = 2.0,
        alpha: float | None = None,
        reduction: str = "mean",
    ) -> Array: ...


FocalKernel = Callable[[Array, Array, Any, Any], Array]
"""Logits and targets in the working precision, gamma, alpha (None: none) -> losses of that shape."""


def as_focal(kernel: FocalKernel) -> FocalCall:
    """The kernel with the operation's signature."""

    def call(
        logits: ArrayLike,
        target: ArrayLike,
        *,
        gamma: float = 2.0,
        alpha: float | None = None,
        reduction: str = "mean",
    ) -> Array:
        given = np.asarray(logits)
        number = working_dtype(given.dtype)
        with np.errstate(all="ignore"):
            balance = None if alpha is None else number.type(alpha)
            losses = kernel(given.astype(number), np.asarray(target).astype(number), number.type(gamma), balance)
            found = reduce_losses(losses, np.ones(losses.shape, losses.dtype), reduction)
            return np.asarray(found).astype(given.dtype)[()]

    return named_after(kernel, call)


def softplus(x: Array) -> Array:
    """log(1 + exp(x))."""
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    decayed = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, decayed) / (1 + decayed))


def _weighed(weight: Array, value: Array) -> Array:
    return np.where((weight == 0) & ~np.isnan(value), 0, weight * value)


def _focal(x: Array, y: Array, gamma: Any, alpha: Any, power: Callable[[Array, Any], Array]) -> Array:
    loss = _weighed(y, softplus(-x)) + _weighed(1 - y, softplus(x))
    loss = _weighed(power(y * sigmoid(-x) + (1 - y) * sigmoid(x), gamma), loss)
    return loss if alpha is None else _weighed(alpha * y + (1 - alpha) * (1 - y), loss)


@as_focal
def focal_stable(x: Array, y: Array, gamma: Any, alpha: Any) -> Array:
    """The power of a sum of two sigmoids: no difference of numbers near 1."""
    return _focal(x, y, gamma, alpha, np.power)


@as_focal
def focal_logarithms(x: Array, y: Array, gamma: Any, alpha: Any) -> Array:
    """The same; the power is exp(gamma log s)."""
    return _focal(x, y, gamma, alpha, lambda s, gamma: np.asarray(np.exp(gamma * np.log(s))))


@as_focal
def focal_wide(x: Array, y: Array, gamma: Any, alpha: Any) -> Array:
    """The same in float64, rounded at the end."""
    wide = None if alpha is None else np.float64(alpha)
    return _focal(x.astype(np.float64), y.astype(np.float64), np.float64(gamma), wide, np.power)


@as_focal
def focal_naive(x: Array, y: Array, gamma: Any, alpha: Any) -> Array:
    """torchvision's: 1 - p_t of a computed p_t loses the losses of examples that are clearly right."""
    p = sigmoid(x)
    hit = p * y + (1 - p) * (1 - y)
    loss = (softplus(x) - x * y) * (1 - hit) ** gamma
    return np.asarray(loss if alpha is None else (alpha * y + (1 - alpha) * (1 - y)) * loss)
