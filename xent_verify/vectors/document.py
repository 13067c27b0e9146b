"""The published format (docs/vectors.md): one JSON document with a case a line, and its binary twin without pickles."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.defined import undefined
from xent_verify.enclosure import FIELDS
from xent_verify.failures import UsageError
from xent_verify.formats import format_named
from xent_verify.model import Batch
from xent_verify.ops import OPS, op_named
from xent_verify.report.decode import Node
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

__all__ = ["load_npz", "parsed", "read_vectors", "to_text", "write_vectors"]

_DOCUMENT = "document.json"
"""The entry of a binary file that holds the JSON document, as bytes; the arrays stand beside it."""


def write_vectors(vectors: Vectors, path: Path) -> None:
    """As JSON, or as the binary twin where the name ends in ``.npz``. The same vectors give the same bytes."""
    if path.suffix == ".npz":
        arrays = {_DOCUMENT: np.frombuffer(to_text(vectors, arrays=False).encode(), np.uint8)}
        for case in vectors.cases:
            arrays |= _arrays(case)
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        return
    path.write_text(to_text(vectors), encoding="utf-8")


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
    if path.suffix == ".npz":
        arrays = load_npz(path)
        if _DOCUMENT not in arrays:
            raise UsageError(f"{path}: holds no {_DOCUMENT}: not a file of vectors")
        root = parsed(arrays[_DOCUMENT].tobytes().decode("utf-8", "replace"), str(path), FORMAT)
    else:
        arrays = {}
        root = parsed(path.read_text(encoding="utf-8"), str(path), FORMAT)
    cases = tuple(_case(node, arrays) for node in root.children("cases"))
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise UsageError(f"{path}: two cases are called {case.id!r}")
        seen.add(case.id)
    if not cases:
        raise UsageError(f"{path}: holds no case")
    return Vectors(cases, root.child("settings").fields, root.child("notes").fields)


def parsed(text: str, source: str, kind: str) -> Node:
    """The root of a strict JSON document of that format and this version."""
    try:
        data = json.loads(text, parse_constant=_no_literal)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{source} is not strict JSON: {error}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{source} holds {type(data).__name__}, should be an object")
    root = Node(data, source)
    if root.get("format") != kind:
        raise root.fail("format", root.get("format"), repr(kind))
    if root.get("version") != VERSION:
        raise root.fail("version", root.get("version"), f"{VERSION}: read it with the xent-verify that wrote it")
    return root


def _no_literal(name: str) -> float:
    raise ValueError(f"the literal {name} (write bits)")


def load_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of a binary file; never a pickle."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise UsageError(f"{path}: not a readable .npz file without pickles ({' '.join(str(error).split())})") from None


def _case(node: Node, arrays: Mapping[str, NDArray[Any]]) -> Case:
    name = node.text("id")
    where = f"{node.where} ({name})"
    op = node.text("op")
    if op not in OPS:
        op_named(op)
    form = format_named(node.text("dtype"))
    records = node.child("inputs").fields
    inputs = {key: _input(name, key, record, arrays, where) for key, record in records.items()}
    if tuple(inputs) != tuple(OPS[op].inputs):
        raise UsageError(f"{where}: inputs {', '.join(inputs)} are not those of {op}")
    options = {key: option_of(value, f"{where}.options.{key}") for key, value in node.child("options").fields.items()}
    flags = node.texts("flags")
    batch = Batch(op, form.name, flags[0] if flags else "vectors", inputs, options)
    why = undefined(OPS[op], batch)
    if why:
        raise UsageError(f"{where}: {why}")
    return Case(name, flags, batch)


def _input(case: str, key: str, record: Any, arrays: Mapping[str, NDArray[Any]], where: str) -> NDArray[Any]:
    if not isinstance(record, dict):
        raise UsageError(f"{where}.inputs.{key} is {str(record)[:40]!r}, should be an object")
    if not arrays:
        return array_of(record, f"{where}.inputs.{key}")
    stored = arrays.get(f"{case}/{key}")
    if stored is None:
        raise UsageError(f"{where}: the file has no array {case}/{key}")
    named = str(record.get("dtype"))
    value = stored if stored.dtype.name == named else format_named(named).from_bits(stored)
    return value.reshape(stored.shape)
