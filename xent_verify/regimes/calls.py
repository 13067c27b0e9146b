"""How rows of logits become the arguments of an operation: its other inputs by their kind, and options that show single rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, IntArray
from xent_verify.ops import Op
from xent_verify.ops.op import SHARED
from xent_verify.regimes.draw import Draw

__all__ = [
    "class_targets",
    "dress",
    "has_axis",
    "labelled",
    "labelled_inputs",
    "named",
    "per_row",
    "probability_targets",
    "takes_probabilities",
]

Inputs = dict[str, NDArray[Any]]


def named(op: Op, kind: str) -> tuple[str, ...]:
    """The names of the inputs and options of a kind."""
    return tuple(
        [name for name, own in op.inputs.items() if own == kind]
        + [name for name, option in op.options.items() if option.kind == kind]
    )


def labelled(op: Op) -> bool:
    """Whether an input holds class labels (or a probability for each class), so that logits are [N, C]."""
    return bool(op.labels)


def takes_probabilities(op: Op) -> bool:
    """Whether a probability for each class will do in place of labels."""
    return bool(named(op, "target"))


def has_axis(op: Op) -> bool:
    return bool(named(op, "axis"))


def per_row(op: Op) -> dict[str, Any]:
    """The options that make every row (or element) show in the result."""
    return dict.fromkeys(named(op, "reduction"), "none")


def dress(
    op: Op, draw: Draw, logits: NDArray[Any], *, plain: bool = False, matrix: NDArray[Any] | None = None
) -> Inputs:
    """The inputs of a call around logits; ``plain``: quickly, labels at random, the last class first; ``matrix``: that one."""
    first, *others = op.inputs.items()
    inputs = {first[0]: logits}
    for name, kind in sorted(others, key=lambda other: other[1] not in SHARED):
        if kind == "matrix" and matrix is not None:
            inputs[name] = matrix
        elif kind in SHARED:
            inputs[name] = _shared(op, draw, inputs, kind)
        elif name == op.labels:
            inputs[name] = _labels(op, draw, inputs, kind, plain=plain)
        elif kind == "row" and plain:
            inputs[name] = draw.narrow(0.5 * np.roll(draw.fmt.widen(logits), 1, axis=-1))
        else:
            inputs[name] = _SECOND[kind](draw, logits)
    return {name: inputs[name] for name in op.inputs}


def _labels(op: Op, draw: Draw, inputs: Inputs, kind: str, *, plain: bool) -> NDArray[Any]:
    """Labels for the scores; ``plain``: any, the last class first."""
    logits, matrix = inputs[op.first], op.named("matrix")
    classes = inputs[matrix].shape[-2] if matrix else logits.shape[-1]
    if plain:
        labels = draw.rng.integers(0, max(classes, 1), len(logits))
        labels[:1] = classes - 1
        return labels
    if not matrix:
        return _SECOND[kind](draw, logits)
    with np.errstate(all="ignore"):
        scores = draw.fmt.widen(logits) @ draw.fmt.widen(inputs[matrix]).T
        return class_targets(draw, draw.narrow(scores))


def labelled_inputs(op: Op, draw: Draw, logits: NDArray[Any], target: NDArray[Any]) -> Inputs:
    """The inputs of a call around logits and a target for them; where scores are products they are those logits, or (of
    many classes) such of two numbers with any vectors."""
    classes, matrix = logits.shape[-1], op.named("matrix")
    if not matrix:
        return {op.first: logits, op.labels: target}
    if classes <= _FEW_CLASSES:
        vectors = np.eye(classes)
    else:
        logits, vectors = logits[:, :2], draw.rng.standard_normal((classes, 2))
    inputs = {op.first: logits, matrix: draw.narrow(vectors), op.labels: target}
    return {name: inputs[name] for name in op.inputs}


_FEW_CLASSES = 8
_MOST_VECTORS = 24
"""Vectors of a matrix that passes a row's own numbers on."""


