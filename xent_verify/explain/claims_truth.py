"""What a claim is about, as certified values: decimals in, intervals and digits out.

A claim's numbers are the decimals on the page, which are seldom floats, or literals of a format, which are rounded to it. Both
are fractions here. An operation of the table is evaluated on them by its own formula, or by the exact reading of its page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.documents import shown
from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.formats import FloatFormat, format_named
from xent_verify.core.model import Batch
from xent_verify.ops import OPS, op_named
from xent_verify.ops.op import AXIS, Op
from xent_verify.truth import exact
from xent_verify.truth.decimals import decided_digits
from xent_verify.truth.intervals import LIMIT_POINTS, Interval

__all__ = ["Quantity", "Value", "matches", "printed_number", "quantity_of", "rounded_like", "units"]

_PRECISION = 512
_LARGEST_EXPONENT = 300
_FARTHEST = 2**16
_REDUCTIONS = ("none", "sum", "mean")

Number = Fraction | float  # floats are infinities
Array = NDArray[Any]

PAGES: Mapping[str, Op] = {
    op.name: op
    for op in (
        Op(
            "neg_log",
            "-log p, elementwise",
            {"p": "row"},
            {},
            "elements",
            None,
            {"formula": lambda a, p: -a.log(p)},
            by_row=False,
        ),
        Op(
            "cross_entropy_of_p",
            "-sum_i y_i log p_i along an axis, which is removed; 0 log 0 = 0",
            {"p": "row", "y": "row"},
            AXIS,
            "rows",
            None,
            {"formula": lambda a, p, y: -a.sum(a.weigh(y, a.log(p)))},
        ),
    )
}
"""What is claimed of probabilities that are given; the table's operations take logits."""


@dataclass(frozen=True, slots=True)
class Value:
    """One true value: ends of an interval that holds it (equal for special values), 30 digits, its rounding to a format."""

    low: Number
    high: Number
    digits: str
    rounded: float | None = None


@dataclass(frozen=True, slots=True)
class Quantity:
    """What an op gives on some inputs: in words, element by element; the format that the numbers are literals of."""

    text: str
    names: tuple[str, ...]
    values: tuple[Value, ...]
    form: FloatFormat | None = None


def quantity_of(table: Mapping[str, Any], where: str) -> Quantity:
    """The quantity a table (op and its inputs) describes. ``UsageError`` for what it cannot mean."""
    op = _op(table.get("op"), where)
    form = _format(op, table.get("literal"), where)
    given = {_own(op, key, where): key for key in table if key not in ("op", "literal")}
    for name in op.inputs:
        if name not in given:
            raise UsageError(f"{where}: {op.name} needs {'logits' if name == 'x' else name}")
    inputs = {name: _input(op, name, table[given[name]], form, f"{where}: {given[name]}") for name in op.inputs}
    options = {
        name: _option(op.options[name].kind, table[key], form, f"{where}: {key}")
        for name, key in given.items()
        if name not in op.inputs
    }
    alone = bool(op.labels) and inputs[op.first].ndim == 1
    call = _call(op, inputs, options, where)
    values, shape = _values(op, call, form, where)
    shown_as = ", ".join(f"{key} = {_shown(table[key])}" for key in given.values())
    places = np.ndindex(shape[1:] if alone and shape else shape)
    names = tuple(f"{op.name}[{', '.join(map(str, place))}]" if place else op.name for place in places)
    return Quantity(f"{op.name}({shown_as})", names, values, form)


def rounded_like(value: Value, printed: str) -> tuple[str, bool]:
    """The value rounded to the digits of ``printed``, and whether ``printed`` is a right rounding of it.

    Ends of the interval on both sides of a midpoint mean a tie (to within 2**-500): either neighbour is right.
    """
    claimed = _decimal(printed, "printed")
    if not claimed.is_finite() or isinstance(value.low, float):
        same = isinstance(value.low, float) and float(claimed) == value.low
        return (printed if same else value.digits[:12]), same
    assert isinstance(value.high, Fraction)
    place = claimed.as_tuple().exponent
    assert isinstance(place, int)
    quantum = Fraction(10) ** place
    holds = value.low <= Fraction(claimed) + quantum / 2 and value.high >= Fraction(claimed) - quantum / 2
    if holds:
        return printed, True
    steps = round((value.low + value.high) / 2 / quantum)
    right = Decimal((steps < 0, tuple(int(digit) for digit in str(abs(steps))), place))
    if "%" in printed:
        return f"{right.scaleb(2):f}{printed[len(printed.rstrip('% ')) :]}", False
    return _like(right, printed), False


