"""What cross entropy does around log p: targets, class weights, ignored rows, smoothing, reductions.

Semantics of ``torch.nn.functional.cross_entropy`` for logits [N, C]. Everything is one dot product per row,

    loss_i = Σ_c q_ic · (-log p_ic),

with q_ic = w_c·(ε/C) + w_t·(1 - ε)·[c = t] for an integer target t (0 for an ignored row) and
q_ic = w_c·(y_ic·(1 - ε) + ε/C) for a probability target y. A zero q contributes 0, also against an infinite loss.
The mean divides by Σ_i w_{t_i} over the rows that are not ignored, or by N for probability targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.rows import Array, named_after, working_dtype

__all__ = [
    "Coefficients",
    "CrossEntropyCall",
    "LossForm",
    "Task",
    "as_cross_entropy",
    "assemble",
    "coefficients",
    "form_of",
    "labels",
    "one_hot",
    "reduce_losses",
    "solve",
    "weigh",
]


@dataclass(frozen=True, slots=True)
class Task:
    """One call of cross entropy: the arguments, arrays as arrays."""

    logits: Array
    target: Array
    weight: Array | None = None
    ignore_index: int = -100
    reduction: str = "mean"
    label_smoothing: float = 0.0

    @property
    def dtype(self) -> np.dtype[Any]:
        """The precision to work in."""
        return working_dtype(self.logits.dtype)

    @property
    def rows(self) -> Array:
        """A fresh copy of the logits in the working precision."""
        return np.array(self.logits, dtype=self.dtype, order="C", copy=True)

    @property
    def soft(self) -> bool:
        """Whether the target holds probabilities."""
        return self.target.ndim == self.logits.ndim


@dataclass(frozen=True, slots=True)
class Coefficients:
    """q [N, C]; which rows count; what each adds to the mean's divisor (``masses``: class weights, else ones)."""

    q: Array
    live: Array
    masses: Array
    masses_are_weights: bool

    @property
    def exponent(self) -> int:
        """e with max |q| in [2^(e-1), 2^e); 0 where nothing is scaled."""
        top = float(np.abs(self.q).max(initial=0))
        return int(np.frexp(top)[1]) if np.isfinite(top) else 0


LossForm = Callable[[Array, Array, int], Array]
"""(rows [N, C], q [N, C], k) -> Σ_c q_c·(-log p_c)·2^-k of each row."""


class CrossEntropyCall(Protocol):
    """The contract's signature of ``cross_entropy``."""

    def __call__(
        self,
        logits: ArrayLike,
        target: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Array: ...


def as_cross_entropy(body: Callable[[Task], Array]) -> CrossEntropyCall:
    """The contract's signature for a function of a ``Task``; keeps its name and docstring, lets no warning out."""

    def call(
        logits: ArrayLike,
        target: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Array:
        weights = None if weight is None else np.asarray(weight)
        task = Task(np.asarray(logits), np.asarray(target), weights, ignore_index, reduction, label_smoothing)
        with np.errstate(all="ignore"):
            return body(task)

    return named_after(body, call)


def weigh(surprise: Array, q: Array) -> Array:
    """Σ_c q_c·surprise_c of each row; a zero coefficient contributes 0 unless the surprise is NaN."""
    return np.asarray(np.where((q == 0) & ~np.isnan(surprise), 0, q * surprise).sum(axis=-1))


def form_of(log_probabilities: Callable[[Array], Array]) -> LossForm:
    """The loss form of a function that gives log p [N, C] of rows [N, C]."""
    return lambda rows, q, halvings: weigh(-np.ldexp(log_probabilities(rows), -halvings), q)


def labels(task: Task) -> tuple[Array, Array]:
    """(class ids as int64 with 0 for ignored rows, which rows count); ``IndexError`` for an id outside 0 … C - 1."""
    ids = task.target.astype(np.int64)
    live = ids != task.ignore_index
    known = np.where(live, ids, 0)
    classes = task.logits.shape[-1]
    if ((known < 0) | (known >= classes)).any():
        raise IndexError(f"target outside 0 … {classes - 1}: {known[(known < 0) | (known >= classes)][0]}")
    return known, live


def one_hot(ids: Array, classes: int, dtype: np.dtype[Any]) -> Array:
    """[N, C] with 1 at each row's class."""
    hot = np.zeros((ids.shape[0], classes), dtype)
    hot[np.arange(ids.shape[0]), ids] = 1
    return hot


def coefficients(task: Task, dtype: np.dtype[Any] | None = None) -> Coefficients:
    """q and what belongs to it, in the working precision (or ``dtype``)."""
    kind = dtype or task.dtype
    count, classes = task.logits.shape
    weight = np.ones(classes, kind) if task.weight is None else task.weight.astype(kind)
    uniform = task.label_smoothing / max(classes, 1)
    if task.soft:
        q = (task.target.astype(kind) * (1 - task.label_smoothing) + uniform) * weight
        return Coefficients(q.astype(kind), np.ones(count, bool), np.ones(count, kind), False)
    ids, live = labels(task)
    hot = one_hot(ids, classes, kind) * (1 - task.label_smoothing) * weight[ids][:, None]
    q = np.where(live[:, None], hot + uniform * weight, 0).astype(kind)
    return Coefficients(q, live, np.where(live, weight[ids], 0).astype(kind), True)


def reduce_losses(losses: Array, masses: Array, reduction: str) -> Array:
    """``none``, ``sum`` or ``mean`` (Σ losses / Σ masses; NaN where the masses add up to 0, as in torch)."""
    match reduction:
        case "none":
            return losses
        case "sum":
            return np.asarray(losses.sum())
        case "mean":
            divisor = masses.sum()
            return np.asarray(losses.sum() / (divisor if divisor != 0 else np.nan), dtype=losses.dtype)
    raise ValueError(f"reduction is {reduction!r}, but should be 'none', 'sum' or 'mean'")


def assemble(rows: Array, terms: Coefficients, reduction: str, form: LossForm, halvings: int = 0) -> Array:
    """The loss, computed on terms divided by 2^halvings and on weights of the order of 1, and scaled back.

    A mean does not change when all weights are scaled, so it is always taken over scaled ones: tiny or huge weights
    can then neither vanish nor overflow.
    """
    scale = terms.exponent if halvings or reduction == "mean" else 0
    losses = np.where(terms.live, form(rows, np.ldexp(terms.q, -scale), halvings), 0)
    if not (reduction == "mean" and terms.masses_are_weights):
        return np.ldexp(reduce_losses(losses, terms.masses, reduction), halvings + scale)
    return np.ldexp(reduce_losses(losses, np.ldexp(terms.masses, -scale), reduction), halvings)


def solve(task: Task, form: LossForm, dtype: np.dtype[Any] | None = None) -> Array:
    """The loss in the logits' format.

    Where it comes out infinite or NaN, it is computed again on terms scaled down by a power of two: a difference of
    logits, a product with a weight or a total may leave the range although the loss itself does not.
    """
    terms = coefficients(task, dtype)
    rows = task.rows.astype(terms.q.dtype)
    loss = assemble(rows, terms, task.reduction, form)
    if not np.isfinite(loss).all():
        headroom = 3 + max(rows.size, 1).bit_length()
        loss = np.where(np.isfinite(loss), loss, assemble(rows, terms, task.reduction, form, headroom))
    return loss.astype(task.logits.dtype)[()]
