"""The source that a built-in implementation runs: its own, and that of everything in its room which it reaches."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

__all__ = ["sources_hash"]

_ROOM = "xent_verify.implementations."
_PLAIN = (int, float, str, tuple)


def sources_hash(function: Callable[..., Any]) -> str:
    """SHA-256 over the source of ``function`` and of the functions, classes and constants of its room that it reaches.

    What it reaches is what its code names (also as an attribute of a module of the room), closes over, or has as a
    default: more than what one call runs, never less. A change elsewhere in the same file is none of the target's.
    """
    found: set[tuple[str, str]] = set()
    seen: list[Any] = []
    waiting: list[tuple[str, Any]] = [("", function)]
    while waiting:
        name, thing = waiting.pop()
        described = _described(name, thing)
        if described is None:
            continue
        found.add(described)
        if not any(thing is one for one in seen):
            seen.append(thing)
            waiting += _reached(thing)
    return hashlib.sha256("".join(f"{key}\n{text}\n" for key, text in sorted(found)).encode()).hexdigest()


def _described(name: str, thing: Any) -> tuple[str, str] | None:
    """(key, text) of what belongs to the room; None of anything else."""
    if isinstance(thing, functools.partial):
        return f"partial {name}", ""
    if is_dataclass(thing) and not isinstance(thing, type) and type(thing).__module__.startswith(_ROOM):
        return f"{type(thing).__qualname__} {name}", ""
    if isinstance(thing, FunctionType) and inspect.unwrap(thing).__code__.co_filename.startswith("<"):
        return None  # a method that ``dataclass`` wrote: its class is the source
    if isinstance(thing, (FunctionType, type)) and thing.__module__.startswith(_ROOM):
        return f"{thing.__module__}.{thing.__qualname__}", inspect.getsource(thing)
    if name and isinstance(thing, _PLAIN):
        return name, repr(thing)
    return None


def _reached(thing: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, functools.partial):
        yield from (("", part) for part in (thing.func, *thing.args, *thing.keywords.values()))
    elif isinstance(thing, type):
        yield from (("", part) for part in (*vars(thing).values(), *thing.__bases__))
    elif is_dataclass(thing):
        yield from ((f"{type(thing).__qualname__}.{part.name}", getattr(thing, part.name)) for part in fields(thing))
    elif isinstance(thing, FunctionType):
        values = [cell.cell_contents for cell in thing.__closure__ or ()]
        values += [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
        yield from (("", value) for value in values)
        yield from _named(thing)


def _named(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What the names in the code stand for: globals, and attributes of the room's modules among them."""
    names = sorted(set(_names(function.__code__)))
    scope = function.__globals__
    modules = [scope[name] for name in names if isinstance(scope.get(name), ModuleType)]
    for name in names:
        if name in scope:
            yield f"{function.__module__}.{name}", scope[name]
        for module in modules:
            if module.__name__.startswith(_ROOM) and hasattr(module, name):
                yield f"{module.__name__}.{name}", getattr(module, name)


def _names(code: CodeType) -> Iterator[str]:
    """Names used by the code and by the functions and comprehensions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