def _shared(op: Op, draw: Draw, inputs: Inputs, kind: str) -> NDArray[Any]:
    """A matrix for rows of logits, or values for its vectors, the same leading axes as the first input."""
    x, rng = inputs[op.first], draw.rng
    lead = x.shape[:-2]
    if kind == "values":
        k = inputs[op.named("matrix")].shape[-2]
        m = int(rng.choice(_COLUMNS))
        scale = draw.cycle((0.1, 1.0, 30.0), k)
        kinds = (
            lambda: rng.standard_normal((*lead, k, m)) * scale,
            lambda: np.eye(k, m) * np.ones((*lead, 1, 1)),
            lambda: 1.0 + 0.25 * rng.random((*lead, k, m)),  # of one sign: a narrow sum of many stalls
        )
        return draw.narrow(kinds[int(rng.choice((0, 0, 1, 2) if k < _LONG else (0, 2)))]())
    n = x.shape[-1] if x.ndim else 0
    few = int(rng.choice((1, 2, 3, 5, 9, 17, 40))) if n <= 300 else 3
    kind_of = int(rng.integers(0, 3)) if x.size < _MANY else 2  # equal scores cost the exact tier a row
    if kind_of == 0 and n:  # scores that are the row's own numbers, in another order
        return draw.narrow(_one_hot(rng.permutation(n)[:_MOST_VECTORS], n) * np.ones((*lead, 1, 1)))
    if kind_of == 1:  # exact products, some of which cancel
        return draw.narrow(rng.choice((-1.0, 0.0, 0.5, 1.0, 2.0), (*lead, few, n)))
    return draw.narrow(rng.standard_normal((*lead, few, n)) * float(rng.choice((0.1, 1.0, 1.0))))


_MANY = 10_000
_COLUMNS = (1, 2, 3, 4, 5, 5, 8, 20, 33, 64)
"""Lengths of the values of an attention."""
_LONG = 64
"""Vectors from which on a sum of their values may stall."""


def _one_hot(places: IntArray, n: int) -> FloatArray:
    """One vector for each place, 1 there."""
    found: FloatArray = (np.arange(n) == places[:, None]).astype(np.float64)
    return found


def _row_numbers(draw: Draw, logits: NDArray[Any]) -> NDArray[Any]:
    """One number a row: ordinary, huge, or -inf."""
    shape = logits.shape[:-1]
    level = draw.rng.choice(np.array([0.0, 0.0, 0.0, 50.0, -50.0, 1e4, -1e4, 3e38]), shape)
    numbers = 3.0 * draw.rng.standard_normal(shape) + level
    none = draw.rng.random(shape) < (0.15 if draw.fmt.has_inf else 0.0)
    return draw.narrow(np.where(none, -np.inf, numbers))


def class_targets(draw: Draw, logits: NDArray[Any]) -> IntArray:
    """For each row the class of its largest, smallest or of a random finite logit (0 where there is none)."""
    wide = draw.fmt.widen(logits)
    if not wide.shape[-1]:
        return np.zeros(len(wide), np.int64)
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


def _probabilities(draw: Draw, logits: NDArray[Any]) -> NDArray[Any]:
    """Elementwise targets in [0, 1], both ends among them."""
    target = draw.rng.random(logits.shape)
    kind = draw.rng.integers(0, 4, logits.shape)
    return draw.narrow(np.where(kind == 0, 0.0, np.where(kind == 1, 1.0, target)))


def _second_row(draw: Draw, logits: NDArray[Any]) -> NDArray[Any]:
    """A second set of logits: the same, neighbours of the first, its order turned, or mass where the first has none."""
    if not logits.ndim:
        return _second_row(draw, logits[None]).reshape(())
    wide: FloatArray = draw.fmt.widen(logits)
    finite = np.isfinite(wide)
    near = np.where(finite, draw.nudge(np.where(finite, wide, 0.0)), wide)
    turned = np.roll(wide, 1, axis=-1)
    top = np.where(finite, wide, draw.lowest).max(axis=-1, keepdims=True, initial=draw.lowest)
    below = draw.rng.choice(np.array([0.0, 1.0, 20.0, 60.0]), top.shape)
    more = np.where(np.isneginf(wide), np.maximum(top - below, draw.lowest), wide)
    kind = draw.rng.integers(0, 4, (*wide.shape[:-1], 1))
    return draw.narrow(np.choose(kind, [wide, near, turned, more]))


_SECOND: Mapping[str, Callable[[Draw, NDArray[Any]], NDArray[Any]]] = {
    "row": _second_row,
    "target": class_targets,
    "label": class_targets,
    "probabilities": _probabilities,
    "row_number": _row_numbers,
}
"""What is drawn beside the logits, by the kind of input."""
