"""What options and second inputs may hold, by kind: notable values, and makers of any others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.regimes.calls import probability_targets
from xent_verify.regimes.draw import Draw
from xent_verify.regimes.portable import exp, exp2, log

__all__ = ["TARGETS", "VALUES", "Array", "Value", "constants"]

Array = NDArray[Any]
Value = Callable[[Draw, tuple[int, ...]], Any]
"""A value of an option for logits of a shape."""


def constants(*values: Any) -> list[Value]:
    return [lambda _draw, _shape, value=value: value for value in values]  # type: ignore[misc]


def _signed(draw: Draw, _: tuple[int, ...]) -> float:
    return float(draw.rng.choice((1.0, -1.0)) * exp(draw.rng.uniform(log(1e-4), log(1e4))))


def _fills() -> list[Callable[[Draw, int], Any]]:
    """Weights: near 1, of all sizes, some or all but one of them 0, very small, very large, equal, increasing."""
    return [
        lambda draw, n: draw.rng.uniform(0.25, 4.0, n),
        lambda draw, n: exp(draw.rng.uniform(-9.0, 12.0, n)),
        lambda draw, n: draw.rng.uniform(0.25, 4.0, n) * (np.arange(n) % 2 == 0),
        lambda draw, n: 3.0 * (np.arange(n) == draw.rng.integers(0, max(n, 1))),
        lambda draw, n: draw.rng.uniform(0.25, 4.0, n) * 2.0 ** (draw.fmt.e_min // 2),
        lambda draw, n: draw.rng.uniform(0.25, 4.0, n) * 2.0 ** (draw.fmt.e_max // 2),
        lambda _draw, n: np.full(n, 2.5),
        lambda _draw, n: np.linspace(0.5, 2.0, n),
    ]


_OTHER_FORMATS = ("float64", "float32", "float16")


def _weights(shaped: Callable[[Draw, tuple[int, ...]], tuple[int, ...]]) -> list[Value]:
    """Weights of each filling in the format, and in other float formats."""

    def value(fill: Callable[[Draw, int], Any], dtype: str) -> Value:
        def make(draw: Draw, shape: tuple[int, ...]) -> Array:
            wanted = shaped(draw, shape)
            values = np.asarray(fill(draw, math.prod(wanted)), np.float64).reshape(wanted)
            return values.astype(dtype) if dtype else draw.narrow(values)

        return make

    first, last = _fills()[0], _fills()[-1]
    return [value(fill, "") for fill in _fills()] + [
        value(fill, dtype) for dtype in _OTHER_FORMATS for fill in (first, last)
    ]


def _broadcasting(draw: Draw, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to another one: axes of 1, leading axes left out, or none at all."""
    kept = tuple(n if draw.rng.random() < 0.6 else 1 for n in shape)
    choices = (shape, kept, kept, shape[-1:], (*shape[:-1], 1)[: len(shape)], shape[1:], ())
    return choices[int(draw.rng.integers(0, len(choices)))]


def _ignored(draw: Draw, shape: tuple[int, ...]) -> int:
    classes, number = shape[-1], draw.rng.integers
    choices = (int(number(0, classes)), classes + int(number(0, 300)), -int(number(1, 100)), -int(number(101, 2**31)))
    return choices[int(number(0, len(choices)))]


def _causal(_: Draw, shape: tuple[int, ...]) -> Array:
    """The last row keeps all, each one above it one less."""
    rows, n = (1, *shape)[-2:]
    return np.tri(rows, n, max(n - rows, 0), dtype=np.bool_)


