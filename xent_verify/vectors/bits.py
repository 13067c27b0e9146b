"""Numbers as vectors write them: raw bits in hex, integers, true values as hexadecimal literals. Exact both ways."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.documents import Node, fault, shown
from xent_verify.core.enclosure import Enclosure
from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FORMATS, INTEGERS, FloatFormat

__all__ = ["TRUE_RADIUS", "array_of", "array_record", "literals", "option_of", "option_record", "words", "words_read"]

TRUE_RADIUS = 2.0**-19
"""How far a printed true value may lie from the true value, in ulps: 2**-20 of the enclosure, and its own rounding."""

_SPARE_BITS = 22
_DIMENSIONS = 32


def words(values: NDArray[Any], form: FloatFormat) -> str:
    """The raw bits of every element in C order, one hex word each."""
    return " ".join(f"{bits:0{form.hex_digits}x}" for bits in form.to_bits(values).reshape(-1).tolist())


def words_read(given: Any, form: FloatFormat) -> NDArray[Any]:
    """A flat array of the format from its words: one string, or a list of strings. ``ValueError`` where it is not that."""
    parts = given.split() if isinstance(given, str) else given
    if not isinstance(parts, list):
        raise ValueError(f"{shown(given)} is neither hex words nor a list of them")
    bits = np.zeros(len(parts), form.unsigned)
    digits = form.hex_digits
    for place, part in enumerate(parts):
        word = str(part).lower().removeprefix("0x")
        if len(word) != digits or set(word) - set("0123456789abcdef"):
            raise ValueError(f"{shown(part)} is not the {digits} hex digits of a {form.name}")
        bits[place] = int(word, 16)
    return form.from_bits(bits)


def array_record(array: NDArray[Any]) -> dict[str, Any]:
    """An array of a format as bits, of integers as numbers."""
    record: dict[str, Any] = {"dtype": array.dtype.name, "shape": list(array.shape)}
    if array.dtype.name in FORMATS:
        return record | {"bits": words(array, FORMATS[array.dtype.name])}
    return record | {"values": array.reshape(-1).tolist()}


def array_of(record: Node) -> NDArray[Any]:
    """The array back; ``UsageError`` that says where."""
    name, shape = record.text("dtype"), record.integers("shape")
    if name not in FORMATS and name not in INTEGERS:
        raise record.fail("dtype", name, "a float format or an integer dtype")
    key = "bits" if name in FORMATS else "values"
    try:
        flat = words_read(record.get(key), FORMATS[name]) if name in FORMATS else np.array(record.integers(key), name)
    except UsageError:
        raise
    except (ValueError, OverflowError) as error:
        raise fault(record.source, record.key(key), f"cannot be read: {error}", "") from None
    if any(n < 0 for n in shape) or math.prod(shape) != flat.size or len(shape) > _DIMENSIONS:
        raise record.fail("shape", record.fields["shape"], f"the lengths of an array of {flat.size} elements")
    return flat.reshape(shape)


def option_record(value: Any) -> Any:
    """An option: arrays as above, floats with their exact value, the rest as it is."""
    if isinstance(value, np.ndarray) and value.ndim:
        return array_record(value)
    plain = value.item() if isinstance(value, np.generic | np.ndarray) else value
    return {"value": plain, "hex": plain.hex()} if isinstance(plain, float) else plain


def option_of(options: Node, name: str) -> Any:
    """An option back."""
    value = options.get(name)
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise options.fail(name, value, "a number, a word, or an array's object")
        return value
    given = options.child(name)
    if "hex" not in value:
        return array_of(given)
    return given.made("hex", _hexadecimal)


def _hexadecimal(text: str) -> float:
    try:
        return float.fromhex(text)
    except (ValueError, OverflowError):
        raise UsageError("no hexadecimal float") from None


def literals(truth: Enclosure, form: FloatFormat) -> str:
    """Each true value as a hexadecimal floating literal, within ``TRUE_RADIUS`` ulps of the format."""
    flat = truth.reshape(-1)
    columns = (flat.hi.tolist(), flat.lo.tolist(), flat.exponent.tolist())
    return " ".join(_literal(hi, lo, exponent, form) for hi, lo, exponent in zip(*columns, strict=True))


def _literal(hi: float, lo: float, exponent: int, form: FloatFormat) -> str:
    if not math.isfinite(hi):
        return str(hi)
    if hi == 0:
        return "0x0p+0"
    nibbles = -(-(form.precision + _SPARE_BITS) // 4)
    number = round((Fraction(abs(hi)) + Fraction(lo if hi > 0 else -lo)) * 16**nibbles)
    whole, rest = divmod(number, 16**nibbles)
    tail = f"{rest:0{nibbles}x}".rstrip("0")
    return f"{'-' if hi < 0 else ''}0x{whole:x}{'.' if tail else ''}{tail}p{exponent:+d}"
