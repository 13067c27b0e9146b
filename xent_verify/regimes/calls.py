"""How rows of logits become the arguments of each operation: its other inputs, and the options that show single rows.

A new operation that takes the arguments of an existing one needs one entry in ``CALLS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.formats import FloatArray, IntArray
from xent_verify.regimes.draw import Draw

__all__ = ["CALLS", "Call", "class_targets", "probability_targets"]

Inputs = dict[str, NDArray[Any]]
Dress = Callable[[Draw, NDArray[Any]], Inputs]


@dataclass(frozen=True, slots=True)
class Call:
    """The shape of one operation's call: ``dress(draw, logits)`` makes its inputs, ``options`` go with every batch.

    ``axis``: takes one; ``by_row``: works on rows (not elementwise); ``any_shape``: takes more than [N, C].
    """

    dress: Dress
    axis: bool = False
    by_row: bool = True
    any_shape: bool = True
    options: Mapping[str, Any] | None = None


def class_targets(draw: Draw, logits: NDArray[Any]) -> IntArray:
    """For each row the class of its largest, smallest or of a random finite logit (0 where there is none)."""
    wide = draw.fmt.widen(logits)
    finite = np.isfinite(wide)
    with np.errstate(invalid="ignore"):
        keys = [wide, -wide, draw.rng.random(wide.shape), draw.rng.random(wide.shape)]
    picks = [np.where(finite, key, -np.inf).argmax(axis=1) for key in keys]
    return np.choose(draw.cycle(np.arange(len(picks)), len(wide))[:, 0], picks).astype(np.int64)


def probability_targets(draw: Draw, logits: NDArray[Any]) -> NDArray[Any]:
    """Rows of probabilities over the finite logits: dense, one-hot, uniform, sparse, and on the least likely class."""
    wide = draw.fmt.widen(logits)
    rows, n = wide.shape
    live = np.isfinite(wide) | ~np.isfinite(wide).any(axis=1, keepdims=True)
    weights = draw.rng.random((rows, n)) * live
    one_hot = (np.arange(n) == weights.argmax(axis=1)[:, None]).astype(np.float64)
    sparse = weights * (draw.rng.random((rows, n)) < 0.4) + one_hot
    lowest = (np.arange(n) == np.where(live, wide, np.inf).argmin(axis=1)[:, None]).astype(np.float64)
    uniform = live.astype(np.float64)
    kinds = [weights + 1e-3 * live, one_hot, uniform, sparse, lowest]
    chosen = np.choose(draw.cycle(np.arange(len(kinds)), rows), kinds)
    total = chosen.sum(axis=1, keepdims=True)
    return draw.narrow(chosen / np.where(total > 0, total, 1.0))


def _plain(draw: Draw, logits: NDArray[Any]) -> Inputs:  # noqa: ARG001  (the table's signature)
    return {"x": logits}


def _with_class(draw: Draw, logits: NDArray[Any]) -> Inputs:
    return {"logits": logits, "target": class_targets(draw, logits)}


def _with_probability(draw: Draw, logits: NDArray[Any]) -> Inputs:
    """Elementwise targets in [0, 1], both ends among them."""
    target = draw.rng.random(logits.shape)
    kind = draw.rng.integers(0, 4, logits.shape)
    target = np.where(kind == 0, 0.0, np.where(kind == 1, 1.0, target))
    return {"logits": logits, "target": draw.narrow(target)}


def _with_second(draw: Draw, logits: NDArray[Any]) -> Inputs:
    """A second set of logits: the same, neighbours of the first, its order turned, or mass where the first has none."""
    wide: FloatArray = draw.fmt.widen(logits)
    finite = np.isfinite(wide)
    near = np.where(finite, draw.nudge(np.where(finite, wide, 0.0)), wide)
    turned = np.roll(wide, 1, axis=-1)
    top = np.where(finite, wide, draw.lowest).max(axis=-1, keepdims=True, initial=draw.lowest)
    below = draw.rng.choice(np.array([0.0, 1.0, 20.0, 60.0]), top.shape)
    more = np.where(np.isneginf(wide), np.maximum(top - below, draw.lowest), wide)
    kind = draw.rng.integers(0, 4, (*wide.shape[:-1], 1))
    return {"logits_p": logits, "logits_q": draw.narrow(np.choose(kind, [wide, near, turned, more]))}


_PER_ROW = {"reduction": "none"}

CALLS: dict[str, Call] = {
    "softmax": Call(_plain, axis=True),
    "log_softmax": Call(_plain, axis=True),
    "logsumexp": Call(_plain, axis=True),
    "cross_entropy": Call(_with_class, any_shape=False, options=_PER_ROW),
    "cross_entropy_grad": Call(_with_class, any_shape=False),
    "sigmoid": Call(_plain, by_row=False),
    "log_sigmoid": Call(_plain, by_row=False),
    "binary_cross_entropy_with_logits": Call(_with_probability, by_row=False, options=_PER_ROW),
    "softmax_temperature": Call(_plain, axis=True),
    "kl_divergence": Call(_with_second, axis=True),
}
