"""Values on the wire: a JSON header and raw bits. Never a pickle.

A frame is 8 bytes (length of the header), the header, and the buffers that it names. Arrays travel as
(dtype name, shape, bits): bfloat16 and float8 keep their bits, whatever the other side can do with them. What comes
from a target's process is not trusted: dtypes are looked up in a closed set, sizes checked first.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from xent_verify.core.arrays import dtype_name
from xent_verify.core.documents import shown
from xent_verify.core.failures import clipped
from xent_verify.core.model import Batch, Died, Malformed, NotOffered, Outcome, Raised, Returned, TimedOut

__all__ = ["Frame", "batch_frame", "decode_batch", "decode_outcome", "is_number", "outcome_frame", "pack", "read_frame"]

Frame = tuple[dict[str, Any], dict[str, NDArray[Any]]]

_HEAD = struct.Struct("<Q")
_HEADER_LIMIT = 2**26
_DIMENSIONS = 64
_NAME = 200
_TEXT = 4000
"""Characters of a text in an answer; a message is cut there."""
_PLAIN = (
    "float16",
    "float32",
    "float64",
    "float96",
    "float128",
    *(f"{kind}{n}" for kind in ("int", "uint") for n in (8, 16, 32, 64)),
)
_EXTENDED = (
    "bfloat16", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2",
    "float8_e5m2fnuz", "float8_e8m0fnu", "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn",
)  # fmt: skip


@cache
def is_number(dtype: np.dtype[Any]) -> bool:
    """True for the dtypes that may travel: real numbers."""
    name = dtype_name(dtype)
    return name in _PLAIN or name in _EXTENDED


def _dtype(name: str) -> np.dtype[Any]:
    if name not in _PLAIN and name not in _EXTENDED and name != "bool":  # a mask
        raise ValueError(f"dtype {shown(name)} does not travel")
    return np.dtype(getattr(ml_dtypes, name)) if name in _EXTENDED else np.dtype(name)


def pack(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> list[Any]:
    """The buffers of one frame, in order."""
    named = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in arrays.items()}
    specs = [(name, dtype_name(array.dtype), array.shape) for name, array in named.items()]
    text = json.dumps({**header, "buffers": specs}).encode()
    views = [array.reshape(-1).view(np.uint8).data for array in named.values() if array.nbytes]
    return [_HEAD.pack(len(text)) + text, *views]


def read_frame(read: Callable[[int], Any], limit: int) -> Frame:
    """The next frame; ``read(n)`` gives exactly n bytes. ``ValueError`` for what is no frame of at most ``limit``."""
    size = _HEAD.unpack(read(_HEAD.size))[0]
    if size > _HEADER_LIMIT:
        raise ValueError("not a frame")
    try:
        header = json.loads(bytes(read(size)))
    except RecursionError:
        raise ValueError("a frame that nests too deep") from None
    if not isinstance(header, dict):
        raise ValueError("a frame without a header")
    arrays, total = {}, 0
    for name, kind, shape in _specs(header.pop("buffers", None)):
        dtype = _dtype(kind)
        count = math.prod(shape) * dtype.itemsize
        total += count
        if total > limit:
            raise ValueError("an array too large")
        arrays[name] = np.frombuffer(read(count), np.uint8).view(dtype).reshape(shape)
    return header, arrays


def _specs(buffers: Any) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """(name, dtype, shape) of every buffer of a frame."""
    if not isinstance(buffers, list):
        raise ValueError("a frame names no buffers")
    for spec in buffers:
        match spec:
            case [str(name), str(dtype), [*shape]] if len(shape) <= _DIMENSIONS and all(
                type(n) is int and n >= 0 for n in shape
            ):
                yield name, dtype, tuple(shape)
            case _:
                raise ValueError(f"{shown(spec)} is no buffer")


def batch_frame(batch: Batch, number: int) -> list[Any]:
    """A batch, ready to write. Arrays and NumPy scalars among the options keep their bits."""
    bits = {name for name, value in batch.options.items() if isinstance(value, (np.ndarray, np.generic))}
    arrays = {f"input:{name}": value for name, value in batch.inputs.items()}
    arrays |= {f"option:{name}": np.asarray(batch.options[name]) for name in bits}
    options = [(name, None if name in bits else value) for name, value in batch.options.items()]
    scalars = [name for name in bits if isinstance(batch.options[name], np.generic)]
    header = {
        "number": number, "op": batch.op, "fmt": batch.fmt, "layout": batch.layout,
        "times": batch.times, "threads": batch.threads, "options": options, "scalars": scalars,
    }  # fmt: skip
    return pack(header, arrays)


def decode_batch(frame: Frame) -> Batch:
    """The batch of a frame."""
    header, arrays = frame
    inputs = {name[6:]: value for name, value in arrays.items() if name.startswith("input:")}
    options = {name: arrays.get(f"option:{name}", value) for name, value in header["options"]}
    options |= {name: options[name][()] for name in header["scalars"]}
    again: dict[str, Any] = {name: int(header[name]) for name in ("times", "threads")}
    return Batch(header["op"], header["fmt"], "", inputs, options, header["layout"], **again)


def outcome_frame(outcome: Outcome, number: int) -> list[Any]:
    """An outcome, ready to write."""
    match outcome:
        case Returned(value, dtype_name, mutated, earlier, aliases, state, printed):
            header = {
                "kind": "returned", "dtype_name": dtype_name, "mutated": mutated, "earlier_changed": earlier,
                "aliases_input": aliases, "global_state": state, "printed": printed, "number": number,
            }  # fmt: skip
            return pack(header, {"value": value})
        case Raised(type_name, message, where):
            return pack(
                {"kind": "raised", "type_name": type_name, "message": message, "where": where, "number": number}, {}
            )
        case Malformed(what):
            return pack({"kind": "malformed", "what": what, "number": number}, {})
        case Died(how):
            return pack({"kind": "died", "how": how, "number": number}, {})
        case TimedOut() | NotOffered():
            raise ValueError("a child neither times itself nor refuses calls")


def _text(given: Any) -> str:
    """A text of an answer, of a limited length and with a UTF-8 encoding."""
    if not isinstance(given, str):
        raise ValueError(f"{shown(given)} is no text")
    return clipped(given, _TEXT).encode("utf-8", "backslashreplace").decode()


def decode_outcome(frame: Frame) -> Outcome:
    """The outcome of a frame; ``ValueError``, ``KeyError`` or ``TypeError`` for anything else."""
    header, arrays = frame
    match header["kind"]:
        case "returned":
            return Returned(
                arrays["value"],
                _text(header["dtype_name"]),
                tuple(map(_text, header["mutated"])),
                bool(header["earlier_changed"]),
                bool(header["aliases_input"]),
                tuple(map(_text, header["global_state"])),
                _text(header["printed"]),
            )
        case "raised":
            return Raised(clipped(_text(header["type_name"]), _NAME), _text(header["message"]), _text(header["where"]))
        case "malformed":
            return Malformed(_text(header["what"]))
        case "died":
            return Died(_text(header["how"]))
        case other:
            raise ValueError(f"unknown outcome {shown(other)}")
