"""The two kinds of table rows: an implementation, and a fault (an implementation that is wrong in one regime)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from xent_verify.implementations.rows import ALL_FORMATS

__all__ = ["Arguments", "Family", "Fault", "Implementation", "Shows"]

Family = Literal["naive", "stable", "faulty"]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]

Shows = Literal[
    "value",  # the result is wrong
    "dtype",  # the result has the wrong dtype
    "shape",  # the result has the wrong shape
    "mutation",  # an argument changes
    "alias",  # a result handed out earlier changes during a later call
    "repeat",  # the same call answers differently the second or third time
    "history",  # the result is wrong after the call in ``before``
]


@dataclass(frozen=True, slots=True)
class Implementation:
    """One way to compute one operation.

    ``call`` has the contract's signature. ``sound``: within the bound of ``policy`` on every input of its ``formats``.
    ``where_it_fails`` is one line, empty for a sound one.
    """

    name: str
    op: str
    call: Callable[..., Any]
    family: Family
    sound: bool
    formats: tuple[str, ...] = ALL_FORMATS
    where_it_fails: str = ""
    policy: str = "standard"

    @property
    def qualified(self) -> str:
        """``op.name``."""
        return f"{self.op}.{self.name}"


@dataclass(frozen=True, slots=True)
class Fault:
    """An implementation that is right on ordinary logits and wrong in one regime, in each of ``formats``.

    ``regime`` says what an input needs to show it; ``mistake`` is the diagnosis in words. ``trigger(dtype)`` makes the
    arguments of a small failing call in that format, and ``shows`` says what goes wrong in it; ``before(dtype)`` makes
    the call that must come first, where one must. ``contested``: a choice that some libraries make; a warning will do.
    """

    name: str
    op: str
    call: Callable[..., Any]
    category: str
    regime: str
    mistake: str
    trigger: Callable[[str], Arguments]
    formats: tuple[str, ...] = ("float64", "float32", "float16", "bfloat16")
    shows: Shows = "value"
    before: Callable[[str], Arguments] | None = None
    contested: bool = False
