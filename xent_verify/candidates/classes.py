"""Classes whose instances compute: the constructor's arguments become options of a plain function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["instantiated"]


def instantiated(function: Callable[..., Any], finish: Callable[[Any], Any] = lambda made: made) -> Callable[..., Any]:
    """For a class with callable instances, a function that makes an instance for each call; anything else as it is.

    ``nn.CrossEntropyLoss`` becomes ``f(input, target, *, weight=None, reduction="mean", …)``. ``finish`` is given every
    instance that is made.
    """
    if not inspect.isclass(function) or not _calls(function):
        return function
    options = _parameters(function)
    inputs = _parameters(_calls(function), skip=1)

    def call(*given: Any, **keywords: Any) -> Any:
        made = finish(function(**{name: value for name, value in keywords.items() if name in options}))
        return made(*given, **{name: value for name, value in keywords.items() if name not in options})

    named = [p.replace(kind=p.KEYWORD_ONLY) for name, p in options.items() if name not in inputs]
    call.__signature__ = inspect.Signature([*inputs.values(), *named])  # type: ignore[attr-defined]
    call.__name__ = function.__name__
    call.__module__ = function.__module__
    return call


def _calls(kind: Any) -> Any:
    """The method that tells what an instance takes: libraries hide it behind a general ``__call__``."""
    return next(
        (found for name in ("forward", "call", "__call__") if inspect.isfunction(found := getattr(kind, name, None))),
        None,
    )


def _parameters(function: Any, skip: int = 0) -> dict[str, inspect.Parameter]:
    try:
        found = list(inspect.signature(function).parameters.values())[skip:]
    except (ValueError, TypeError):
        return {}
    return {p.name: p for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
