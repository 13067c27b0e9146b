"""Caps and penalties of cross entropy: another function than tanh, another logsumexp, rows that should not count."""

from __future__ import annotations

from typing import Any

import numpy as np

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import loss_on
from xent_verify.implementations.penalized import Penalized, tanh_cap
from xent_verify.implementations.rows import Array
from xent_verify.implementations.stable import dot_with_log_probabilities, log_sums

__all__ = ["FAULTS"]

CATEGORY = "capped"
_FORM = dot_with_log_probabilities()


def exponential_cap(rows: Array, cap: Any) -> Array:
    """tanh as (e - 1) / (e + 1), e = exp(2 x / c): inf/inf from x = 44 c on in float32."""
    e = np.exp(2 * rows / cap)
    return np.asarray(cap * ((e - 1) / (e + 1)))


def clipped(rows: Array, cap: Any) -> Array:
    """Logits clipped to [-c, c]."""
    return np.clip(rows, -cap, cap)


def unscaled_cap(rows: Array, cap: Any) -> Array:
    """c tanh(x)."""
    return np.asarray(cap * np.tanh(rows))


def plain_sums(rows: Array, capped: Array) -> Array:
    """The logsumexp of the logits before the cap."""
    del capped
    return log_sums(rows)


def base_2_sums(rows: Array, capped: Array) -> Array:
    """The logarithm to base 2."""
    del rows
    return np.asarray(log_sums(capped) / np.log(2.0))


def sums_without_maximum(rows: Array, capped: Array) -> Array:
    """The logarithm of the shifted sum, its maximum not added."""
    del rows
    return np.asarray(np.log(np.exp(capped - capped.max(axis=-1, keepdims=True)).sum(axis=-1)))


def _fault(name: str, parts: Penalized, where: str, cause: str, **options: Any) -> Fault:
    trigger = loss_on([[1.0, 90.0, -2.0, 60.0]] * 2, [0, -100], **options)
    return Fault(name, "cross_entropy", parts.call, CATEGORY, where, cause, trigger)


FAULTS: tuple[Fault, ...] = (
    _fault("cap-by-exp", Penalized(_FORM, exponential_cap), "a cap below a 44th of a logit", "overflow in tanh", softcap=0.125),
    _fault("cap-clipped", Penalized(_FORM, clipped), "a cap", "logits clipped", softcap=30.0),
    _fault("cap-not-divided", Penalized(_FORM, unscaled_cap), "a cap", "tanh of undivided logits", softcap=30.0),
    _fault("penalty-before-cap", Penalized(_FORM, tanh_cap, plain_sums), "a cap and a z-loss", "logsumexp before the cap",
           softcap=2.0, lse_square_scale=0.5),
    _fault("penalty-in-base-2", Penalized(_FORM, sums=base_2_sums), "a z-loss", "logsumexp in base 2", lse_square_scale=0.5),
    _fault("penalty-of-shifted", Penalized(_FORM, sums=sums_without_maximum), "a z-loss", "maximum left out",
           lse_square_scale=0.5),
    _fault("penalty-of-ignored", Penalized(_FORM, live=False), "a z-loss and an ignored label", "ignored rows count",
           lse_square_scale=0.5),
)  # fmt: skip
