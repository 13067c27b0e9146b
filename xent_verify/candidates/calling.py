"""What a caller says about how a target is called: a call expression, arguments it overwrites, options fixed inside it."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xent_verify.candidates.domain import Domain
from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.layouts import UNWRITABLE
from xent_verify.core.model import Batch
from xent_verify.ops import Op
from xent_verify.ops.tape import UPSTREAM

__all__ = ["LIBRARY_NAMES", "Calling", "Expression", "missing_arguments", "suggested"]

LIBRARY_NAMES: Mapping[str, str] = {
    "np": "numpy", "numpy": "numpy", "torch": "torch", "jax": "jax", "jnp": "jax.numpy", "tf": "tensorflow",
    "tensorflow": "tensorflow", "cupy": "cupy", "cp": "cupy",
}  # fmt: skip
"""Names by which a call expression may use an array library, and the module that each is."""

_PLACE = "<--call>"
"""The file name of a call expression's code."""


@dataclass(frozen=True, slots=True)
class Expression:
    """One Python expression that calls the target ``f`` with the operation's ``inputs`` and ``options`` (name -> default).

    Besides those names it may use an array library by its usual name, ``empty(x)`` (an array like x for the target to write
    to, filled with NaN, so that what it leaves out is seen) and Python's own functions.
    """

    text: str
    inputs: tuple[str, ...]
    options: Mapping[str, Any]

    @staticmethod
    def of(text: str, op: Op) -> Expression:
        """The expression for an operation; ``UsageError`` with the place of the first mistake.

        Of a gradient it may be that of the function, for a library that differentiates it: then it does not use ``grad``.
        """
        options = {name: option.default for name, option in op.options.items()}
        inputs = tuple(op.inputs)
        if op.differentiates is not None and not re.search(rf"\b{UPSTREAM}\b", text):
            inputs = tuple(name for name in inputs if name != UPSTREAM)
        made = Expression(text, inputs, options)
        made.names()
        return made

    def names(self) -> frozenset[str]:
        """The names that it uses."""
        try:
            tree = ast.parse(self.text.strip(), "--call", mode="eval")
        except SyntaxError as error:
            column = f" at column {error.offset}" if error.offset else ""
            raise UsageError(f"--call {self.text!r}: {error.msg}{column}") from None
        found = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        own = {node.id for node in found if isinstance(node.ctx, ast.Store)}
        own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        known = ("f", *self.inputs, *self.options, "empty", "empty_like", *LIBRARY_NAMES)
        used = [node for node in found if node.id not in own]
        for node in used:
            if node.id not in known and not hasattr(builtins, node.id):
                unknown = UnknownNameError("name", node.id, known)
                raise UsageError(f"--call {self.text!r}: column {node.col_offset + 1}: {unknown}")
        names = frozenset(node.id for node in used)
        for name in ("f", *self.inputs):
            if name not in names:
                what = "the target is f" if name == "f" else "it is an input of the operation"
                raise UsageError(f"--call {self.text!r}: does not use {name} ({what})")
        return names

    def libraries(self) -> frozenset[str]:
        """The packages of the array libraries that it uses by name."""
        return frozenset(LIBRARY_NAMES[name].partition(".")[0] for name in self.names() if name in LIBRARY_NAMES)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of the operation's inputs and of the options that the expression uses."""
        names = self.names()
        code = compile(self.text.strip(), _PLACE, "eval")
        held = {"f": function, "empty": _empty, "empty_like": _empty}
        held |= {name: _library(name) for name in LIBRARY_NAMES if name in names}
        options = {name: value for name, value in self.options.items() if name in names}

        def call(*inputs: Any, **given: Any) -> Any:
            return eval(code, {**held, **options, **dict(zip(self.inputs, inputs, strict=True)), **given})  # noqa: S307

        named = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in self.inputs]
        named += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            for name, default in options.items()
        ]
        call.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
        return call

    def blamed(self, errors: Sequence[BaseException]) -> None:
        """``UsageError`` where every small call failed in the expression itself, not in what it called."""
        if errors and all(_raised_in(error) == _PLACE for error in errors):
            first = errors[0]
            raise UsageError(f"--call {self.text!r}: {type(first).__name__}: {' '.join(str(first).split())[:200]}")


