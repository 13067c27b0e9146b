"""Values on the wire: a JSON header and raw bits. Never a pickle.

A frame is 8 bytes (length of the header), the header, and the buffers that it names. Arrays travel as
(dtype name, shape, bits): bfloat16 and float8 keep their bits, whatever the other side can do with them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from xent_verify.model import Batch, Died, Malformed, Outcome, Raised, Returned, TimedOut

__all__ = ["HEAD", "Decoded", "batch_frame", "decode_batch", "decode_outcome", "outcome_frame", "pack", "unpack"]

HEAD = struct.Struct("<Q")
_EXTENDED = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3", "float8_e5m2fnuz", "float8_e4m3fnuz")

Decoded = tuple[dict[str, Any], list[bytes]]


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name)) if name in _EXTENDED else np.dtype(name)


def pack(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> list[Any]:
    """The buffers of one frame, in order."""
    named = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in arrays.items()}
    specs = [
        {"name": name, "dtype": array.dtype.name, "shape": list(array.shape), "bytes": array.nbytes}
        for name, array in named.items()
    ]
    text = json.dumps({**header, "arrays": specs}).encode()
    views = [memoryview(array.reshape(-1).view(np.uint8)) for array in named.values() if array.nbytes]
    return [HEAD.pack(len(text)), text, *views]


def unpack(header: Mapping[str, Any], buffers: list[Any]) -> dict[str, NDArray[Any]]:
    """The arrays of one frame (writable, C-ordered)."""
    arrays = {}
    for spec, buffer in zip(header["arrays"], buffers, strict=True):
        shape = tuple(int(n) for n in spec["shape"])
        arrays[spec["name"]] = np.frombuffer(buffer, dtype=np.uint8).view(_dtype(spec["dtype"])).reshape(shape)
    return arrays


def batch_frame(batch: Batch) -> list[Any]:
    """A batch, ready to write."""
    plain = {name: value for name, value in batch.options.items() if not isinstance(value, np.ndarray)}
    arrays = {f"input:{name}": value for name, value in batch.inputs.items()}
    arrays |= {f"option:{name}": value for name, value in batch.options.items() if isinstance(value, np.ndarray)}
    order = list(batch.options)
    header = {"op": batch.op, "fmt": batch.fmt, "layout": batch.layout, "options": plain, "order": order}
    return pack(header, arrays)


def decode_batch(header: Mapping[str, Any], buffers: list[Any]) -> Batch:
    """The batch of a frame."""
    arrays = unpack(header, buffers)
    inputs = {name[6:]: value for name, value in arrays.items() if name.startswith("input:")}
    given = {**header["options"], **{name[7:]: value for name, value in arrays.items() if name.startswith("option:")}}
    options = {name: given[name] for name in header["order"]}
    return Batch(header["op"], header["fmt"], "", inputs, options, header["layout"])


def outcome_frame(outcome: Outcome) -> list[Any]:
    """An outcome, ready to write (by the child: it never reports its own death)."""
    match outcome:
        case Returned(value, dtype_name, mutated, earlier, aliases, state, printed):
            header = {
                "kind": "returned", "dtype_name": dtype_name, "mutated": list(mutated), "earlier_changed": earlier,
                "aliases_input": aliases, "global_state": list(state), "printed": printed,
            }  # fmt: skip
            return pack(header, {"value": value})
        case Raised(type_name, message, where):
            return pack({"kind": "raised", "type_name": type_name, "message": message, "where": where}, {})
        case Malformed(what):
            return pack({"kind": "malformed", "what": what}, {})
        case TimedOut() | Died():
            raise ValueError("a process cannot report that it ended")


def decode_outcome(header: Mapping[str, Any], buffers: list[Any]) -> Outcome:
    """The outcome of a frame; ``ValueError`` or ``KeyError`` for anything else."""
    match header["kind"]:
        case "returned":
            return Returned(
                unpack(header, buffers)["value"],
                str(header["dtype_name"]),
                tuple(map(str, header["mutated"])),
                bool(header["earlier_changed"]),
                bool(header["aliases_input"]),
                tuple(map(str, header["global_state"])),
                str(header["printed"]),
            )
        case "raised":
            return Raised(str(header["type_name"]), str(header["message"]), str(header["where"]))
        case "malformed":
            return Malformed(str(header["what"]))
        case other:
            raise ValueError(f"unknown outcome {other!r}")
