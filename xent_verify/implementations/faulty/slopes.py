"""Gradients: a missing term, a wrong sign, rows or columns left out."""

from __future__ import annotations

import numpy as np

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import loss_on
from xent_verify.implementations.gradients import as_gradient, minus_target
from xent_verify.implementations.normalisers import shifted
from xent_verify.implementations.rows import Array
from xent_verify.implementations.stable import probabilities
from xent_verify.implementations.targets import Task, labels

__all__ = ["FAULTS"]

CATEGORY = "gradient"


def proper(task: Task) -> Array:
    """The right gradient."""
    return minus_target(probabilities(task.rows), task)


@as_gradient
def gradient_soft_sign(task: Task) -> Array:
    """y - p for probability targets."""
    return -proper(task) if task.soft else proper(task)


@as_gradient
def gradient_soft_mass_one(task: Task) -> Array:
    """p - y for probability targets, whatever they add up to."""
    return probabilities(task.rows) - task.target.astype(task.dtype) if task.soft else proper(task)


@as_gradient
def gradient_converged_skipped(task: Task) -> Array:
    """Rows whose target has p > 1 - 1e-5 get no gradient at all."""
    gradient = proper(task)
    if not task.soft:
        won = probabilities(task.rows)[np.arange(len(gradient)), labels(task)[0]] > 1 - 1e-5
        gradient[won] = 0
    return gradient


@as_gradient
def gradient_wide_undivided(task: Task) -> Array:
    """Columns from 2048 on are left as exp(x - m), not divided by the sum."""
    gradient = proper(task)
    total = shifted(task.rows).total
    gradient[:, 2048:] *= total
    return gradient


@as_gradient
def gradient_duplicate_targets(task: Task) -> Array:
    """Above 64 rows the 1 is subtracted only where a class occurs for the first time."""
    gradient = proper(task)
    if task.soft or len(gradient) <= 64:
        return gradient
    ids, _ = labels(task)
    later = np.setdiff1d(np.arange(len(ids)), np.unique(ids, return_index=True)[1])
    gradient[later, ids[later]] += 1
    return gradient


FAULTS: tuple[Fault, ...] = (
    Fault("soft-sign", "cross_entropy_grad", gradient_soft_sign, CATEGORY,
          "probability targets", "missing sign", loss_on([[0.0, 1.0]], [[0.25, 0.75]])),
    Fault("soft-mass-one", "cross_entropy_grad", gradient_soft_mass_one, CATEGORY,
          "probability targets that do not add up to 1", "factor Σy missing", loss_on([[0.0, 1.0]], [[0.25, 0.25]])),
    Fault("converged-skipped", "cross_entropy_grad", gradient_converged_skipped, CATEGORY,
          "dominated rows", "row skipped", loss_on([[13.0, 0.0]], [0])),
    Fault("wide-undivided", "cross_entropy_grad", gradient_wide_undivided, CATEGORY,
          "C above 2048", "columns not divided by the sum", loss_on([[0.0] * 2050], [0])),
    Fault("duplicate-targets", "cross_entropy_grad", gradient_duplicate_targets, CATEGORY,
          "more than 64 rows of one class", "missing term", loss_on(np.zeros((65, 3)), np.zeros(65, int))),
)  # fmt: skip
