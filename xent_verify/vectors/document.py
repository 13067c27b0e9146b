"""The published format (docs/vectors.md): one JSON document with a case a line, and its binary twin without pickles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.documents import Node, fault, json_of, read_json, read_npz, shown
from xent_verify.core.enclosure import FIELDS
from xent_verify.core.formats import format_named
from xent_verify.core.model import Batch
from xent_verify.core.outputs import replace_file, replacing
from xent_verify.ops import OPS
from xent_verify.ops.defined import undefined
from xent_verify.vectors.bits import (
    TRUE_RADIUS,
    array_of,
    array_record,
    literals,
    option_of,
    option_record,
    words,
)
from xent_verify.vectors.case import FORMAT, VERSION, Case, Vectors

__all__ = ["of_this_version", "read_vectors", "to_text", "write_vectors"]

_DOCUMENT = "document.json"
"""The entry of a binary file that holds the JSON document, as bytes; the arrays stand beside it."""


def write_vectors(vectors: Vectors, path: Path) -> None:
    """As JSON, or as the binary twin where the name ends in ``.npz``. The same vectors give the same bytes."""
    if path.suffix == ".npz":
        arrays = {_DOCUMENT: np.frombuffer(to_text(vectors, arrays=False).encode(), np.uint8)}
        for case in vectors.cases:
            arrays |= _arrays(case)
        with replacing(path) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        return
    replace_file(path, to_text(vectors))


def to_text(vectors: Vectors, *, arrays: bool = True) -> str:
    """The document; without ``arrays`` what the binary twin holds beside them."""
    head = {
        "format": FORMAT,
        "version": VERSION,
        "settings": dict(vectors.settings),
        "true_radius_ulp": TRUE_RADIUS.hex(),
        "notes": dict(vectors.notes),
    }
    lines = [f"{_line(name)}: {_line(value)}," for name, value in head.items()]
    cases = ",\n".join(_line(_record(case, arrays)) for case in vectors.cases)
    return "\n".join(["{", *lines, '"cases": [', cases, "]}"]) + "\n"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _record(case: Case, arrays: bool) -> dict[str, Any]:
    batch, known = case.batch, case.known
    assert known is not None, "only cases that were worked out are written"
    record: dict[str, Any] = {"id": case.id, "op": batch.op, "dtype": batch.fmt, "flags": list(case.flags)}
    record["options"] = {name: option_record(value) for name, value in sorted(batch.options.items())}
    if arrays:
        record["inputs"] = {name: array_record(value) for name, value in batch.inputs.items()}
    else:
        record["inputs"] = {
            name: {"dtype": value.dtype.name, "shape": list(value.shape)} for name, value in batch.inputs.items()
        }
    record["shape"] = list(known.answer.shape)
    if arrays:
        record |= {
            "answer": words(known.answer, batch.form),
            "true": literals(known.truth, batch.form),
            "low": words(known.low, batch.form),
            "high": words(known.high, batch.form),
        }
    record["special"] = [
        {"situation": one.situation, "accept": list(one.accept), "elements": list(one.elements)}
        for one in known.special
    ]
    return record


def _arrays(case: Case) -> dict[str, NDArray[Any]]:
    """The arrays of one case, by name: floating values as their bits."""
    known, form = case.known, case.batch.form
    assert known is not None
    result = {f"{case.id}/{name}": _stored(value) for name, value in case.batch.inputs.items()}
    for name, value in (("answer", known.answer), ("low", known.low), ("high", known.high)):
        result[f"{case.id}/{name}"] = form.to_bits(value).reshape(value.shape)
    for name, field in zip(FIELDS[:4], known.truth.fields, strict=False):
        result[f"{case.id}/true_{name}"] = np.ascontiguousarray(field)
    return result


def _stored(value: NDArray[Any]) -> NDArray[Any]:
    return value if value.dtype.kind in "iu" else format_named(value.dtype).to_bits(value).reshape(value.shape)


def read_vectors(path: Path) -> Vectors:
    """The cases of a file, JSON or binary, without what is known of them. ``UsageError`` in one line for any other."""
    arrays = read_npz(path) if path.suffix == ".npz" else {}
    if path.suffix != ".npz":
        root = read_json(path)
    elif _DOCUMENT in arrays:
        root = json_of(arrays[_DOCUMENT].tobytes(), str(path))
    else:
        raise fault(str(path), _DOCUMENT, "is missing", "there: it is no file of vectors")
    of_this_version(root, FORMAT)
    cases = tuple(_case(node, arrays) for node in root.children("cases"))
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise fault(str(path), "cases", f"has two of the id {shown(case.id)}", "one of each")
        seen.add(case.id)
    if not cases:
        raise fault(str(path), "cases", "is empty", "a list of cases")
    return Vectors(cases, root.child("settings").fields, root.named_texts("notes"))


def of_this_version(root: Node, kind: str) -> None:
    """``UsageError`` where a document is not of that format and this version."""
    for key, due in (("format", kind), ("version", VERSION)):
        if type(root.get(key)) is not type(due) or root.get(key) != due:
            raise root.fail(key, root.get(key), repr(due))


def _case(node: Node, arrays: Mapping[str, NDArray[Any]]) -> Case:
    name, op = node.text("id"), node.choice("op", OPS, "an operation ('xent-verify list ops')")
    form = node.made("dtype", format_named)
    given = node.child("inputs")
    if tuple(given.fields) != tuple(OPS[op].inputs):
        raise node.fail("inputs", list(given.fields), f"those of {op}: {', '.join(OPS[op].inputs)}")
    inputs = {key: _input(name, given.child(key), key, arrays) for key in given.fields}
    options = node.child("options")
    values = {key: option_of(options, key) for key in options.fields}
    flags = node.texts("flags")
    batch = Batch(op, form.name, flags[0] if flags else "vectors", inputs, values)
    try:
        why = undefined(OPS[op], batch)
    except (ValueError, TypeError, IndexError, ArithmeticError) as error:
        why = str(error)
    if why:
        raise fault(node.source, node.place, f"is a call without a meaning: {why}", "")
    return Case(name, flags, batch)


def _input(case: str, record: Node, key: str, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    if not arrays:
        return array_of(record)
    stored = arrays.get(f"{case}/{key}")
    if stored is None:
        raise fault(record.source, record.place, f"has no array {case}/{key}", "in the file")
    named = record.text("dtype")
    if stored.dtype.name == named:
        return stored
    form = record.made("dtype", format_named)
    if stored.dtype != form.unsigned:
        raise record.fail("dtype", named, f"that of the stored array, {stored.dtype.name}")
    return form.from_bits(stored).reshape(stored.shape)
