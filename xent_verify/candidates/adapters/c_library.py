"""Functions of C libraries, through ctypes, by their declaration.

``libfoo.so:symbol`` with ``--kwargs '{"signature": "void f(const float *x, float *out, size_t rows, size_t n)"}'``. Roles
are read off the declaration:

* pointer to const floating numbers, or without one the first pointer to such: the logits; any other: the result
* pointer to const integers, or an integer named target, label, y: the class of each row
* size_t, int, long …: ``n`` (also len, cols, classes), preceded by ``rows`` (also batch, m) in the forms for many rows;
  names ending in ``stride``: elements from row to row (``row_stride``, ``out_row_stride``) and from logit to logit
  (``stride``, ``out_stride``)
* a floating return type: the result of a row (logsumexp, a loss)
* one pointer, not to const, and ``void``: the logits are overwritten by the result (``void f(float *x, int n)``)
* a floating number: a constant, whose value ``"constants": {"temp": 1.0}`` gives; ``"max"`` stands for the row's maximum

Without rows the function is called once per row. The result has the format of its own type, which need not be that of the
logits. ``"dtype"`` names the format where C does not (``uint16_t`` as bfloat16); ``"form": "row"`` and ``"form": "rows"`` are
short for the usual declarations; one of them or a signature has to be given. The result lies between guard bytes, and
starts out as NaN: what is written outside of it, or not written, is seen.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.candidates.adapters import Loaded
from xent_verify.candidates.style import Style
from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FORMATS, format_named

__all__ = ["load"]

_FLOATS = {
    "double": "float64", "float": "float32", "_Float16": "float16", "__fp16": "float16", "half": "float16",
    "float16_t": "float16", "__bf16": "bfloat16", "bfloat16": "bfloat16", "bfloat16_t": "bfloat16", "uint16_t": "",
    "uint8_t": "",
}  # fmt: skip
_INTEGERS = {
    "size_t": ctypes.c_size_t, "ssize_t": ctypes.c_ssize_t, "ptrdiff_t": ctypes.c_ssize_t, "int": ctypes.c_int,
    "unsigned": ctypes.c_uint, "long": ctypes.c_long, "int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64,
    "uint32_t": ctypes.c_uint32, "uint64_t": ctypes.c_uint64,
}  # fmt: skip
_SCALARS = {**_INTEGERS, "double": ctypes.c_double, "float": ctypes.c_float}
_RETURNS = {"double": ctypes.c_double, "float": ctypes.c_float, "void": None, "int": ctypes.c_int}
_TARGET_NAMES = ("target", "targets", "label", "labels", "y", "cls", "klass")
_ROW_NAMES = ("rows", "row", "batch", "m", "nrows", "n_rows", "num_rows", "count")
_STRIDES = ("row_stride", "stride", "out_row_stride", "out_stride")
_DECLARATION = re.compile(r"^\s*(?P<returns>\w+)\s+(?P<name>\w+)\s*\((?P<parameters>[^()]*)\)\s*;?\s*$")
_PARAMETER = re.compile(
    r"^(?P<const>const\s+)?(?P<type>\w+)(?P<after>\s+const)?\s*(?P<pointer>\*?)\s*(?:restrict\s+|__restrict\s+)?(?P<name>\w*)$"
)
_GUARD = 64
_GUARD_BYTE = 0xA5
_GUARDS = bytes([_GUARD_BYTE]) * (2 * _GUARD)


class OutOfBounds(Exception):  # noqa: N818  the name is what the report shows
    """The function wrote outside its result."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A declaration as roles, in the order of the parameters."""

    returns: str
    roles: tuple[str, ...]
    types: tuple[str, ...]  # the C type of each parameter that is no pointer to floating numbers, "" for those
    dtype: str  # the format of the logits
    result: str  # the format of the result
    constants: Mapping[str, Any]
    in_place: bool

    @property
    def many(self) -> bool:
        return "rows" in self.roles


def load(target: str, op: str, kwargs: Mapping[str, Any]) -> Loaded:
    """Open the library and read the declaration."""
    place, _, symbol = target.rpartition(":")
    path = Path(place)
    if not path.is_file():
        raise UsageError(f"target library {place}: not found")
    declared = _declared(target, op, kwargs)
    try:
        function = getattr(ctypes.CDLL(str(path.resolve())), symbol)
    except OSError as error:
        raise UsageError(f"target library {place}: cannot be loaded ({error})") from error
    except AttributeError:
        raise UsageError(f"target library {place}: has no symbol {symbol!r}") from None
    function.restype = _RETURNS[declared.returns]
    function.argtypes = [
        ctypes.c_void_p if role in ("input", "output", "targets") else _SCALARS[kind]
        for role, kind in zip(declared.roles, declared.types, strict=True)
    ]
    strided = "stride" in declared.roles
    style = Style(
        op,
        axis="axis" if strided and op in ("softmax", "log_softmax") else "",
        keywords=frozenset(),
        unit="" if declared.many else "vector",
        reduction="none" if op == "cross_entropy" else "",
        targets="index",
        formats=frozenset({declared.dtype}),
    )
    return Loaded(_caller(function, declared, op), style)


