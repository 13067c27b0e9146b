"""Rows whose elementary functions are correctly rounded: a page computed with them is the same on every machine.

NumPy's exp and log differ in the last digit from one processor to the next; sums, products, quotients and maxima of
three numbers do not. ``careful`` gives an array that takes the former from certified truth and leaves the latter alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.failures import UndecidedError
from xent_verify.core.formats import FloatFormat, format_named
from xent_verify.truth import exact
from xent_verify.truth.intervals import BigArithmetic, Interval

__all__ = ["careful", "correctly_rounded"]

_BEYOND = 2.0**14
"""exp of anything larger overflows, of anything below its negative underflows, in every format."""

_FUNCTIONS: dict[str, Callable[[BigArithmetic, Interval], Interval]] = {
    "exp": BigArithmetic.exp,
    "log": BigArithmetic.log,
    "log1p": BigArithmetic.log1p,
}


_KNOWN: dict[tuple[str, float, str], float] = {}
"""(function, number, format) -> value, as far as worked out."""


class _Careful(np.ndarray[Any, Any]):
    """An array that computes exp, log and log1p through ``correctly_rounded``."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [np.asarray(value) for value in inputs]
        if ufunc.__name__ in _FUNCTIONS and method == "__call__":
            return _each(ufunc.__name__, plain[0]).view(_Careful)
        return np.asarray(getattr(ufunc, method)(*plain, **kwargs)).view(_Careful)


def careful(row: NDArray[Any]) -> NDArray[Any]:
    """The same numbers, as an array that rounds its elementary functions correctly."""
    return np.asarray(row).view(_Careful)


def _each(function: str, values: NDArray[Any]) -> NDArray[Any]:
    """Element by element; what is not yet known is worked out together."""
    form = format_named(values.dtype)
    wide = form.widen(values).ravel().tolist()
    undefined = [x for x in dict.fromkeys(wide) if _by_definition(function, x) is None]
    todo = [x for x in undefined if (function, x, form.name) not in _KNOWN]
    if todo:
        keys = [(function, x, form.name) for x in todo]
        _KNOWN.update(zip(keys, _proved(function, todo, form), strict=True))
    results = [correctly_rounded(function, x, form.name) for x in wide]
    return np.array(results).astype(form.dtype).reshape(values.shape)


def correctly_rounded(function: str, value: float, fmt: str) -> float:
    """exp, log or log1p of a number of the format, rounded once to the format."""
    known = _by_definition(function, value)
    if known is not None:
        return known
    key = function, value, fmt
    if key not in _KNOWN:
        _KNOWN[key] = _proved(function, [value], format_named(fmt))[0]
    return _KNOWN[key]


def _by_definition(function: str, value: float) -> float | None:
    if math.isnan(value):
        return math.nan
    match function:
        case "exp":
            return 1.0 if value == 0 else math.inf if value > _BEYOND else 0.0 if value < -_BEYOND else None
        case "log":
            return -math.inf if value == 0 else math.nan if value < 0 else 0.0 if value == 1 else _infinite(value)
        case _:
            return value if value == 0 else _infinite(value)


def _infinite(value: float) -> float | None:
    return value if math.isinf(value) else None


def _proved(function: str, values: Sequence[float], form: FloatFormat) -> list[float]:
    for precision in exact.PRECISIONS:
        a = BigArithmetic(precision)
        enclosed = exact.enclose([_FUNCTIONS[function](a, a.number(value)) for value in values])
        if bool(enclosed.decided(form).all()):
            return [float(x) for x in form.widen(enclosed.rounded(form))]
    raise UndecidedError(f"{function} of {values!r} undecided")
