"""Epsilons, floors and clipping: a guard against log 0 or 0/0 that replaces small values by another number."""

from __future__ import annotations

import numpy as np

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import WIDE, loss_on, on
from xent_verify.implementations.gradients import as_gradient, minus_target
from xent_verify.implementations.rows import Array, row_map
from xent_verify.implementations.stable import dot_with_log_probabilities, log_probabilities, probabilities
from xent_verify.implementations.targets import Task, as_cross_entropy, form_of, solve

__all__ = ["FAULTS"]

CATEGORY = "epsilon"


@as_cross_entropy
def cross_entropy_epsilon_in_log(task: Task) -> Array:
    """-log(p + 1e-30): the loss ends at 69."""
    return solve(task, form_of(lambda rows: np.log(probabilities(rows) + rows.dtype.type(1e-30))))


@as_cross_entropy
def cross_entropy_clipped(task: Task) -> Array:
    """p clipped to [1e-15, 1 - 1e-15]: the loss ends at 34.5."""
    return solve(task, form_of(lambda rows: np.log(np.clip(probabilities(rows), 1e-15, 1 - 1e-15))))


@as_cross_entropy
def cross_entropy_capped(task: Task) -> Array:
    """The loss of each class ends at 100."""
    return solve(task, form_of(lambda rows: np.maximum(log_probabilities(rows), -100)))


@as_cross_entropy
def cross_entropy_small_is_zero(task: Task) -> Array:
    """A loss below 1e-7 is returned as 0, as if it were rounding error; in float64 it is not."""

    def form(rows: Array, q: Array, halvings: int) -> Array:
        losses = dot_with_log_probabilities()(rows, q, halvings)
        return np.where(losses < 1e-7, 0, losses)

    return solve(task, form)


@row_map
def softmax_epsilon_in_denominator(rows: Array) -> Array:
    """Shifted only when the maximum is positive, with 1e-12 in the denominator: very negative rows lose their sum."""
    peak = np.maximum(rows.max(axis=-1, keepdims=True), 0)
    terms = np.exp(rows - peak)
    return np.asarray(terms / (terms.sum(axis=-1, keepdims=True) + rows.dtype.type(1e-12)))


@row_map
def softmax_small_dropped(rows: Array) -> Array:
    """Probabilities below 1e-20 are returned as 0: invisible to an absolute tolerance."""
    p = probabilities(rows)
    return np.where(p < 1e-20, 0, p)


@row_map
def log_softmax_floored(rows: Array) -> Array:
    """Values end at -100."""
    return np.maximum(log_probabilities(rows), -100)


@as_gradient
def gradient_small_dropped(task: Task) -> Array:
    """Gradients below 1e-12 are returned as 0."""
    gradient = minus_target(probabilities(task.rows), task)
    return np.where(np.abs(gradient) < 1e-12, 0, gradient)


FAULTS: tuple[Fault, ...] = (
    Fault("epsilon-in-log", "cross_entropy", cross_entropy_epsilon_in_log, CATEGORY,
          "loss above 69", "epsilon inside the log", loss_on([[0.0, 80.0]], [0])),
    Fault("clipped", "cross_entropy", cross_entropy_clipped, CATEGORY,
          "loss above 34.5", "clipped probabilities", loss_on([[0.0, 50.0]], [0])),
    Fault("capped", "cross_entropy", cross_entropy_capped, CATEGORY,
          "loss above 100", "loss capped", loss_on([[0.0, 150.0]], [0])),
    Fault("small-is-zero", "cross_entropy", cross_entropy_small_is_zero, CATEGORY,
          "dominated rows, loss near 0", "small loss returned as 0", loss_on([[20.0, 0.0]], [0]), ("float64",)),
    Fault("epsilon-in-denominator", "softmax", softmax_epsilon_in_denominator, CATEGORY,
          "all logits very negative", "epsilon in the denominator", on([-60.0, -61.0])),
    Fault("small-dropped", "softmax", softmax_small_dropped, CATEGORY,
          "probabilities below 1e-20", "small values returned as 0", on([0.0, -60.0]), (*WIDE, "bfloat16")),
    Fault("floored", "log_softmax", log_softmax_floored, CATEGORY,
          "log-probabilities below -100", "output floored", on([0.0, -150.0])),
    Fault("small-dropped", "cross_entropy_grad", gradient_small_dropped, CATEGORY,
          "probabilities below 1e-12", "small values returned as 0", loss_on([[0.0, -40.0]], [0]), (*WIDE, "bfloat16")),
)  # fmt: skip
