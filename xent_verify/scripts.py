"""Self-contained Python scripts that reproduce one failing call with NumPy alone (plus the target)."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core import layouts
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Example

__all__ = ["array_expression", "script"]

_SHORT = 48


def array_expression(array: NDArray[Any]) -> str:
    """A NumPy expression for the exact array: literals when short, runs when repetitive, packed bits otherwise."""
    name = array.dtype.name
    dtype = f"np.{name}" if hasattr(np, name) else f"ml_dtypes.{name}"
    if array.size <= _SHORT:
        return f"np.array({_literal(array)}, dtype={dtype})" + (f".reshape({array.shape})" if not array.size else "")
    flat = array.reshape(-1)
    bits = FORMATS[name].to_bits(flat) if name in FORMATS else flat
    starts = np.concatenate([[0], np.flatnonzero(bits[1:] != bits[:-1]) + 1])
    if len(starts) <= _SHORT // 4:
        lengths = np.diff(np.append(starts, flat.size)).tolist()
        values = f"np.array({_literal(flat[starts])}, dtype={dtype})"
        return f"np.repeat({values}, {lengths}).reshape({array.shape})"
    packed = base64.b85encode(zlib.compress(np.ascontiguousarray(bits).tobytes(), 9)).decode()
    raw = f"np.frombuffer(zlib.decompress(base64.b85decode({packed!r})), dtype=np.{bits.dtype.name})"
    return f"{raw}.view({dtype}).reshape({array.shape})"


def _literal(array: NDArray[Any]) -> str:
    if array.dtype.kind in "iub":
        return repr(array.tolist())
    return repr(array.astype(np.float64).tolist()).replace("nan", "np.nan").replace("inf", "np.inf")


_LAYOUT_LINES = {
    "F": "np.asfortranarray({x})",
    "sliced": "np.pad({x}, [(0, 1)] * {x}.ndim)[tuple(slice(0, k) for k in {x}.shape)]",
    "strided": "np.repeat({x}, 2, axis=-1)[..., ::2]",
    "negative": "{x}[..., ::-1].copy()[..., ::-1]",
    "broadcast": "np.broadcast_to({x}[:1], {x}.shape)",
    "upside_down": "{x}[::-1].copy()[::-1]",
    "mixed": "np.swapaxes(np.swapaxes({x}, -1, -2).copy(), -1, -2)",
    "one_column": "np.broadcast_to({x}[..., :1], {x}.shape)",
    "misaligned": "np.frombuffer(b' ' + {x}.tobytes(), np.uint8)[1:].view({x}.dtype).reshape({x}.shape)",
    "byteswapped": "{x}.astype({x}.dtype.newbyteorder('S'))",
}


def script(target: str, example: Example, *, kind: str, dtype: str, expression: str = "") -> str:
    """The script; ``expression`` opens a target that is no NumPy function of the operation's signature.

    It prints what came out and what is right, and exits 1 while the fault is there (wrong values, a wrong dtype, a changed
    argument).
    """
    names = list(example.inputs)
    arrays = {**example.inputs, **{name: one for name, one in example.options.items() if isinstance(one, np.ndarray)}}
    body = [f"{name} = {array_expression(value)}" for name, value in arrays.items()]
    body += [line for name, value in arrays.items() for line in _layout(example.layout, name, value)]
    keywords = (f"{name}={name if name in arrays else repr(value)}" for name, value in example.options.items())
    body += _before(arrays, expression) if kind == "input_mutated" else []
    body += [f"result = np.asarray(function({', '.join([*names, *keywords])}))"]
    body += ["print('result  ', result.dtype, result.shape)"]
    match kind:
        case "input_mutated":
            body += ["print('changed ', changed())", "sys.exit(1 if changed() else 0)"]
        case "dtype":
            body += [f"sys.exit(0 if result.dtype.name == {dtype!r} else 1)"]
        case _:
            body += _comparison(example, dtype)
    text = "\n".join(body)
    imports = ["import sys" if "sys." in text else "", "import numpy as np"]
    imports += ["import base64", "import zlib"] if "zlib." in text else []
    imports += ["import ml_dtypes"] if "ml_dtypes." in text or not hasattr(np, dtype) else []
    head = [f'"""{kind}: {target}"""', *(line for line in imports if line), "", *_load(target, expression), ""]
    return "\n".join([*head, text, ""])


def _before(names: Iterable[str], expression: str) -> list[str]:
    """``changed()``: which arguments the call has written to; opened candidates get copies, and say so themselves."""
    if expression:
        return ["changed = lambda: list(function.mutated)"]
    held = ", ".join(f"{name!r}: {name}" for name in names)
    return [
        f"held = {{{held}}}",
        "before = {name: array.tobytes() for name, array in held.items()}",
        "changed = lambda: [name for name, array in held.items() if array.tobytes() != before[name]]",
    ]


def _plain(value: NDArray[Any], view: NDArray[Any]) -> bool:
    """Whether the view is an ordinary array after all."""
    return view.dtype == value.dtype and view.flags.aligned and view.strides == np.empty_like(value, order="C").strides


def _layout(layout: str, name: str, value: NDArray[Any]) -> list[str]:
    if layout not in ("C", "readonly") and _plain(value, layouts.apply(value, layout)):
        return []  # an array that has no such view stays as it is
    if layout == "readonly":
        return [f"{name}.flags.writeable = False"]
    return [f"{name} = {_LAYOUT_LINES[layout].format(x=name)}"] if layout in _LAYOUT_LINES else []


_OPENERS = {"open_candidate": "xent_verify.candidates", "answered": "xent_verify.vectors"}
"""What an expression that opens a target begins with, and the module it is from."""


def _load(target: str, expression: str) -> list[str]:
    if expression:
        opener = expression.partition("(")[0]
        return [f"from {_OPENERS[opener]} import {opener}", f"function = {expression}"]
    place, _, attribute = target.rpartition(":")
    if place.endswith(".py"):
        return [
            "import importlib.util",
            f"spec = importlib.util.spec_from_file_location('target_module', {place!r})",
            "module = importlib.util.module_from_spec(spec)",
            "spec.loader.exec_module(module)",
            f"function = module.{attribute}",
        ]
    first = attribute.partition(".")[0]
    return [f"from {place} import {first}", f"function = {attribute}"] if place else []


def _comparison(example: Example, dtype: str) -> list[str]:
    if not example.true_digits:
        return []
    index = f"[{', '.join(map(str, example.index))}]" if example.index else "[()]"
    rounded = float(example.rounded)
    literal = f"float.fromhex({rounded.hex()!r})" if np.isfinite(rounded) else f"float({str(rounded)!r})"
    return [
        f"observed = float(result{index})",
        f"print('observed', observed, observed.hex())  # was {float(example.observed)!r}",
        f"print('true    ', {example.true_digits!r})",
        f"rounded = {literal}  # the true value, correctly rounded to {dtype}",
        "print('rounded ', rounded, rounded.hex())",
        "same = observed == rounded or (observed != observed and rounded != rounded)",
        "sys.exit(0 if same else 1)",
    ]
