"""Cross entropy of capped logits, with a multiple of the squared logsumexp (the z-loss).

The signature of ``cross_entropy`` with ``softcap`` and ``lse_square_scale``; formats below float32 are computed in float32 and
rounded once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations import normalisers
from xent_verify.implementations.rows import Array
from xent_verify.implementations.stable import dot_with_log_probabilities, log_sums, logsumexp_minus_logits
from xent_verify.implementations.targets import LossForm, Task, coefficients, reduce_losses, solve

__all__ = [
    "Penalized",
    "cross_entropy_penalized",
    "cross_entropy_penalized_chunked",
    "cross_entropy_penalized_logsumexp",
    "cross_entropy_penalized_wide",
    "tanh_cap",
]


def tanh_cap(rows: Array, cap: Any) -> Array:
    """c tanh(x / c)."""
    return np.asarray(cap * np.tanh(rows / cap))


@dataclass(frozen=True, slots=True)
class Penalized:
    """The parts of one implementation.

    ``form``: the losses without a penalty. ``cap``: rows and a cap -> capped rows. ``sums``: rows, and the same capped -> what
    is squared. ``live``: whether the penalty is left out of ignored rows. ``number``: the precision, where not the usual one.
    ``about``: the docstring of the implementation.
    """

    about: str
    form: LossForm
    cap: Callable[[Array, Any], Array] = tanh_cap
    sums: Callable[[Array, Array], Array] = lambda _, capped: log_sums(capped)
    live: bool = True
    number: type[np.floating[Any]] | None = None

    def loss(self, task: Task, softcap: float | None, scale: float) -> Array:
        """The loss of one call, in the logits' format."""
        number = task.dtype if self.number is None else np.dtype(self.number)
        rows = task.rows.astype(number)
        capped = rows if softcap is None else self.cap(rows, number.type(softcap)).astype(number)
        own = dataclasses.replace(task, logits=capped)
        if not scale:
            return np.asarray(solve(own, self.form)).astype(task.logits.dtype)[()]
        terms = coefficients(own)
        losses = np.asarray(solve(dataclasses.replace(own, reduction="none"), self.form))
        losses = losses + number.type(scale) * self.sums(rows, capped).astype(number) ** 2
        losses = np.where(terms.live, losses, 0) if self.live else losses
        return reduce_losses(losses, terms.masses, task.reduction).astype(task.logits.dtype)[()]

    @property
    def call(self) -> Callable[..., Array]:
        """The implementation with the operation's signature; lets no warning out."""

        def call(
            logits: ArrayLike,
            target: ArrayLike,
            *,
            weight: ArrayLike | None = None,
            ignore_index: int = -100,
            reduction: str = "mean",
            label_smoothing: float = 0.0,
            softcap: float | None = None,
            lse_square_scale: float = 0.0,
        ) -> Array:
            weights = None if weight is None else np.asarray(weight)
            task = Task(np.asarray(logits), np.asarray(target), weights, ignore_index, reduction, label_smoothing)
            with np.errstate(all="ignore"):
                return self.loss(task, softcap, lse_square_scale)

        call.__doc__ = self.about
        return call


cross_entropy_penalized = Penalized("Log-softmax of capped logits.", dot_with_log_probabilities()).call
cross_entropy_penalized_logsumexp = Penalized(
    "Logsumexp minus the label's logit, shifted.", logsumexp_minus_logits
).call
cross_entropy_penalized_chunked = Penalized(
    "The vocabulary in chunks of 256.", dot_with_log_probabilities(normalisers.chunked)
).call
cross_entropy_penalized_wide = Penalized(
    "The log1p form in float64.", dot_with_log_probabilities(normalisers.log1p_form), number=np.float64
).call