def _declared(target: str, op: str, kwargs: Mapping[str, Any]) -> Declared:
    known = ("signature", "dtype", "form", "constants")
    for name in kwargs:
        if name not in known:
            raise UsageError(f"kwargs for {target}: unknown {name!r} (choose from: {', '.join(known)})")
    dtype = format_named(str(kwargs["dtype"])).name if "dtype" in kwargs else ""
    if "signature" not in kwargs and "form" not in kwargs:
        usual = _usual(op, dtype or "float32", "row")
        raise UsageError(
            f'target {target}: how is it called? Give its declaration: --kwargs \'{{"signature": "{usual}"}}\''
        )
    text = kwargs.get("signature") or _usual(op, dtype or "float32", str(kwargs.get("form", "row")))
    found = _DECLARATION.match(str(text))
    if found is None or found["returns"] not in _RETURNS:
        raise UsageError(
            f"signature {text!r}: should be like 'void f(const float *x, float *out, size_t rows, size_t n)'"
        )
    parameters = [_parameter(part.strip(), str(text)) for part in found["parameters"].split(",")]
    made = _with_roles(parameters, found["returns"], dtype, str(text), dict(kwargs.get("constants", {})))
    if made.in_place and op in ("logsumexp", "cross_entropy"):
        raise UsageError(f"signature {text!r}: has no result; {op} has one number a row")
    return made


def _usual(op: str, dtype: str, form: str) -> str:
    """The declaration that a form is short for."""
    if form not in ("row", "rows"):
        raise UsageError(f"form {form!r}: should be row or rows (or give a signature)")
    kind = {name: c for c, name in reversed(_FLOATS.items()) if name}.get(dtype, "uint8_t")
    many = form == "rows"
    target = (
        ""
        if op not in ("cross_entropy", "cross_entropy_grad")
        else "const int64_t *target, "
        if many
        else "int64_t target, "
    )
    return f"void f(const {kind} *x, {target}{kind} *out, {'size_t rows, ' if many else ''}size_t n)"


def _parameter(part: str, text: str) -> tuple[str, str, bool, bool]:
    """(type, name, pointer, const) of one parameter."""
    found = _PARAMETER.match(re.sub(r"\bunsigned\s+(?:int|long)\b", "unsigned", part))
    if found is None or found["type"] not in {**_FLOATS, **_INTEGERS}:
        raise UsageError(f"signature {text!r}: cannot read the parameter {part!r}")
    return found["type"], found["name"], bool(found["pointer"]), bool(found["const"] or found["after"])


def _with_roles(
    parameters: list[tuple[str, str, bool, bool]], returns: str, dtype: str, text: str, constants: Mapping[str, Any]
) -> Declared:
    roles: list[str] = []
    formats: dict[str, str] = {}
    held = any(pointer and kind in _FLOATS and const for kind, _, pointer, const in parameters)
    sizes = [name for kind, name, pointer, _ in parameters if _is_size(kind, name, pointer)]
    for kind, name, pointer, const in parameters:
        if pointer and kind in _FLOATS:
            roles.append("input" if const or not (held or "input" in roles) else "output")
            formats[roles[-1]] = _FLOATS[kind] or dtype
        elif kind in ("float", "double"):
            roles.append(_constant(name, constants, text))
        elif kind in _INTEGERS and (pointer or name in _TARGET_NAMES):
            roles.append("targets" if pointer else "target")
        elif name in _STRIDES:
            roles.append(name)
        elif name in _ROW_NAMES or (len(sizes) == 2 and name == sizes[0]):
            roles.append("rows")
        else:
            roles.append("n")
    if "" in formats.values():
        raise UsageError(f'signature {text!r}: does not tell the format; add "dtype" to the kwargs')
    wrong = [role for role in set(roles) if roles.count(role) > 1]
    overwritten = any(pointer and kind in _FLOATS and not const for kind, _, pointer, const in parameters)
    in_place = "output" not in roles and returns == "void" and overwritten
    if (
        wrong
        or "input" not in roles
        or "n" not in roles
        or ("output" not in roles and returns == "void" and not in_place)
    ):
        raise UsageError(f"signature {text!r}: read as {', '.join(roles)}; needs one input, one n and a result")
    types = tuple("" if pointer and kind in _FLOATS else kind for kind, _, pointer, _ in parameters)
    logits = formats["input"]
    result = formats.get("output", logits if in_place else _FLOATS.get(returns, logits))
    return Declared(returns, tuple(roles), types, logits, result, constants, in_place)


