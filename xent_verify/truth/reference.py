"""``reference``: certified true values for another project's tests to lean on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xent_verify.core.arrays import as_numpy
from xent_verify.core.enclosure import Enclosure
from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.formats import FORMATS, FloatArray, FloatFormat, IntArray, format_named
from xent_verify.core.model import Batch
from xent_verify.ops import Op, op_named
from xent_verify.ops.defined import undefined
from xent_verify.truth.certify import certify

__all__ = ["Reference", "call_of", "reference"]


@dataclass(frozen=True, slots=True)
class Reference:
    """True values t with ``|t - (hi + lo) * 2**exponent| < radius * 2**exponent`` (equal where radius is 0).

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

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The true values, correctly rounded to float64."""
        return self.rounded("float64").astype(dtype or np.float64, copy=bool(copy))

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


def _as_array(values: Any, what: str) -> NDArray[Any]:
    try:
        found = as_numpy(values)
        return np.asarray(values) if found is None else found
    except ValueError:
        raise UsageError(f"{what}: the rows of a nested list have different lengths; an array has one shape") from None


def _as_floats(values: Any, what: str) -> NDArray[Any]:
    """Arrays of a known format as they are; Python numbers and integers as float64."""
    array = _as_array(values, what)
    if array.dtype.name in FORMATS:
        return array
    if array.dtype.kind in "iub":
        return array.astype(np.float64)
    raise UsageError(f"{what} has dtype {array.dtype}; formats: {', '.join(FORMATS)}")


def call_of(
    op: str | Op, inputs: Sequence[Any], options: Mapping[str, Any], result: str = "", *, one_format: bool = False
) -> Batch:
    """A call from arrays of any library: ``inputs`` by position, or among the ``options`` by name.

    ``target`` names the second input of every operation that has one; with ``grad``, an upstream gradient in the shape of the
    result, it is a call of the gradient by the first input. ``one_format``: Python numbers are rounded to the first input's
    format. ``UsageError`` for what the operation does not have.
    """
    name_of_op = op if isinstance(op, str) else op.name
    if options.get("grad") is not None and "grad" not in op_named(op).inputs:
        op = name_of_op = f"vjp({name_of_op})"
    known = op_named(op)
    given, left = _assigned(known, inputs, options)
    arrays: dict[str, NDArray[Any]] = {}
    for name in known.inputs:
        array = _as_array(given[name], name)
        keep = name == known.labels and array.dtype.kind in "iub"
        arrays[name] = array if keep else _as_floats(array, name)
        if one_format and not keep and as_numpy(given[name]) is None:
            arrays[name] = format_named(arrays[known.first].dtype).narrow(arrays[name])
    plain = {name: _plain(value) for name, value in left.items()}
    fmt = format_named(arrays[known.first].dtype).name
    return Batch(name_of_op, fmt, "reference", arrays, plain, result=result)


def _assigned(known: Op, inputs: Sequence[Any], options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(input -> what was given for it, the options proper)."""
    names, left = list(known.inputs), dict(options)
    inputs = [one for one in inputs if one is not None]
    if "target" in left and "target" not in names and len(names) > 1:
        left[names[1]] = left.pop("target")
    given = dict(zip(names, inputs, strict=False))
    for name in names:
        if left.get(name) is not None and name not in known.options:
            if name in given:
                raise UsageError(f"{known.name}: {name} is given twice, by position and by name")
            given[name] = left.pop(name)
        elif name not in known.options:
            left.pop(name, None)
    unknown = [name for name in left if name not in known.options]
    if unknown:
        raise UnknownNameError(f"option of {known.name}", unknown[0], known.options)
    if len(inputs) > len(names) or any(name not in given for name in names):
        raise UsageError(f"{known.name} takes {' and '.join(names)}")
    return given, left


def _plain(value: Any) -> Any:
    """An option as it is, an array of another library as NumPy's."""
    if value is None or isinstance(value, str | bool | int | float | list | tuple):
        return value
    found = as_numpy(value)
    return value if found is None else found


def reference(
    op: str | Op,
    *inputs: Any,
    fmt: str | FloatFormat | None = None,
    jobs: int = 1,
    **options: Any,
) -> Reference:
    """Certified true values of ``op`` for exactly these inputs, in the shape of its result.

    * ``inputs``: by position or by name (``target=``): array-likes of any number of dimensions, of any library; arrays keep
      their format, Python numbers are float64. Labels are class indices [N] of any integer dtype, or floats [N, C]
    * ``fmt``: another format than that of the first input that the enclosures shall decide
    * ``jobs``: processes or threads; the bits of the result do not depend on it
    * ``options``: the op's own (``axis``, ``weight``, ``reduction``, ...), taken as the real numbers they store; ``grad``, an
      upstream gradient in the shape of the result, asks for the gradient by the first input

    Raises ``UsageError`` for shapes, dtypes, options or class ids that the operation does not have.

    >>> from xent_verify import reference
    >>> reference("logsumexp", [0.0, -50.0]).rounded("float64")
    array(1.92874985e-22)
    """
    batch = call_of(op, inputs, options)
    known = op_named(batch.op)
    many = known.labels and batch.x.ndim > 2  # classes on the second axis, positions behind it
    why = "" if many else undefined(known, _in_one_format(batch))
    if why:
        raise UsageError(f"{known.name}: {why}")
    return Reference(batch, certify(batch, fmt=fmt, jobs=jobs))


def _in_one_format(batch: Batch) -> Batch:
    """The call with every float in the format of the first input: a reference takes them as they come."""
    form = batch.form
    inputs = {
        name: value if value.dtype.kind in "iub" else form.narrow(format_named(value.dtype).widen(value))
        for name, value in batch.inputs.items()
    }
    return replace(batch, inputs=inputs)