def _like(right: Decimal, printed: str) -> str:
    """A decimal in the notation of a printed one."""
    _, mark, power = printed.partition("e" if "e" in printed else "E")
    if not mark:
        return f"{right:f}"
    digits, _, found = f"{right:e}".partition("e")
    sign = "-" if found.startswith("-") else "+" if power.startswith("+") else ""
    return f"{digits}{mark}{sign}{found.lstrip('+-').zfill(len(power.lstrip('+-')))}"


def units(value: Value, printed: str) -> float | None:
    """|printed - true| in units of the last printed digit; None where one of them is no number."""
    claimed = _decimal(printed, "printed")
    if not claimed.is_finite() or isinstance(value.low, float) or isinstance(value.high, float):
        return None
    place = claimed.as_tuple().exponent
    assert isinstance(place, int)
    off = abs(Fraction(claimed) - (value.low + value.high) / 2) / Fraction(10) ** place
    return float(off) if off < 10**300 else None


def matches(value: Value, printed: str, form: FloatFormat | None) -> bool | None:
    """Whether ``printed``, read as a literal of the format, is the correctly rounded value; None where no format is named."""
    if form is None or value.rounded is None:
        return None
    return float(form.widen(form.narrow(float(_decimal(printed, "printed"))))) == value.rounded


def _op(name: Any, where: str) -> Op:
    known = (*OPS, *PAGES)
    if name is None:
        raise UsageError(f"{where}: names no op (xent-verify list ops shows them)")
    plain = name.removeprefix("vjp(").removesuffix(")") if isinstance(name, str) else name
    if not isinstance(name, str) or plain not in (OPS if plain != name else known):
        raise UnknownNameError(f"op in {where}:", name, known)
    return PAGES.get(name) or op_named(name)


def _format(op: Op, name: Any, where: str) -> FloatFormat | None:
    if name is None:
        return None
    if not isinstance(name, str):
        raise UsageError(f"{where}: literal is {shown(name)}, should be the name of a format")
    try:
        form = format_named(name)
        op.check_format(form)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    return form


def _own(op: Op, key: str, where: str) -> str:
    """The operation's name of an input or option: ``logits`` is the first input, ``target`` the second."""
    names = list(op.inputs)
    if key in names or key in op.options:
        return key
    if key == "logits" and op.name not in PAGES:
        return names[0]
    if key == "target" and len(names) > 1:
        return names[1]
    raise UnknownNameError(
        f"key in {where}:", key, ("logits", *names, *op.options, "op", "about", "printed", "stands_for", "literal")
    )


def _input(op: Op, name: str, given: Any, form: FloatFormat | None, where: str) -> Array:
    """An input as an array of fractions; labels as they are, until their number of dimensions is known."""
    if op.inputs[name] == "label":
        return _array(_numbers(given, where), where)
    array = _array(_in_format(_numbers(given, where), form, where), where)
    if not array.size or (name == op.first and op.by_row and not array.ndim):
        raise UsageError(f"{where} should be a list of numbers")
    if name != op.first and op.inputs[name] != "row" and _infinite(array):
        raise UsageError(f"{where} is infinite, should be finite")
    if op.name in PAGES and any(not 0 <= value <= 1 for value in array.ravel()):
        raise UsageError(f"{where} should lie between 0 and 1")
    return array


_PLAIN_OPTIONS: Mapping[str, tuple[type, str]] = {
    "axis": (int, "a whole number"),
    "ignored_label": (int, "a whole number"),
    "count": (int, "a whole number"),
    "causal": (bool, "true or false"),
    "flag": (bool, "true or false"),
}
_SCALARS = ("share", "divisor", "number", "factor", "logit")


def _option(kind: str, given: Any, form: FloatFormat | None, where: str) -> Any:
    """An option as its kind is written: a word, a whole number, true or false, a number, a list."""
    if kind == "reduction":
        if given not in _REDUCTIONS:
            raise UsageError(f"{where} is {shown(given)}, should be one of {', '.join(_REDUCTIONS)}")
        return given
    if kind in _PLAIN_OPTIONS:
        due, words = _PLAIN_OPTIONS[kind]
        if type(given) is not due:
            raise UsageError(f"{where} is {shown(given)}, should be {words}")
        return given
    if kind == "mask":
        array = _array(given, where)
        if not all(type(one) is bool for one in array.ravel()):
            raise UsageError(f"{where} should hold true and false")
        return array.astype(np.bool_)
    array = _array(_numbers(given, where), where)
    if kind not in ("bias", "logit") and _infinite(array):
        raise UsageError(f"{where} is infinite, should be finite")
    if kind in _SCALARS:
        return _scalar(kind, array, given, form, where)
    if not array.ndim and kind != "element_weights":
        raise UsageError(f"{where} is a number, should be a list")
    return _array(_in_format(array.tolist(), form, where), where)


