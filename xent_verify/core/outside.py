"""What a caller brings from outside the package, by the name ``module:attribute``: an operation, a policy, a law …"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Container, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from xent_verify.core.failures import UsageError

__all__ = ["closed", "is_outside", "outside"]

_CLOSED: ContextVar[bool] = ContextVar("closed", default=False)


def is_outside(name: str, known: Container[str] = ()) -> bool:
    """Whether a name has the form ``module:attribute``, and no ``known`` word stands before the colon."""
    module, colon, attribute = name.partition(":")
    return bool(colon and attribute) and module not in known and all(map(str.isidentifier, module.split(".")))


@contextmanager
def closed() -> Iterator[None]:
    """Meanwhile nothing is imported by ``outside``: the names come from a file that nobody vouches for."""
    token = _CLOSED.set(True)
    try:
        yield
    finally:
        _CLOSED.reset(token)


def outside(name: str, kind: type[Any], what: str) -> Any:
    """The ``kind`` at ``module:attribute``; modules of the current folder are found too, as they are for targets.

    ``UsageError`` where it cannot be imported or is something else, and while the house is ``closed``; ``what`` says what
    the name stands for.
    """
    if _CLOSED.get():
        raise UsageError(f"{what} {name}: the file names code that would be imported; --trust says that it may be")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: object = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"{what} {name}: cannot be imported ({error})") from error
    if not isinstance(found, kind):
        raise UsageError(f"{what} {name}: is a {type(found).__name__}, not a {kind.__module__}.{kind.__qualname__}")
    return found
