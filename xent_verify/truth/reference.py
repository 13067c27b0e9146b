"""``reference``: certified true values for another project's tests to lean on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xent_verify.enclosure import Enclosure
from xent_verify.failures import UnknownNameError, UsageError
from xent_verify.formats import FORMATS, FloatArray, FloatFormat, IntArray, format_named
from xent_verify.model import Batch
from xent_verify.ops import Op, op_named
from xent_verify.truth.certify import certify

__all__ = ["Reference", "reference"]


@dataclass(frozen=True, slots=True)
class Reference:
    """True values t with |t - (hi + lo) * 2**exponent| < radius * 2**exponent (equal where radius is 0).

    The enclosure decides, for the format of the inputs (or the ``fmt`` that was asked), the correctly rounded value and
    the error of any answer to 2**-20 ulp. ``tier`` says per element what proved it: 0 definition, 2 double-double,
    3 exact (``enclosure.TIERS``; tier 1, float64, answers for roundings alone). NaN stands where only a convention decides.
    """

    batch: Batch
    enclosure: Enclosure

    @property
    def hi(self) -> FloatArray:
        return self.enclosure.hi

    @property
    def lo(self) -> FloatArray:
        return self.enclosure.lo

    @property
    def exponent(self) -> IntArray:
        return self.enclosure.exponent

    @property
    def radius(self) -> FloatArray:
        return self.enclosure.radius

    @property
    def tier(self) -> NDArray[np.uint8]:
        return self.enclosure.tier

    @property
    def shape(self) -> tuple[int, ...]:
        return self.enclosure.shape

    def decided(self, fmt: str | FloatFormat) -> Reference:
        """The same values, enclosed narrowly enough for ``fmt``."""
        if bool(self.enclosure.decided(fmt).all()):
            return self
        return Reference(self.batch, certify(self.batch, fmt=fmt))

    def rounded(self, fmt: str | FloatFormat) -> NDArray[Any]:
        """The correctly rounded values (nearest, ties to even) in the op's output shape, in that format's dtype."""
        return self.decided(fmt).enclosure.rounded(fmt)

    def error_ulp(self, values: ArrayLike, fmt: str | FloatFormat) -> FloatArray:
        """|values - t| in units in the last place of ``fmt``, to 2**-20."""
        return self.decided(fmt).enclosure.error_ulp(values, fmt)


def _as_array(values: ArrayLike | None, what: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError:
        raise UsageError(f"{what}: the rows of a nested list have different lengths; an array has one shape") from None


def _as_floats(values: ArrayLike, what: str) -> NDArray[Any]:
    """Arrays of a known format as they are; Python numbers and integers as float64."""
    array = _as_array(values, what)
    if array.dtype.name in FORMATS:
        return array
    if array.dtype.kind in "iub":
        return array.astype(np.float64)
    raise UsageError(f"{what} has dtype {array.dtype}; formats: {', '.join(FORMATS)}")


def _inputs(op: Op, x: ArrayLike, target: ArrayLike | None) -> dict[str, NDArray[Any]]:
    first, *others = op.inputs
    inputs = {first: _as_floats(x, first)}
    if bool(others) != (target is not None):
        raise UsageError(f"{op.name} takes {' and '.join(op.inputs)}")
    if others:
        labels = _as_array(target, others[0])
        keep = labels.dtype.kind in "iub" and others[0] == "target"
        inputs[others[0]] = labels if keep else _as_floats(labels, others[0])
    return inputs


def reference(
    op: str,
    x: ArrayLike,
    target: ArrayLike | None = None,
    *,
    fmt: str | FloatFormat | None = None,
    jobs: int = 1,
    **options: Any,
) -> Reference:
    """Certified true values of ``op`` for exactly these inputs, in the shape of its result.

    * ``x``: array-like of any number of dimensions; NumPy and ml_dtypes arrays keep their format, Python numbers are float64
    * ``target``: the op's second input, if it has one: class indices [N] of any integer dtype, or floats [N, C]
    * ``fmt``: another format than that of ``x`` that the enclosures shall decide
    * ``jobs``: processes or threads; the bits of the result do not depend on it
    * ``options``: the op's own (``axis``, ``weight``, ``reduction``, ...), taken as the real numbers they store

    Raises ``UsageError`` for shapes, dtypes, options or class ids that the operation does not have.

    >>> from xent_verify import reference
    >>> reference("logsumexp", [0.0, -50.0]).rounded("float64")
    array(1.92874985e-22)
    """
    known = op_named(op)
    unknown = [name for name in options if name not in known.options]
    if unknown:
        raise UnknownNameError(f"option of {known.name}", unknown[0], known.options)
    inputs = _inputs(known, x, target)
    batch = Batch(op, format_named(inputs[known.first].dtype).name, "reference", inputs, options)
    return Reference(batch, certify(batch, fmt=fmt, jobs=jobs))
