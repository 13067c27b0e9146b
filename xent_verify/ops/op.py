"""What an operation is: inputs and options by kind, the textbook formula, the sound algorithms, laws.

The formula is written over exact numbers (the ``Arithmetic`` below) and evaluated by ``truth.exact`` with intervals of
arbitrary precision. It never sees Python floats: ``x[i] - x[j]`` on floats would round before truth begins. The algorithms
are written over an abstract arithmetic, too; read on values with error bounds (``ops.errors``) they give the limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, Protocol

import numpy as np

from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.formats import FORMATS, FloatFormat
from xent_verify.core.model import Batch

__all__ = ["AXIS", "BROADCAST", "SHARED", "Arithmetic", "ExpSum", "Op", "Option", "Quantity", "Real", "RowInputs"]

InputKind = Literal["row", "target", "label", "probabilities", "upstream", "matrix", "values", "row_number"]
"""row: logits along the axis; target: class labels [R] or probabilities [R, n]; label: class labels [R] alone;
probabilities: like the first input; upstream: the gradient of a loss by the result, in the result's shape;
matrix: k vectors [.., k, n] whose products with each row [.., R, n] of the first input are its k scores; values: k vectors
[.., k, m], of which each row of the result [.., R, m] is a weighted sum; row_number: one number a row."""

SHARED: tuple[InputKind, ...] = ("matrix", "values")
"""The kinds that belong to all rows together."""

OptionKind = Literal[
    "axis",
    "class_weights",
    "element_weights",
    "ignored_label",
    "reduction",
    "share",
    "divisor",
    "number",
    "factor",
    "mask",
    "logit",
    "bias",
    "causal",
    "score_number",
    "count",
    "flag",
    "cap",
]
"""class_weights: one per class; element_weights: broadcast against the first input; share: a number in [0, 1];
divisor: a real number other than 0; number: any real number; factor: a positive number;
mask: Booleans that broadcast against the scores, True where a logit is kept; logit: one more logit, -inf: none;
bias: numbers below inf that broadcast against the scores; causal: True keeps score j of row i where j <= i + k - R;
score_number: one number for each score of a row, as a bias of classes; count: a number from 1 to n, the length of a row of the
result; flag: True or False; cap: a positive number that bounds the scores (``forms.capped``). The scores are the first input, or
its products with the input of kind "matrix"."""

BROADCAST: tuple[OptionKind, ...] = ("element_weights", "mask", "bias")
"""The kinds whose values broadcast against the scores."""


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


Quantity = Literal["", "p", "log p", "logsumexp"]
"""What an operation hands out of the softmax of its rows; "": something else."""

Formula = Callable[[Any, RowInputs, Sequence[int]], list[Any]]


@dataclass(frozen=True, slots=True)
class Option:
    """A keyword argument of an operation: its default, and its kind, which says how it is drawn and read.

    ``always``: it makes the operation what it is, and every call gives it. Where the default is None, None means: without it.
    ``rare``: few targets have it. It is drawn less often beside others, and formula and laws speak of calls without it.
    """

    default: Any
    kind: OptionKind
    always: bool = False
    rare: bool = False


@dataclass(frozen=True, slots=True)
class Op:
    """One operation.

    ``inputs``: positional arguments in order, name -> kind. ``options``: keyword arguments, name -> ``Option``.
    ``result``: "elements" (the shape of the first input; its last axis is as long as a vector of the input of kind "values", or
    as the option of kind "count" says, where there is one), "rows" (its axis removed), "loss" (one value per row, reduced by
    the option of kind "reduction"), "shared" (the shape of the input or option ``by``; all rows of its group, or of the call,
    take part in each element). ``by_row`` False: elementwise, every element is a row of its own.

    ``formula(arithmetic, row, wanted)`` gives the true values of the wanted elements of one row (for "rows" and "loss":
    one value). ``formula`` None: the first
    algorithm is the formula, read on exact numbers (``truth.reading``); it uses no irrational constant.

    ``algorithms``: the sound ways to compute it, name -> ``run(a, **inputs, **options)`` over an abstract arithmetic ``a``
    (``ops.errors.Errors`` has its verbs); rows come as [R, n], labels as int64 [R, 1], the axis is taken care of. The limit
    of an element is the largest of theirs.

    ``widest`` names the algorithms whose limits contain those of the others, where that is known (a test compares them);
    empty: all of them are read.

    ``adjoints``: the algorithms that are differentiated, where they are not ``algorithms`` (those of softmax and its kin
    subtract a maximum, which a backward kernel does not differentiate). ``differentiates``: the operation of which this
    one is the vector-Jacobian product, ``by`` the input or option that it is taken by.

    ``built_on``: the quantity of a row (elementwise: of [x, 0]) that the result is, or is made of by labels and weights; the
    diagnosis compares answers with all known ways to get it wrong. "": by the page's own algorithms only. ``log_of_zero``: the
    infinity (its sign) that the logarithm of a probability or sum that rounded to 0 gives; 0 where none is taken.

    ``laws`` name entries of ``laws.LAWS`` (or a ``Law`` at ``module:attribute``); ``formats`` those of
    ``FORMATS`` that it is defined in (all but those of scales, in which neither a negative logit nor a 0 can be written).
    """

    name: str
    about: str
    inputs: Mapping[str, InputKind]
    options: Mapping[str, Option]
    result: Literal["elements", "rows", "loss", "shared"]
    formula: Formula | None
    algorithms: Mapping[str, Callable[..., Any]]
    widest: tuple[str, ...] = ()
    adjoints: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    differentiates: Op | None = None
    by: str = ""
    by_row: bool = True
    built_on: Quantity = ""
    log_of_zero: Literal[-1, 0, 1] = 0
    laws: tuple[str, ...] = field(default=())
    formats: tuple[str, ...] = tuple(name for name, form in FORMATS.items() if not form.scale)

    @property
    def labels(self) -> str:
        """Name of the input that holds class labels; "" where there is none, so that logits have any shape."""
        return next((name for name, kind in self.inputs.items() if kind in ("target", "label")), "")

    @property
    def first(self) -> str:
        """Name of the first input."""
        return next(iter(self.inputs))

    def named(self, kind: str) -> str:
        """Name of the first input of a kind; "" where there is none."""
        for name, own in self.inputs.items():  # asked thousands of times
            if own == kind:
                return name
        return ""

    @property
    def counted(self) -> str:
        """Name of the option that is the length of a row of the result; "" where there is none."""
        return self.option_of("count")

    @property
    def shared(self) -> tuple[str, ...]:
        """Names of the inputs that belong to all rows together."""
        return tuple(name for name, kind in self.inputs.items() if kind in SHARED)

    def of_rows(self, inputs: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
        """The inputs of a call, those that belong to its rows changed; a matrix or values stay as they are."""
        return {name: value if name in self.shared else change(value) for name, value in inputs.items()}

    def scores_shape(self, batch: Batch) -> tuple[int, ...]:
        """Shape of the scores: of the first input, or of its products with the matrix."""
        shape, name = batch.x.shape, self.named("matrix")
        return (*shape[:-1], batch.inputs[name].shape[-2]) if name and shape else shape

    def result_width(self, batch: Batch) -> int:
        """Length of a row of the result."""
        if self.result != "elements" or not self.by_row:
            return 1
        own, name = self.differentiates is None, self.named("values")  # a gradient has the width of the first input
        if own and name:
            return int(batch.inputs[name].shape[-1])
        if own and self.counted:
            return int(self.option(batch, self.counted))
        return int(batch.x.shape[int(self.option(batch, "axis")) if "axis" in self.options else -1])

    def check_format(self, form: FloatFormat) -> None:
        """``UsageError`` where the operation is not defined in a format."""
        if form.scale:
            raise UsageError(f"{self.name} is not defined in {form.name}, which has neither a sign nor a zero")
        if form.name not in self.formats:
            raise UnknownNameError(f"dtype for {self.name}", form.name, self.formats)

    def formula_of(self, batch: Batch) -> Formula | None:
        """The formula of a call; None where the first algorithm is read: there is no formula, or none for a rare option."""
        return self.formula if self.plain(batch) else None

    def plain(self, batch: Batch) -> bool:
        """Whether a call leaves the rare options at their defaults."""
        rare = (name for name, option in self.options.items() if option.rare)
        return all(self.option(batch, name) == self.options[name].default for name in rare)

    def option(self, batch: Batch, name: str) -> Any:
        """The batch's value of an option, or its default."""
        return batch.options.get(name, self.options[name].default)

    def whole(self, batch: Batch) -> bool:
        """Whether a result has no rows: one number stands for all of them, or all of them take part in each element."""
        return self.result == "shared" or (self.result == "loss" and self.option(batch, "reduction") != "none")

    def joined(self, batch: Batch) -> bool:
        """Whether the rows of a call have to do with one another: a result without rows, or the gradient of one."""
        return self.whole(batch) or (self.differentiates is not None and self.differentiates.whole(batch))

    def divisor(self, batch: Batch) -> Fraction | float:
        """What the reduction "mean" divides by: the weights of the labels that count, their number, or that of all losses.

        Exact, or a float where a weight is not finite.
        """
        labels = batch.inputs.get(self.labels)
        if labels is None or labels.dtype.kind not in "iu":
            return Fraction(len(batch.x) if self.by_row else batch.x.size)
        ignored, weighted = (self.option_of(kind) for kind in ("ignored_label", "class_weights"))
        live = labels.reshape(-1)
        live = live[live.astype(object) != int(self.option(batch, ignored))] if ignored else live
        weight = self.option(batch, weighted) if weighted else None
        if weight is None:
            return Fraction(len(live))
        each = np.asarray(weight).astype(np.float64).reshape(-1)
        counts = np.bincount(live.astype(np.int64), minlength=len(each))
        used = np.flatnonzero(counts)
        if not np.isfinite(each[used]).all():
            return float(each[used].sum())
        return sum((int(counts[c]) * Fraction(float(each[c])) for c in used), Fraction(0))

    def option_of(self, kind: OptionKind) -> str:
        """Name of the first option of a kind; "" where there is none."""
        for name, option in self.options.items():
            if option.kind == kind:
                return name
        return ""

    def result_shape(self, batch: Batch) -> tuple[int, ...]:
        """Shape of the right answer."""
        shape = batch.x.shape
        match self.result:
            case "elements":
                own = self.differentiates is None and (self.named("values") or self.counted)
                return (*shape[:-1], self.result_width(batch)) if own and shape else shape
            case "rows":
                axis = int(self.option(batch, "axis")) % len(shape) if "axis" in self.options else len(shape) - 1
                return shape[:axis] + shape[axis + 1 :]
            case "shared":
                return np.shape(batch.inputs[self.by] if self.by in self.inputs else self.option(batch, self.by))
            case "loss":
                per_row = shape[:1] if self.by_row else shape
                return per_row if self.option(batch, "reduction") == "none" else ()


AXIS: Mapping[str, Option] = {"axis": Option(-1, "axis")}
"""The options of most operations on rows."""