def _scalar(kind: str, array: Array, given: Any, form: FloatFormat | None, where: str) -> Number:
    """A number among the options; as a literal it is a double, whatever the format of the inputs."""
    if array.ndim:
        raise UsageError(f"{where} is a list, should be a number")
    number: Number = _in_format(array.item(), form and format_named("float64"), where)
    if (kind == "divisor" and number == 0) or (kind == "factor" and number <= 0):
        raise UsageError(f"{where} is {shown(given)}, should be above 0")
    return number


def _call(op: Op, inputs: dict[str, Array], options: dict[str, Any], where: str) -> Batch:
    """The call, on fractions. One row of logits is a batch of one, which is not reduced unless that is asked for."""
    x = inputs[op.first]
    if op.labels:
        inputs = {name: _labels_or_numbers(op, name, array, x.ndim, where) for name, array in inputs.items()}
        if x.ndim == 1:
            inputs = op.of_rows(inputs, lambda array: array[None] if array.ndim else array.reshape(1))
            options = {name: "none" for name in op.options if name == "reduction"} | options
        elif x.ndim > 2:
            if op.result == "elements":
                raise UsageError(f"{where}: {op.name} takes logits of one or two dimensions")
            inputs = op.of_rows(inputs, lambda array: _classes_last(array, x.ndim))
    call = Batch(op.name, "float64", "claims", inputs, options)
    _check(op, call, where)
    return call


def _labels_or_numbers(op: Op, name: str, array: Array, dimensions: int, where: str) -> Array:
    """Class labels as integers; probabilities have as many dimensions as the logits."""
    kind = op.inputs[name]
    if kind != "label" and (kind != "target" or array.ndim == dimensions):
        return array
    if any(isinstance(one, float) or one.denominator != 1 or abs(one) >= 2**62 for one in array.ravel()):
        raise UsageError(f"{where}: {name} should be a class, a list of classes, or probabilities of the logits' shape")
    return array.astype(np.int64)


def _classes_last(array: Array, dimensions: int) -> Array:
    if array.ndim != dimensions:
        return array.reshape(-1)
    moved = np.moveaxis(array, 1, -1)
    return moved.reshape(-1, moved.shape[-1])


def _check(op: Op, call: Batch, where: str) -> None:
    """``UsageError`` where shapes, labels or an axis do not fit the first input."""
    x, axis = call.x, op.option(call, "axis") if "axis" in op.options else -1
    if op.by_row and not -x.ndim <= axis < x.ndim:
        raise UsageError(f"{where}: axis {axis} is out of range for {x.ndim} dimensions")
    for name, array in call.inputs.items():
        if name in op.shared and array.ndim < 2:
            raise UsageError(f"{where}: {name} should be a list of lists")
        if (
            op.inputs[name] in ("row", "target", "probabilities")
            and array.dtype == object
            and not _fits(array, x.shape)
        ):
            raise UsageError(f"{where}: {name} has shape {array.shape}, should have {x.shape}")
    classes = op.scores_shape(call)[-1] if op.by_row else 1
    for name, option in op.options.items():
        value = call.options.get(name)
        if option.kind in ("class_weights", "score_number") and value is not None and len(value) != classes:
            raise UsageError(f"{where}: {len(value)} numbers in {name} for {classes} logits")
    if op.labels and call.inputs[op.labels].dtype.kind == "i":
        _check_labels(op, call, classes, where)


def _check_labels(op: Op, call: Batch, classes: int, where: str) -> None:
    labels, rows = call.inputs[op.labels], call.x.shape[:-1]
    if labels.shape != rows:
        raise UsageError(f"{where}: {labels.size} classes in {op.labels} for {math.prod(rows)} rows of logits")
    ignored = [op.option(call, name) for name, option in op.options.items() if option.kind == "ignored_label"]
    for label in labels.ravel().tolist():
        if label not in ignored and not 0 <= label < classes:
            raise UsageError(f"{where}: {op.labels} {label} should be a class from 0 to {classes - 1}")


