"""What a claim is about, as certified values: exact decimals in, enclosures out.

A claim's inputs are the decimals on the page, which are seldom floats: the ops' textbook formulas
are given rational numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import numpy as np

from xent_verify.core.documents import shown
from xent_verify.core.enclosure import Enclosure
from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.model import Batch
from xent_verify.ops import op_named
from xent_verify.ops.op import RowInputs
from xent_verify.truth import exact, special
from xent_verify.truth.decimals import shown_interval
from xent_verify.truth.intervals import BigArithmetic, Interval

__all__ = ["OPS", "Quantity", "Value", "printed_number", "quantity_of", "rounded_like"]

_PRECISION = 512
_LARGEST_EXPONENT = 300
_ROW_OPS = ("softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_grad")

Number = Fraction | float  # floats are infinities
Inputs = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Value:
    """One true value: ends of an interval that holds it (equal for special values), and 30 digits."""

    low: Number
    high: Number
    digits: str


@dataclass(frozen=True, slots=True)
class Quantity:
    """What an op gives on some inputs: in words, element by element."""

    text: str
    names: tuple[str, ...]
    values: tuple[Value, ...]


def quantity_of(table: Mapping[str, Any], where: str) -> Quantity:
    """The quantity a table (op and its inputs) describes. ``UsageError`` for what it cannot mean."""
    name = table.get("op")
    if name is None:
        raise UsageError(f"{where}: names no op (choose from: {', '.join(OPS)})")
    if not isinstance(name, str) or name not in OPS:
        raise UnknownNameError(f"op in {where}:", name, OPS)
    keys, evaluate = OPS[name]
    for key in table:
        if key not in (*keys, "op"):
            raise UnknownNameError(f"key in {where}:", key, (*keys, "op", "about", "printed", "stands_for"))
    inputs = {key: _numbers(table[key], f"{where}: {key}") for key in keys if key in table}
    missing = [key for key in keys[: _REQUIRED[name]] if key not in inputs]
    if missing:
        raise UsageError(f"{where}: {name} needs {missing[0]}")
    for key, value in inputs.items():
        _check_form(name, key, value, f"{where}: {key}")
    given = ", ".join(f"{key} = {_shown(table[key])}" for key in inputs)
    values = evaluate(name, inputs, where)
    names = (name,) if len(values) == 1 else tuple(f"{name}[{i}]" for i in range(len(values)))
    return Quantity(f"{name}({given})", names, tuple(values))


def rounded_like(value: Value, printed: str) -> tuple[str, bool]:
    """The value rounded to the digits of ``printed``, and whether ``printed`` is a right rounding of it.

    Ends of the interval on both sides of a midpoint mean a tie (to within 2**-100): either neighbour is right.
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
    return (f"{right:e}" if "e" in printed.lower() else f"{right:f}"), False


def _row_op(name: str, inputs: Inputs, where: str) -> list[Value]:
    """An op of the contract on one row; -inf logits and what follows from them go by definition."""
    row = inputs["logits"]
    _check_row(row, inputs.get("target"), where)
    if len(inputs.get("weight", row)) != len(row):
        raise UsageError(f"{where}: {len(inputs['weight'])} weights for {len(row)} logits")
    op = op_named(name)
    wide = np.array([[float(x) for x in row]])
    arrays = {op.first: wide}
    arguments: list[Any] = [row]
    options = {key: inputs[key] for key in ("weight", "label_smoothing") if key in inputs}
    if "target" in op.inputs:
        target = inputs["target"]
        arrays["target"] = np.array([[float(y) for y in target]] if isinstance(target, list) else [int(target)])
        arguments.append(target if isinstance(target, list) else int(target))
    known, decided = special.resolve(Batch(name, "float64", "claims", arrays, _floats(options)))
    wanted = [i for i, done in enumerate(decided.ravel()) if not done]
    assert op.formula is not None  # claims are about operations of the table
    found = iter(op.formula(BigArithmetic(_PRECISION), RowInputs(tuple(arguments), options), wanted) if wanted else ())
    return [
        _special(float(v)) if d else _value(next(found)) for v, d in zip(known.ravel(), decided.ravel(), strict=True)
    ]