def _raised_in(error: BaseException) -> str:
    """The file of the code that raised."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        place, trace = trace.tb_frame.f_code.co_filename, trace.tb_next
    return place


def _library(name: str) -> Any:
    try:
        return importlib.import_module(LIBRARY_NAMES[name])
    except ImportError:
        raise UsageError(f"--call uses {name}, but {LIBRARY_NAMES[name]} is not installed") from None


def _empty(like: Any, *_: Any, **__: Any) -> Any:
    """An array of the shape and type of another, C-ordered, filled with NaN (whole numbers: 0)."""
    if hasattr(like, "new_full"):  # torch
        return like.new_full(like.shape, math.nan if like.is_floating_point() else 0)
    if isinstance(like, np.ndarray | np.generic):
        return np.full(like.shape, 0 if like.dtype.kind in "iub" else math.nan, like.dtype)
    root = type(like).__module__.partition(".")[0]
    module = importlib.import_module("jax.numpy") if root in ("jax", "jaxlib") else sys.modules[root]
    return module.full_like(like, math.nan)


@dataclass(frozen=True, slots=True)
class Calling:
    """What is known about the calls of one target.

    ``expression``: how it is called (None: as the audit finds out). ``in_place``: inputs that it overwrites by contract.
    ``options``: fixed inside the target, so that they are never given to it. ``domain``: the calls that it is built for.
    """

    expression: Expression | None = None
    in_place: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    domain: Domain = field(default_factory=Domain)

    @staticmethod
    def of(
        op: Op,
        *,
        call: str = "",
        in_place: tuple[str, ...] = (),
        options: Mapping[str, Any] | None = None,
        only: str = "",
    ) -> Calling:
        """For an operation, from text; ``UsageError`` for names that it does not have."""
        fixed = dict(options or {})
        for name in fixed:
            if name not in op.options:
                raise UsageError(f"--option: {UnknownNameError(f'option of {op.name}', name, op.options)}")
        for name in in_place:
            if name not in op.inputs:
                raise UsageError(f"--in-place: {UnknownNameError(f'input of {op.name}', name, op.inputs)}")
        expression = Expression.of(call, op) if call else None
        if expression is not None:
            for name in fixed:
                if name in expression.names():
                    raise UsageError(f"--option {name} is fixed inside the target, but --call {call!r} gives it")
        return Calling(expression, tuple(in_place), fixed, Domain.of(only, op))

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of ``open_candidate`` that say the same."""
        given = {
            "call": self.expression.text if self.expression else "",
            "in_place": self.in_place,
            "options": dict(self.options),
            "only": self.domain.text,
        }
        return {name: value for name, value in given.items() if value}

    def refuses(self, batch: Batch, ndim: int | None = None) -> str:
        """Why the target is not asked this call, in words; "" where it is. ``ndim``: dimensions as the target sees them."""
        for name, value in self.options.items():
            if name not in batch.options or not _equal(batch.options[name], value):
                return f"{name} is fixed inside the target"
        return self.outside(batch, ndim)

    def outside(self, batch: Batch, ndim: int | None = None) -> str:
        """The condition of the target's domain that a call does not meet; "" where it meets all."""
        if self.in_place and batch.layout in UNWRITABLE:
            return f"not {batch.layout} (overwritten in place)"
        return self.domain.outside(batch, ndim)

    def to_plain(self) -> dict[str, Any]:
        """What the target's own process needs, as JSON takes it."""
        call = self.expression
        return {
            "call": None if call is None else [call.text, list(call.inputs), dict(call.options)],
            "in_place": list(self.in_place),
            "options": list(self.options),
        }

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Calling:
        """Back from JSON; of fixed options the names alone."""
        call = plain["call"]
        expression = None if call is None else Expression(call[0], tuple(call[1]), call[2])
        return Calling(expression, tuple(plain["in_place"]), dict.fromkeys(plain["options"]))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, str) or isinstance(b, str) or a is None or b is None:
        return a is b or a == b
    a, b = np.asarray(a), np.asarray(b)
    return bool(a.shape == b.shape and np.array_equal(a.astype(np.float64), b.astype(a.dtype).astype(np.float64)))


def suggested(function: Callable[..., Any], inputs: Sequence[str], options: Sequence[str]) -> str:
    """A call expression for a target with arguments of its own, to be filled in."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return f"f({', '.join(inputs)})"
    words, out = [], False
    for one in parameters:
        if one.default is not one.empty or one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            continue
        out |= one.name in ("out", "output", "result")
        value = one.name if one.name in (*inputs, *options) else "VALUE"
        value = f"out := empty({inputs[0]})" if one.name in ("out", "output", "result") else value
        words.append(f"{one.name}={value}" if one.kind is one.KEYWORD_ONLY else value)
    call = f"f({', '.join(words)})"
    return f"({call}, out)[1]" if out else call


def missing_arguments(errors: Sequence[BaseException], function: Callable[..., Any]) -> str:
    """The words of Python's refusal where every call lacked an argument of the target's own; "" where one did not."""
    said = ""
    for error in errors:
        if not isinstance(error, TypeError) or "required" not in str(error) or "missing" not in str(error):
            return ""
        if _entered(error, function):
            return ""
        said = str(error)
    return said


def _entered(error: BaseException, function: Callable[..., Any]) -> bool:
    """Whether the target's own code ran before it raised."""
    codes = {getattr(one, "__code__", None) for one in _layers(function)} - {None}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def _layers(function: Any) -> Iterator[Any]:
    """A callable and what it wraps."""
    for _ in range(16):
        yield function
        inner = getattr(function, "__wrapped__", None) or getattr(function, "func", None)
        if inner is None:
            break
        function = inner
    yield type(function).__dict__.get("__call__")
    yield getattr(function, "forward", None)
