"""Arrays as JSON: raw bits in hex with the name of the format, run-length coded. Exact both ways.

``{"dtype": "float32", "shape": [1, 4], "bits": "42b20000 00000000*3", "values": [89.0, 0.0, 0.0, 0.0]}``

``bits`` lists the elements in C order; ``h*k`` repeats h k times. It alone decides the numbers: ``values`` is there for
people and only for short arrays.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.formats import FORMATS, INTEGERS

__all__ = ["decode_array", "encode_array", "plain", "runs"]

READABLE = 32
"""Longest array that is also written as decimal values."""

_ELEMENT_LIMIT = 1 << 24


def plain(value: float) -> float | str:
    """A float as strict JSON: NaN and infinities by name."""
    if math.isnan(value):
        return "nan"
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def runs(values: NDArray[Any]) -> list[tuple[int, int]]:
    """(bits, how often in a row) over a flat array of unsigned integers."""
    return [(bits, len(list(group))) for bits, group in groupby(values.tolist())]


def encode_array(array: NDArray[Any]) -> dict[str, Any]:
    """One array of a supported format, of integers or of booleans."""
    flat = np.ascontiguousarray(array).reshape(-1)
    width = flat.dtype.itemsize * 2
    words = [f"{bits:0{width}x}" + (f"*{count}" if count > 1 else "") for bits, count in runs(_unsigned(flat))]
    record = {"dtype": flat.dtype.name, "shape": list(array.shape), "bits": " ".join(words)}
    if flat.size <= READABLE:
        record["values"] = [_readable(value) for value in flat]
    return record


def decode_array(record: Any) -> NDArray[Any]:
    """The array back. ``UsageError`` where the record is not one that ``encode_array`` writes."""
    match record:
        case {"dtype": str(name), "shape": [*shape], "bits": str(text)}:
            dtype = _dtype(name)
            width = dtype.itemsize * 2
            try:
                size = math.prod(_length(item) for item in shape)
                counted = [_word(word, width) for word in text.split()]
                if size > _ELEMENT_LIMIT or sum(count for _, count in counted) != size:
                    raise ValueError(f"{text[:40]!r} does not hold {size} elements")
            except ValueError as error:
                raise UsageError(f"array of {name}: {error}") from None
            values = np.array([bits for bits, _ in counted], dtype=f"u{dtype.itemsize}")
            flat = np.repeat(values, [count for _, count in counted])
            return flat.view(dtype).reshape(shape)
        case _:
            raise UsageError("an array needs dtype, shape and bits")


def _unsigned(flat: NDArray[Any]) -> NDArray[Any]:
    return flat.view(f"u{flat.dtype.itemsize}")


def _readable(value: Any) -> float | int | str | bool:
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    return plain(float(value))


def _dtype(name: str) -> np.dtype[Any]:
    if name in FORMATS:
        return FORMATS[name].dtype
    if name != "bool" and name not in INTEGERS:
        raise UnknownNameError("dtype", name, ("bool", *INTEGERS, *FORMATS))
    return np.dtype(name)


def _length(item: Any) -> int:
    if not isinstance(item, int) or isinstance(item, bool) or item < 0:
        raise ValueError(f"shape holds {item!r}, should be a length")
    return item


def _word(word: str, width: int) -> tuple[int, int]:
    digits, _, count = word.partition("*")
    repeat = int(count) if count else 1
    if len(digits) != width or repeat < 1:
        raise ValueError(f"{word[:40]!r} is not {width} hex digits with an optional repeat")
    return int(digits, 16), repeat
