"""Makers of failing calls: ``on(values)`` and friends return a function of a format's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.entries import Arguments
from xent_verify.implementations.rows import Array

__all__ = ["NARROW", "WIDE", "Trigger", "loss_on", "on", "rising"]

Trigger = Callable[[str], Arguments]

WIDE = ("float64", "float32")
NARROW = ("float16", "bfloat16")


def in_format(values: ArrayLike, fmt: str) -> Array:
    """The values rounded to the format of that name."""
    with np.errstate(all="ignore"):
        return np.asarray(values, dtype=np.float64).astype(np.dtype(getattr(ml_dtypes, fmt, fmt)))


def on(values: ArrayLike, *, view: Callable[[Array], Array] | None = None, **options: Any) -> Trigger:
    """f(values, **options), the array seen through ``view`` where one is given (its memory layout matters)."""

    def trigger(fmt: str) -> Arguments:
        x = in_format(values, fmt)
        return (x if view is None else view(x),), options

    return trigger


def loss_on(logits: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None, **options: Any) -> Trigger:
    """f(logits, target, **options); probability targets and weights in the logits' format."""

    def trigger(fmt: str) -> Arguments:
        given = np.asarray(target)
        answer = in_format(given, fmt) if given.dtype.kind == "f" else given
        extra = {} if weight is None else {"weight": in_format(weight, fmt)}
        return (in_format(logits, fmt), answer), {**extra, **options}

    return trigger


def rising(n: int, last: float, value: float = 0.0) -> list[float]:
    """n - 1 equal values and a last one."""
    return [value] * (n - 1) + [last]
