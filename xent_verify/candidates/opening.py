"""A target between its name and its first call: loaded, and then planned (how to call it)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from xent_verify.candidates.adapters import Loaded, adapter_named, likely
from xent_verify.candidates.answers import raised
from xent_verify.candidates.calling import Calling
from xent_verify.candidates.names import spelled
from xent_verify.candidates.probe import plan, without_refused_axis
from xent_verify.candidates.resolve import load
from xent_verify.candidates.style import Style
from xent_verify.core.failures import UsageError

__all__ = ["Opened", "name_of", "opened"]

Ready = tuple[Callable[..., Any], str, Style, Mapping[str, Any]]
"""(what to call, its array library, how, with which further arguments)."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A loaded target and what the caller said about it."""

    name: str
    op: str
    arrays: str
    device: str
    loaded: Loaded
    calling: Calling = field(default_factory=Calling)

    def planned(self, style: Mapping[str, Any] | None = None, *, ask: bool = True) -> Ready:
        """How to call it: by small calls (``ask``), or as a ``style`` found earlier says."""
        if self.loaded.style is not None:
            known = self.loaded.style if style is None else Style.from_plain(style)
            if style is None and ask:
                known = without_refused_axis(self.loaded.function, known, self.loaded.extra)
            known = replace(known, fixed=tuple(self.calling.options))
            return self.loaded.function, "numpy", known, self.loaded.extra
        try:
            function, arrays, found = plan(
                self.loaded.function, self.op, self.arrays, self.device, self.loaded.extra,
                ask=ask, known=None if style is None else Style.from_plain(style), calling=self.calling,
            )  # fmt: skip
        except UsageError:
            raise
        except Exception as error:
            what = raised(error)
            raise UsageError(f"target {self.name}: cannot be prepared ({what.type_name}: {what.message})") from error
        return function, arrays, found, self.loaded.extra


def name_of(target: Any) -> str:
    """A target as reports name it: as on the command line, ``module:name`` for ``module.name`` and for a callable."""
    if isinstance(target, str):
        return spelled(target)
    name, module = getattr(target, "__qualname__", type(target).__qualname__), getattr(target, "__module__", None)
    return f"{module}:{name}" if module else name


def opened(
    target: str | Callable[..., Any],
    op: str,
    arrays: str,
    device: str,
    kwargs: Mapping[str, Any],
    calling: Calling = Calling(),  # noqa: B008  a frozen value
) -> Opened:
    """Load a target by name, or take a callable."""
    if arrays != "auto":
        adapter_named(arrays, device)
    if not isinstance(target, str):
        return Opened(name_of(target), op, arrays, device, Loaded(target, extra=kwargs), calling)
    found = load(target, op, kwargs)
    if found.style is None and arrays == "auto":
        own = likely(found.function, calling.expression, device)[0]
        adapter_named(own, device)  # a library's own import belongs to the loading
    if found.style is not None and calling.expression is not None:
        raise UsageError(f"target {target}: --call is for targets in Python")
    return Opened(target, op, arrays, device, found, calling)
