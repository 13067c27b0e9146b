"""What an operation is: signature, textbook formula over exact numbers, error bound, laws.

The formula is written once, over the abstract ``Arithmetic`` below, and evaluated by ``truth.exact`` with intervals of
arbitrary precision. It never sees Python floats: ``x[i] - x[j]`` on floats would round before truth begins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from xent_verify.formats import FORMATS, FloatArray
from xent_verify.model import Batch
from xent_verify.ops.bounds import ErrorModel

__all__ = ["Arithmetic", "ExpSum", "Op", "Real", "RowInputs", "rows_of"]


class Real(Protocol):
    """An exactly known or rigorously enclosed real number."""

    @property
    def is_zero(self) -> bool: ...
    def __add__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __neg__(self) -> Any: ...


class ExpSum(Protocol):
    """exp over one row of logits: s = sum exp(x_j - m), m = max x (the contract's symbols)."""

    def p(self, i: int) -> Any:
        """softmax: exp(x_i - m) / s."""

    def log_p(self, i: int) -> Any:
        """log-softmax: (x_i - m) - log s."""

    def log_sum_exp(self) -> Any:
        """m + log s."""

    def p_minus(self, i: int, y: Any, total: Any) -> Any:
        """p_i * total - y without cancellation."""


class Arithmetic(Protocol):
    """What a formula computes with."""

    def number(self, value: Any) -> Any:
        """An exact number from an int, a float (the real it stores) or a NumPy scalar."""

    def row(self, logits: Sequence[Any], divisor: Any = None) -> Any:
        """The ``ExpSum`` of a row of exact numbers, or of their quotients by an exact ``divisor`` (-inf: p = 0)."""

    def unproved(self, value: Any) -> Any:
        """Widen by one unit: for values that are not known to be irrational or exact (see ``truth.exact``)."""


@dataclass(frozen=True, slots=True)
class RowInputs:
    """One row of a batch: the row's slice of every input as float64 (or int), and the options."""

    values: tuple[Any, ...]
    options: Mapping[str, Any]


Formula = Callable[[Any, RowInputs, Sequence[int]], list[Any]]


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of the contract.

    ``inputs`` are the positional arguments in order, ``options`` the keyword arguments with their defaults.
    ``result``: "elements" (the shape of the first input), "rows" (its axis removed), "loss" (one value per row, reduced
    by the option ``reduction``). ``formula(arithmetic, row, wanted)`` gives the true values of the wanted elements of
    one row (for "rows" and "loss": one value). ``denominator(arithmetic, batch)`` is what ``reduction="mean"`` divides
    by. ``bound(batch, model)`` gives the largest absolute error a sound implementation can make, in the result's shape
    (derived as in ``ops.bounds``); ``like`` names the operation of the table whose regimes it takes (for operations from outside;
    default: the one of the same shape); ``overflow_allowed(batch, model)`` where an intermediate of a sound algorithm may
    overflow although the true value is representable; ``zero_times_overflow`` where it may then meet a factor of 0.
    ``laws`` name entries of ``laws.LAWS`` (or a ``Law`` at ``module:attribute``); ``formats`` those of ``FORMATS`` that
    it is defined in.
    """

    name: str
    about: str
    inputs: tuple[str, ...]
    options: Mapping[str, Any]
    result: Literal["elements", "rows", "loss"]
    formula: Formula
    bound: Callable[[Batch, ErrorModel], FloatArray]
    by_row: bool = True
    denominator: Callable[[Any, Batch], Any] | None = None
    overflow_allowed: Callable[[Batch, ErrorModel], NDArray[np.bool_]] | None = None
    zero_times_overflow: Callable[[Batch, ErrorModel], NDArray[np.bool_]] | None = None
    laws: tuple[str, ...] = field(default=())
    like: str = ""
    formats: tuple[str, ...] = tuple(FORMATS)

    @property
    def regimes_of(self) -> str:
        """The operation of the table whose regimes fit this one's inputs."""
        if self.like:
            return self.like
        shapes = {"elements": "softmax", "rows": "logsumexp", "loss": "cross_entropy"}
        return (
            shapes[self.result]
            if self.by_row
            else {"loss": "binary_cross_entropy_with_logits"}.get(self.result, "sigmoid")
        )

    def option(self, batch: Batch, name: str) -> Any:
        """The batch's value of an option, or its default."""
        return batch.options.get(name, self.options[name])

    def result_shape(self, batch: Batch) -> tuple[int, ...]:
        """Shape of the right answer."""
        shape = batch.x.shape
        match self.result:
            case "elements":
                return shape
            case "rows":
                axis = int(self.option(batch, "axis")) % len(shape)
                return shape[:axis] + shape[axis + 1 :]
            case "loss":
                per_row = shape[:1] if self.by_row else shape
                return per_row if self.option(batch, "reduction") == "none" else ()


def rows_of(op: Op, batch: Batch) -> NDArray[Any]:
    """The first input as a 2-D array of rows [R, n], the op's axis last (elementwise ops: n = 1)."""
    x = batch.x
    if not op.by_row:
        return x.reshape(-1, 1)
    axis = int(op.option(batch, "axis")) if "axis" in op.options else -1
    moved = np.moveaxis(x, axis, -1)
    count = int(np.prod(moved.shape[:-1], dtype=np.int64))
    return moved.reshape(count, moved.shape[-1])