def _masks() -> list[Value]:
    """True where a logit is kept: any, whole rows, a length for each row (0 among them), causal, all but the last ones, all."""

    def lengths(draw: Draw, shape: tuple[int, ...]) -> Array:
        kept = draw.rng.integers(0, shape[-1] + 1, (*shape[:-1], 1))
        return np.asarray(np.arange(shape[-1]) < kept)

    return [
        lambda draw, shape: draw.rng.random(shape) < 0.7,
        lambda draw, shape: draw.rng.random((*shape[:-1], 1)) < 0.7,
        lengths,
        _causal,
        lambda _draw, shape: np.arange(shape[-1]) < max(shape[-1] * 2 // 3, 1),
        lambda _draw, shape: np.ones(shape, np.bool_),
        *[lambda draw, shape: draw.rng.random(_broadcasting(draw, shape)) < 0.6] * 2,
        *[lambda draw, shape: draw.rng.random(shape) < draw.rng.random()] * 4,
    ]


def _biases(shaped: Callable[[Draw, tuple[int, ...]], tuple[int, ...]] = lambda _draw, shape: shape) -> list[Value]:
    """Numbers added to scores: ordinary, by distance (ALiBi), large, and -inf beside them where the format has it."""

    def masked(draw: Draw, shape: tuple[int, ...]) -> Array:
        wanted = shaped(draw, shape)
        low = -np.inf if draw.fmt.has_inf else draw.lowest
        return draw.narrow(np.where(draw.rng.random(wanted) < 0.3, low, draw.rng.standard_normal(wanted)))

    return [
        lambda draw, shape: draw.narrow(draw.rng.standard_normal(shaped(draw, shape))),
        lambda draw, shape: draw.narrow(np.broadcast_to(-0.5 * np.arange(shape[-1])[::-1], shaped(draw, shape))),
        masked,
        lambda draw, shape: draw.narrow(100.0 * draw.rng.standard_normal(shaped(draw, shape)) - 1000.0),
        lambda draw, shape: draw.narrow(1e4 * draw.rng.integers(-1, 2, shaped(draw, shape))),
        masked,
        lambda draw, shape: draw.narrow(draw.rng.standard_normal(_broadcasting(draw, shape))),
    ]


VALUES: Mapping[str, list[Value]] = {
    "share": [
        *constants(0.1, 1.0, 0.5, 2.0**-30, 1e-3, 0.01, 0.9, 1.0 - 2.0**-10),
        *[lambda draw, _shape: float(draw.rng.random())] * 4,
        *[lambda draw, _shape: float(exp2(draw.rng.uniform(-20.0, 0.0)))] * 2,
    ],
    "divisor": [*constants(0.5, 2.0, 0.7, 3.0, 1e-3, 1e3, 2.0**-10, 20.0, -1.0, -2.0, -0.3, 1.0), *[_signed] * 12],
    "factor": [
        *constants(0.125, 128**-0.5, 2.0, 80**-0.5, 0.7, 1.0, 10.0, 2.0**-10),
        *[lambda draw, _shape: abs(_signed(draw, ()))] * 4,
    ],
    "cap": [*constants(30.0, 50.0, 1.0, 15.0, 0.5), *[lambda draw, _shape: abs(_signed(draw, ()))] * 2],
    "mask": _masks(),
    "logit": [
        *constants(0.0, 1.0, -3.0, 20.0, 100.0, 1000.0, -1000.0, 0.7),
        *[lambda draw, _shape: float(draw.rng.normal(0.0, 5.0))] * 4,
    ],
    "bias": _biases(),
    "score_number": _biases(lambda _draw, shape: shape[-1:])[:6],
    "causal": constants(True, False),
    "flag": constants(True, False),
    "count": [
        *[lambda _draw, shape, most=most: min(most, shape[-1]) for most in (9, 50, 1, 2, 17)],
        lambda _draw, shape: shape[-1],
        lambda draw, shape: int(draw.rng.integers(1, max(shape[-1], 1) + 1)),
    ],
    "reduction": constants("none", "sum", "mean"),
    "class_weights": _weights(lambda _draw, shape: shape[-1:]),
    "element_weights": [*_weights(lambda _draw, shape: shape), *_weights(_broadcasting)],
    "ignored_label": [
        *constants(0, -1, -7, 255),
        lambda _draw, shape: shape[-1] - 1,
        lambda _draw, shape: shape[-1],
        *[_ignored] * 4,
    ],
}
"""For each kind of option the notable values, and makers of any others."""


_LABEL_TYPES = ("int64", "int32", "uint8", "int8", "int16", "uint16", "uint32", "uint64")


def _labels(dtype: str) -> Value:
    return lambda draw, shape: draw.rng.integers(0, min(shape[-1], np.iinfo(dtype).max + 1), shape[0]).astype(dtype)


def _probabilities(scale: Callable[[Draw, tuple[int, ...]], Any]) -> Value:
    """Probabilities times ``scale`` in each row: they need not sum to 1, nor lie in [0, 1]."""
    return lambda draw, shape: draw.narrow(
        draw.fmt.widen(probability_targets(draw, np.zeros(shape, draw.fmt.dtype))) * scale(draw, shape)
    )


TARGETS: Mapping[str, list[Value]] = {
    "target": [
        lambda draw, shape: probability_targets(draw, np.zeros(shape, draw.fmt.dtype)),
        _probabilities(lambda draw, shape: draw.rng.uniform(0.0, 1.0, (shape[0], 1))),
        _probabilities(lambda draw, shape: draw.rng.uniform(1.0, 3.0, (shape[0], 1))),
        _probabilities(lambda draw, shape: np.where(draw.rng.random(shape) < 0.4, -1.0, 1.5)),
        _probabilities(lambda draw, shape: draw.rng.integers(0, 2, (shape[0], 1))),
        *map(_labels, _LABEL_TYPES),
    ],
    "label": [*map(_labels, _LABEL_TYPES)],
    "probabilities": [
        lambda draw, shape: draw.narrow(draw.rng.random(shape)),
        lambda draw, shape: draw.narrow(draw.rng.integers(0, 2, shape)),
        lambda draw, shape: draw.narrow(draw.rng.choice((1e-3, 1.0 - 2.0**-6, 0.5), shape)),
        lambda draw, shape: draw.narrow(draw.rng.uniform(-1.0, 2.0, shape)),
    ],
}
"""For each kind of second input what it may hold."""