def _neg_log(name: str, inputs: Inputs, where: str) -> list[Value]:
    return _cross_entropy_of_p(name, {"p": [inputs["p"]], "y": [Fraction(1)]}, where)


def _cross_entropy_of_p(_name: str, inputs: Inputs, where: str) -> list[Value]:
    """-Σ y log p; classes with y = 0 contribute nothing, also where p = 0."""
    p, y = inputs["p"], inputs["y"]
    if not isinstance(p, list) or not isinstance(y, list) or len(p) != len(y):
        raise UsageError(f"{where}: p and y should be lists of the same length")
    if not all(0 <= value <= 1 for value in p):
        raise UsageError(f"{where}: p should lie between 0 and 1")
    if any(value == 0 and weight != 0 for value, weight in zip(p, y, strict=True)):
        return [_special(math.inf)]
    a = BigArithmetic(_PRECISION)
    total = a.number(0)
    for value, weight in zip(p, y, strict=True):
        if weight != 0 and value != 1:
            total = total - a.number(weight) * a.log(a.number(value))
    return [_value(total)]


Evaluate = Callable[[str, Inputs, str], list[Value]]

_PLAIN: tuple[tuple[str, ...], Evaluate] = (("logits",), _row_op)
_LOSS: tuple[tuple[str, ...], Evaluate] = (("logits", "target", "weight", "label_smoothing"), _row_op)
OPS: dict[str, tuple[tuple[str, ...], Evaluate]] = {
    "softmax": _PLAIN,
    "log_softmax": _PLAIN,
    "logsumexp": _PLAIN,
    "cross_entropy": _LOSS,
    "cross_entropy_grad": (("logits", "target"), _row_op),
    "neg_log": (("p",), _neg_log),
    "cross_entropy_of_p": (("p", "y"), _cross_entropy_of_p),
}
"""op -> (keys, how its values are found)."""

_REQUIRED = {name: min(len(keys), 2) for name, (keys, _) in OPS.items()}


def _value(number: Interval) -> Value:
    enclosed = exact.enclose([number])
    low, high = _bounds(enclosed)
    return Value(low, high, shown_interval(number))


def _bounds(enclosed: Enclosure) -> tuple[Fraction, Fraction]:
    if abs(int(enclosed.exponent[0])) > 2**16:  # far below any digit that can be printed
        return Fraction(0), Fraction(0)
    return enclosed.bounds(0)


def _special(value: float) -> Value:
    end = Fraction(value) if math.isfinite(value) else value
    return Value(end, end, f"{value:g}")


def _check_form(op: str, key: str, value: Any, where: str) -> None:
    """A list where one is due, a number where one is due; only a logit may be infinite."""
    is_list = isinstance(value, list)
    due = op == "cross_entropy_of_p" if key == "p" else key in ("logits", "weight", "y")
    if key != "target" and is_list != due:
        raise UsageError(
            f"{where} is {'a list' if is_list else 'a number'}, should be {'a list' if due else 'a number'}"
        )
    if key != "logits" and any(isinstance(one, float) for one in (value if is_list else [value])):
        raise UsageError(f"{where} is infinite, should be finite")


def _check_row(row: Any, target: Any, where: str) -> None:
    if not isinstance(row, list) or not row:
        raise UsageError(f"{where}: logits should be a list of numbers")
    if isinstance(target, list) and len(target) != len(row):
        raise UsageError(f"{where}: {len(target)} target probabilities for {len(row)} logits")
    if isinstance(target, Fraction) and (target.denominator != 1 or not 0 <= target < len(row)):
        raise UsageError(f"{where}: target {target} should be a class from 0 to {len(row) - 1}")


def _floats(options: Inputs) -> dict[str, Any]:
    return {
        key: np.array([float(v) for v in value]) if isinstance(value, list) else float(value)
        for key, value in options.items()
    }


def _numbers(value: Any, where: str) -> Any:
    """A number or a list of numbers, exactly as written."""
    if isinstance(value, list):
        return [_one(item, where) for item in value]
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
    try:
        return Decimal(text.strip().replace("−", "-"))
    except InvalidOperation:
        raise UsageError(f"{where} holds {shown(text)}, should be a number") from None


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return str(value)
