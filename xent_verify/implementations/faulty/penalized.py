"""Caps and penalties of cross entropy: another function than tanh, another logsumexp, rows that should not count."""

from __future__ import annotations

from typing import Any

import numpy as np

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import loss_on
from xent_verify.implementations.penalized import Penalized
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


def _fault(name: str, about: str, where: str, cause: str, options: dict[str, float], **parts: Any) -> Fault:
    trigger = loss_on([[1.0, 90.0, -2.0, 60.0]] * 2, [0, -100], **options)
    return Fault(name, "cross_entropy", Penalized(about, _FORM, **parts).call, CATEGORY, where, cause, trigger)


_Z = {"lse_square_scale": 0.5}

FAULTS: tuple[Fault, ...] = (
    _fault("cap-by-exp", "tanh is (e - 1) / (e + 1), which is inf/inf.", "a cap below a 44th of a logit", "overflow in tanh",
           {"softcap": 0.125}, cap=exponential_cap),
    _fault("cap-clipped", "Logits are clipped.", "a cap", "logits clipped", {"softcap": 30.0}, cap=clipped),
    _fault("cap-not-divided", "Logits are not divided by the cap.", "a cap", "tanh of undivided logits", {"softcap": 30.0},
           cap=unscaled_cap),
    _fault("penalty-before-cap", "The logsumexp is that of the logits before the cap.", "a cap and a z-loss",
           "logsumexp before the cap", {"softcap": 2.0, **_Z}, sums=plain_sums),
    _fault("penalty-in-base-2", "The logsumexp is taken to base 2.", "a z-loss", "logsumexp in base 2", _Z, sums=base_2_sums),
    _fault("penalty-of-shifted", "The maximum is not added to the logarithm of the sum.", "a z-loss", "maximum left out", _Z,
           sums=sums_without_maximum),
    _fault("penalty-of-ignored", "The penalty of ignored rows counts.", "a z-loss and an ignored label", "ignored rows count", _Z,
           live=False),
)  # fmt: skip
