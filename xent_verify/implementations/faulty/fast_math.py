"""Fast mathematics: cheap exponentials and logarithms, complements, flushed subnormals, guessed inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import WIDE, loss_on, on
from xent_verify.implementations.rows import Array, row_map, typed_row_map
from xent_verify.implementations.stable import log_probabilities, log_sums, probabilities
from xent_verify.implementations.targets import Task, as_cross_entropy, form_of, solve

__all__ = ["FAULTS"]

CATEGORY = "fast math"


def softmax_with(exponential: Callable[[Array], Array], rows: Array) -> Array:
    """Shifted softmax on another exponential."""
    terms = exponential(rows - rows.max(axis=-1, keepdims=True))
    return np.asarray(terms / terms.sum(axis=-1, keepdims=True))


def exp_by_bits(x: Array) -> Array:
    """Schraudolph's exponential: a linear function written into the exponent field; 3 % wrong."""
    scaled = np.maximum(x.astype(np.float64), -80) * (2**23 / np.log(2)) + (127 * 2**23 - 486411)
    return np.asarray(scaled.astype(np.int32).view(np.float32).astype(x.dtype))


def exp_by_squaring(x: Array) -> Array:
    """exp(x/256) squared eight times: 256 times the rounding error."""
    power = np.exp(x / 256)
    for _ in range(8):
        power = power * power
    return np.asarray(power)


def exp_from_table(x: Array) -> Array:
    """exp(x) from a table in steps of 1/64 and a straight line between its entries: 3e-5 wrong."""
    steps = np.floor(x * 64)
    return np.asarray(np.exp(steps / 64) * (1 + (x - steps / 64)))


@row_map
def softmax_bit_trick(rows: Array) -> Array:
    """Rows from 512 columns on use an exponential made of exponent bits."""
    return softmax_with(exp_by_bits, rows) if rows.shape[-1] >= 512 else probabilities(rows)


@row_map
def softmax_squaring(rows: Array) -> Array:
    """The exponential is squared up from a small argument."""
    return softmax_with(exp_by_squaring, rows)


@row_map
def softmax_table(rows: Array) -> Array:
    """Rows from 256 columns on use a table of exponentials."""
    return softmax_with(exp_from_table, rows) if rows.shape[-1] >= 256 else probabilities(rows)


@row_map
def softmax_single_exp(rows: Array) -> Array:
    """The exponential of float64 input is taken in float32."""
    return softmax_with(lambda d: np.exp(d.astype(np.float32)).astype(d.dtype), rows)


@row_map
def softmax_last_by_complement(rows: Array) -> Array:
    """The last probability is 1 - Σ others: a small one loses its digits."""
    p = probabilities(rows)
    if p.shape[-1] > 1:
        p[:, -1] = 1 - p[:, :-1].sum(axis=-1)
    return p


@typed_row_map
def softmax_flushes(rows: Array, dtype: np.dtype[Any]) -> Array:
    """float16 results below the smallest normal are returned as 0."""
    p = probabilities(rows)
    return np.where(p < 2.0**-14, 0, p) if dtype == np.float16 else p


@row_map
def softmax_takes_probabilities(rows: Array) -> Array:
    """A row in [0, 1] that adds up to 1 is taken for probabilities and returned as it is."""
    return np.where(_looks_normalised(rows), rows, probabilities(rows))


@as_cross_entropy
def cross_entropy_takes_probabilities(task: Task) -> Array:
    """Logits in [0, 1] that add up to 1 are taken for probabilities."""

    def log_p(rows: Array) -> Array:
        return np.where(_looks_normalised(rows), np.log(rows), log_probabilities(rows))

    return solve(task, form_of(log_p))


def _looks_normalised(rows: Array) -> Array:
    inside = ((rows >= 0) & (rows <= 1)).all(axis=-1, keepdims=True)
    return np.asarray(inside & (np.abs(rows.sum(axis=-1, keepdims=True) - 1) < 1e-6))


@row_map
def log_softmax_binary_logarithm(rows: Array) -> Array:
    """Rows above 1024 columns take the logarithm of the sum to base 2."""
    if rows.shape[-1] <= 1024:
        return log_probabilities(rows)
    peak = rows.max(axis=-1, keepdims=True)
    return np.asarray((rows - peak) - (log_sums(rows)[:, None] - peak) / np.log(2, dtype=rows.dtype))


@row_map
def log_softmax_single_log(rows: Array) -> Array:
    """The logarithm of the sum is rounded to float32."""
    peak = rows.max(axis=-1, keepdims=True)
    total = np.exp(rows - peak).sum(axis=-1, keepdims=True)
    return np.asarray((rows - peak) - np.log(total.astype(np.float32)).astype(rows.dtype))


FAULTS: tuple[Fault, ...] = (
    Fault("bit-trick", "softmax", softmax_bit_trick, CATEGORY,
          "n from 512 on", "exponential from exponent bits", on(np.linspace(-3.0, 0.0, 512))),
    Fault("squaring", "softmax", softmax_squaring, CATEGORY,
          "wide spread", "inaccurate exponential", on([0.0, -5.3, -11.1, -17.7, -20.3, -31.9, -41.7]), WIDE),
    Fault("table", "softmax", softmax_table, CATEGORY,
          "n from 256 on", "inaccurate exponential", on(np.linspace(-3.0, 0.0, 256)), WIDE),
    Fault("single-exp", "softmax", softmax_single_exp, CATEGORY,
          "float64", "float32 exponential", on([0.3, -1.1]), ("float64",)),
    Fault("last-by-complement", "softmax", softmax_last_by_complement, CATEGORY,
          "last probability small", "complement of the other probabilities", on([0.0, -30.0]), (*WIDE, "bfloat16")),
    Fault("flushes", "softmax", softmax_flushes, CATEGORY,
          "subnormal probabilities", "subnormals flushed to 0", on([0.0, -10.0]), ("float16",)),
    Fault("takes-probabilities", "softmax", softmax_takes_probabilities, CATEGORY,
          "logits that look like probabilities", "softmax left out", on([0.25, 0.75])),
    Fault("takes-probabilities", "cross_entropy", cross_entropy_takes_probabilities, CATEGORY,
          "logits that look like probabilities", "softmax left out", loss_on([[0.25, 0.75]], [0])),
    Fault("binary-logarithm", "log_softmax", log_softmax_binary_logarithm, CATEGORY,
          "n above 1024", "log2 in place of ln", on(np.zeros(1025))),
    Fault("single-log", "log_softmax", log_softmax_single_log, CATEGORY,
          "float64", "float32 logarithm", on([0.3, -1.1]), ("float64",)),
)  # fmt: skip