def _fits(array: Array, shape: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        return False


def _values(op: Op, call: Batch, form: FloatFormat | None, where: str) -> tuple[tuple[Value, ...], tuple[int, ...]]:
    """The true values and the result's shape; -inf logits and what follows from them go by definition."""
    inputs, options = ({name: _floats(one) for name, one in part.items()} for part in (call.inputs, call.options))
    try:
        known, decided = exact.by_definition(op, Batch(op.name, "float64", "claims", inputs, options))
        found = tuple(
            _special(float(v)) if d else _value(exact.intervals_of(call, place, op), form)
            for place, (v, d) in enumerate(zip(known.ravel(), decided.ravel(), strict=True))
        )
    except (IndexError, ValueError) as error:
        if isinstance(error, UsageError):
            raise UsageError(f"{where}: {error}") from None
        raise UsageError(f"{where}: the shapes of the inputs do not fit") from None
    return found, known.shape


def _value(numbers: Iterable[Interval], form: FloatFormat | None) -> Value:
    """The first precision that decides the digits and the rounding; the last one where none does."""
    for number in numbers:
        if number.lo in LIMIT_POINTS:
            return _special(LIMIT_POINTS[number.lo])
        digits, certain = decided_digits(number)
        enclosed = exact.enclose([number])
        if certain and number.prec >= _PRECISION and (form is None or bool(enclosed.decided(form)[0])):
            break
    low, high = _fraction(number.lo), _fraction(number.hi)
    rounded = None if form is None else float(form.widen(enclosed.rounded(form))[0])
    return Value(low, high, digits, rounded)


def _fraction(end: Any) -> Fraction:
    """An end of an interval; 0 far below any digit that can be printed."""
    sign, digits, power, length = end
    if not digits or power + length < -_FARTHEST:
        return Fraction(0)
    size = Fraction(int(digits)) * (1 << power if power >= 0 else Fraction(1, 1 << -power))
    return -size if sign else size


def _special(value: float) -> Value:
    end = Fraction(value) if math.isfinite(value) else value
    return Value(end, end, f"{value:g}", value)


def _floats(value: Any) -> Any:
    """The floats nearest to fractions."""
    if isinstance(value, Fraction):
        return float(value)
    return value.astype(np.float64) if isinstance(value, np.ndarray) and value.dtype == object else value


def _infinite(array: Array) -> bool:
    return any(isinstance(one, float) for one in array.ravel())


def _array(value: Any, where: str) -> Array:
    """Nested lists as an array of objects."""
    shape, flat = _shape(value, where), [value]
    for _ in shape:
        flat = [item for part in flat for item in part]
    array = np.empty(len(flat), object)
    array[:] = flat
    return array.reshape(shape)


def _shape(value: Any, where: str) -> tuple[int, ...]:
    if not isinstance(value, list):
        return ()
    shapes = {_shape(item, where) for item in value}
    if len(shapes) > 1:
        raise UsageError(f"{where} holds lists of different lengths")
    return (len(value), *(shapes.pop() if shapes else ()))


def _in_format(value: Any, form: FloatFormat | None, where: str) -> Any:
    """The numbers as literals of a format; without one as they are."""
    if isinstance(value, list):
        return [_in_format(item, form, where) for item in value]
    if form is None or isinstance(value, float):
        return value
    held = float(form.widen(form.narrow(float(value))))
    if not math.isfinite(held):
        raise UsageError(f"{where} holds a number beyond the range of {form.name}")
    return Fraction(held)


def _numbers(value: Any, where: str) -> Any:
    """A number or lists of numbers, exactly as written."""
    if isinstance(value, list):
        return [_numbers(item, where) for item in value]
    return _one(value, where)


def _one(value: Any, where: str) -> Number:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise UsageError(f"{where} holds {shown(value)}, should be a number")
    number = _decimal(str(value), where)
    if number.is_nan() or number == Decimal("Infinity"):
        raise UsageError(f"{where} holds {shown(value)}, should be a number")
    if number.is_finite() and abs(number.adjusted()) > _LARGEST_EXPONENT:
        raise UsageError(
            f"{where} holds {shown(value)}, should be between 1e-{_LARGEST_EXPONENT} and 1e{_LARGEST_EXPONENT}"
        )
    return float(number) if number.is_infinite() else Fraction(number)


def printed_number(text: str, where: str) -> None:
    """``UsageError`` where a printed text is no number, or has more decimals than any page."""
    number = _decimal(text, where)
    if number.is_nan() or (number.is_finite() and max(abs(number.adjusted()), len(text)) > 2 * _LARGEST_EXPONENT):
        raise UsageError(f"{where} holds {shown(text)}, should be a number of at most {2 * _LARGEST_EXPONENT} digits")


def _decimal(text: str, where: str) -> Decimal:
    """A decimal as written; "87 %" is 0.87."""
    plain = text.strip().replace("−", "-")
    try:
        number = Decimal(plain.removesuffix("%").rstrip())
    except InvalidOperation:
        raise UsageError(f"{where} holds {shown(text)}, should be a number") from None
    return number.scaleb(-2) if plain.endswith("%") and number.is_finite() else number


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return str(value)