def _constant(name: str, constants: Mapping[str, Any], text: str) -> str:
    """The role of a floating number."""
    value = constants.get(name)
    if value != "max" and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise UsageError(
            f'signature {text!r}: {name} is a number: give it in the kwargs, as "constants": {{"{name}": 1.0}}'
        )
    return f"constant {name}"


def _is_size(kind: str, name: str, pointer: bool) -> bool:
    return kind in _INTEGERS and not pointer and name not in _TARGET_NAMES and name not in _STRIDES


def _caller(function: Any, declared: Declared, op: str) -> Callable[..., Any]:
    """A function of NumPy arrays: one row, or rows × n (with ``axis`` where there are strides)."""
    dtype, result_dtype = FORMATS[declared.dtype].dtype, FORMATS[declared.result].dtype
    kind = next((k for role, k in zip(declared.roles, declared.types, strict=True) if role == "targets"), "int64_t")
    index = np.dtype(_INTEGERS[kind])

    def call(x: NDArray[Any], target: Any = None, axis: int = -1) -> Any:
        if not declared.many and x.ndim != 1:
            raise ValueError(f"one row at a time, not {x.ndim} dimensions")
        x = np.require(x, dtype, ["ALIGNED"])  # C reads numbers of this machine's byte order, at their own alignment
        rows = _rows(x, axis, strided="stride" in declared.roles)
        per_row = op in ("logsumexp", "cross_entropy")
        whole, inside, out = _guarded((rows.shape[0],) if per_row else rows.shape, result_dtype)
        targets = None if target is None else np.array(target, index, order="C")
        places = _values(rows, out, targets)
        if declared.in_place:
            out[...] = rows
            places["input"] = places["output"]
        for name, value in declared.constants.items():
            places[f"constant {name}"] = float(rows.max(initial=-np.inf) if value == "max" else value)
        result = function(*(places[role] for role in declared.roles))
        if "output" not in declared.roles and not declared.in_place:
            return result_dtype.type(result)
        guards = whole[: inside.start].tobytes() + whole[inside.stop :].tobytes()
        if guards != _GUARDS:
            raise OutOfBounds(f"{len(guards) - guards.count(_GUARD_BYTE)} bytes next to the result were written")
        if per_row:
            return out[0] if not declared.many else out.reshape(np.delete(x.shape, axis % x.ndim))
        return out[0] if x.ndim == 1 else np.moveaxis(out.reshape(np.moveaxis(x, axis, -1).shape), -1, axis)

    return call


def _rows(x: NDArray[Any], axis: int, *, strided: bool) -> NDArray[Any]:
    """rows × n; with strides a view where there is one, else contiguous."""
    moved = x if axis in (-1, x.ndim - 1) else np.moveaxis(x, axis, -1)
    rows = moved.reshape(math.prod(moved.shape[:-1]), moved.shape[-1])
    return rows if strided and all(step % x.itemsize == 0 for step in rows.strides) else np.ascontiguousarray(rows)


def _guarded(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[NDArray[np.uint8], slice, NDArray[Any]]:
    """(all bytes, where the result lies, the result): guard bytes on both sides, NaN inside."""
    size = math.prod(shape) * dtype.itemsize
    whole = np.full(size + 2 * _GUARD, _GUARD_BYTE, np.uint8)
    inside = slice(_GUARD, _GUARD + size)
    out = whole[inside].view(dtype).reshape(shape)
    out[...] = np.nan
    return whole, inside, out


def _values(rows: NDArray[Any], out: NDArray[Any], targets: NDArray[Any] | None) -> dict[str, Any]:
    """The value of every role."""
    size = rows.itemsize
    return {
        "input": rows.ctypes.data,
        "output": out.ctypes.data,
        "targets": None if targets is None else targets.ctypes.data,
        "target": None if targets is None or targets.ndim else int(targets),
        "rows": rows.shape[0],
        "n": rows.shape[1],
        "row_stride": rows.strides[0] // size,
        "stride": rows.strides[1] // size,
        "out_row_stride": out.strides[0] // out.itemsize,
        "out_stride": 1,
    }
