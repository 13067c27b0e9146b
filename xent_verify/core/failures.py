"""What a caller can get wrong, as exceptions. What can *happen* to a target is a value (``model.Outcome``), not an exception.

XentVerifyError
├── UsageError           wrong use: unknown name, malformed input, unreadable file   -> exit status 2
│   ├── UnknownNameError     a name that is not in a closed set; offers the nearest one
│   └── MissingExtraError    an optional dependency is not installed; names the extra
├── AuditIncompleteError the audit itself could not be completed                      -> exit status 3
└── UndecidedError       no enclosure narrow enough within the precision limit        -> exit status 3
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable

__all__ = [
    "AuditIncompleteError",
    "MissingExtraError",
    "UndecidedError",
    "UnknownNameError",
    "UsageError",
    "XentVerifyError",
    "clipped",
    "one_line",
    "printable",
]


class XentVerifyError(Exception):
    """Base of every error this package raises on purpose; ``str(error)`` is one clear line."""


class UsageError(XentVerifyError, ValueError):
    """The caller asked for something impossible: what was wrong, where, and what would be right."""


class UnknownNameError(UsageError):
    """A name outside a closed set."""

    def __init__(self, what: str, name: object, choices: Iterable[str]) -> None:
        known = sorted(choices)
        told = clipped(printable(str(name)), 60)
        close = difflib.get_close_matches(told, known, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        super().__init__(f"unknown {what} {told!r}{hint} (choose from: {clipped(', '.join(known), 120)})")
        self.name = name
        self.choices = tuple(known)


class MissingExtraError(UsageError):
    """An optional dependency is missing."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'xent-verify[{extra}]'")
        self.package = package
        self.extra = extra


class AuditIncompleteError(XentVerifyError):
    """The audit could not be completed (not: the target failed)."""


class UndecidedError(XentVerifyError):
    """The enclosure could not be made narrow enough within the precision limit."""


_SPACES = "\xa0\u2009\u202f"
"""No-break and thin spaces, which numbers have between their digits."""


def printable(text: str) -> str:
    """Text on one line of printable characters: control, format and surrogate characters are shown escaped.

    >>> print(printable("a\\tb\\x1b[2J"))
    a\\tb\\x1b[2J
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in _SPACES else one.encode("unicode_escape").decode() for one in text
    )


def clipped(text: str, length: int) -> str:
    """Text of at most that many characters; an ellipsis says that some are left out."""
    return text if len(text) <= length else text[: length - 1] + "…"


def one_line(error: Exception) -> str:
    """An exception that costs a part of the work only, in a line; raised again where ``XENT_VERIFY_TRACEBACK`` is set."""
    text = " ".join(str(error).split())
    if isinstance(error, XentVerifyError):
        return text
    if os.environ.get("XENT_VERIFY_TRACEBACK"):
        raise error
    return f"{type(error).__name__}: {text}".rstrip(": ")
