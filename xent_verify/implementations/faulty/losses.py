"""The divergence of given log-probabilities, the focal loss: what goes wrong in them alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.entries import Arguments, Fault
from xent_verify.implementations.faulty.triggers import NARROW, WIDE, Trigger, in_format
from xent_verify.implementations.losses import (
    as_divergence,
    as_focal,
    focal_stable,
    kl_divergence_log_stable,
    sigmoid,
    terms,
)
from xent_verify.implementations.rows import Array

__all__ = ["FAULTS"]

CATEGORY = "losses"


@as_divergence
def masked_in_both(own: Array, other: Array, _: np.dtype[Any]) -> Array:
    """Unguarded: a class that neither has is 0·(-inf - (-inf)) (optax)."""
    return np.asarray((np.exp(own) * (own - other)).sum(axis=-1))


@as_divergence
def nan_is_zero(own: Array, other: Array, _: np.dtype[Any]) -> Array:
    """0·(-inf) is repaired by replacing NaN with 0, and with it a NaN among the inputs (TRL)."""
    each = np.exp(own) * (own - other)
    return np.asarray(np.where(np.isnan(each), 0, each).sum(axis=-1))


@as_divergence
def floored(own: Array, other: Array, _: np.dtype[Any]) -> Array:
    """Log-probabilities are not below -100."""
    return np.asarray(
        terms(np.where(np.isneginf(own), own, np.maximum(own, -100)), np.maximum(other, -100)).sum(axis=-1)
    )


@as_divergence
def small_dropped(own: Array, other: Array, _: np.dtype[Any]) -> Array:
    """Classes with a probability below 1e-7 are left out: a long tail of them is not small."""
    return np.asarray(np.where(np.exp(own) < 1e-7, 0, terms(own, other)).sum(axis=-1))


@as_divergence
def narrow_sum(own: Array, other: Array, dtype: np.dtype[Any]) -> Array:
    """The terms are added one by one in the format of the inputs: the sum stalls."""
    return np.asarray(np.add.accumulate(terms(own, other).astype(dtype), axis=-1, dtype=dtype)[:, -1])


def one_order(log_p: ArrayLike, log_q: ArrayLike, *, reverse: bool = False, axis: int = -1) -> Array:  # noqa: ARG001
    """The order of the distributions is always the first one's."""
    return kl_divergence_log_stable(log_p, log_q, axis=axis)


def _of_probabilities(p: Array, y: Array, gamma: Any, alpha: Any) -> Array:
    miss = p.dtype.type(1) - p
    loss = -(y * np.log(p) + (1 - y) * np.log(miss)) * (y * miss + (1 - y) * p) ** gamma
    return np.asarray(loss if alpha is None else (alpha * y + (1 - alpha) * (1 - y)) * loss)


@as_focal
def clamped_p(x: Array, y: Array, gamma: Any, alpha: Any) -> Array:
    """p is kept in [1e-6, 1 - 1e-6] (GLiNER2): losses end at 13.8."""
    return _of_probabilities(np.clip(sigmoid(x), 1e-6, 1 - 1e-6).astype(x.dtype), y, gamma, alpha)


@as_focal
def zero_times_log_zero(x: Array, y: Array, gamma: Any, alpha: Any) -> Array:
    """y log p of a computed p, unguarded: 0·(-inf) once p underflows or rounds to 1."""
    return _of_probabilities(sigmoid(x), y, gamma, alpha)


@as_focal
def balance_of_one_class(x: Array, y: Array, gamma: Any, alpha: Any) -> Array:
    """alpha is the weight of both classes."""
    loss = np.asarray(_plain(x, y, gamma))
    return loss if alpha is None else alpha * loss


@as_focal
def whole_powers(x: Array, y: Array, gamma: Any, alpha: Any) -> Array:
    """gamma is rounded to a whole number, for repeated multiplication."""
    loss = np.asarray(_plain(x, y, np.rint(gamma)))
    return loss if alpha is None else (alpha * y + (1 - alpha) * (1 - y)) * loss


def _plain(x: Array, y: Array, gamma: Any) -> Array:
    return np.asarray(focal_stable(x, y, gamma=gamma, reduction="none"))


@as_focal
def overflows(x: Array, y: Array, gamma: Any, alpha: Any) -> Array:
    """softplus as log1p(exp(x)): infinite beyond the overflow edge of exp."""
    wrong = y * sigmoid(-x) + (1 - y) * sigmoid(x)
    loss = (y * np.log1p(np.exp(-x)) + (1 - y) * np.log1p(np.exp(x))) * wrong**gamma
    return np.asarray(loss if alpha is None else (alpha * y + (1 - alpha) * (1 - y)) * loss)


def _pair(p: ArrayLike, q: ArrayLike, **options: Any) -> Trigger:
    def trigger(fmt: str) -> Arguments:
        return (in_format(p, fmt), in_format(q, fmt)), options

    return trigger


_BF16 = (*WIDE, "bfloat16")

FAULTS: tuple[Fault, ...] = (
    Fault("masked-in-both", "kl_divergence_log", masked_in_both, CATEGORY,
          "a class masked in both", "0·(-inf - (-inf))", _pair([[-0.5, -1.0, -np.inf]], [[-1.0, -0.5, -np.inf]])),
    Fault("nan-is-zero", "kl_divergence_log", nan_is_zero, CATEGORY,
          "a NaN among the inputs", "NaN replaced by 0", _pair([[-0.5, np.nan]], [[-1.0, -0.5]])),
    Fault("floored", "kl_divergence_log", floored, CATEGORY,
          "log-probabilities below -100", "inputs floored", _pair([[-0.5, -1.0]], [[-200.0, -0.5]])),
    Fault("small-dropped", "kl_divergence_log", small_dropped, CATEGORY,
          "a long tail of small probabilities", "small terms left out",
          _pair([[-0.5] + [-17.0] * 1000], [[-0.5] + [-30.0] * 1000]), _BF16),
    Fault("narrow-sum", "kl_divergence_log", narrow_sum, CATEGORY,
          "long rows", "narrow accumulator", _pair([[-8.0] * 4096], [[-9.0] * 4096]), NARROW),
    Fault("one-order", "kl_divergence_log", one_order, CATEGORY,
          "the other order asked for", "reverse is ignored", _pair([[-0.5, -1.0]], [[-2.0, -0.25]], reverse=True)),
    Fault("clamped-p", "focal", clamped_p, CATEGORY,
          "logits beyond 14", "clamped probability", _pair([[-30.0]], [[1.0]]), _BF16),
    Fault("zero-times-log-zero", "focal", zero_times_log_zero, CATEGORY,
          "p is 0 or 1", "0·log 0", _pair([[200.0]], [[1.0]])),
    Fault("balance-of-one-class", "focal", balance_of_one_class, CATEGORY,
          "a balance of the classes", "alpha for both classes", _pair([[1.0, -1.0]], [[0.0, 1.0]], alpha=0.25)),
    Fault("whole-powers", "focal", whole_powers, CATEGORY,
          "a power that is no whole number", "gamma rounded", _pair([[1.0]], [[0.0]], gamma=1.5)),
    Fault("overflows", "focal", overflows, CATEGORY,
          "logits beyond the overflow edge of exp", "no shift", _pair([[800.0]], [[0.0]])),
)  # fmt: skip
