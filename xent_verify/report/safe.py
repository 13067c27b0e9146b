"""Text from outside is data in every medium: one function a medium makes it so.

Targets, exception messages and settings come from outside. ``readable`` takes a whole report and shows control characters,
line breaks and lone surrogates escaped; every renderer for people begins with it. What else a medium reads as its own
language, each of the other functions escapes: Markdown, tables, CSV formulas, LaTeX, workflow commands, file names. HTML
and SVG are escaped by jinja2 and matplotlib (which draws no formulas), XML by junitparser, JSON by its encoder.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from xent_verify.core.failures import printable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["cells", "code", "command_free", "encodable", "fenced", "file_part", "latex", "markdown", "readable"]

T = TypeVar("T")

_MARKUP = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)|[`*~\\]|(?<=\])[(\[:]|!(?=\[)")
_LEADING = re.compile(r"^(\s*)([#+\-=:>|\[]|\d+(?=[.)]))")
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
}  # fmt: skip
_COMMAND = re.compile(r"^(\s*)(?=::|##\[)", re.MULTILINE)
_NAME = 60


def readable(value: T) -> T:
    """The same report (or any part of it) with every text of it printable; scripts keep their lines."""
    made: Any = value
    if isinstance(value, str):
        made = printable(value)
    elif isinstance(value, Mapping):
        made = {readable(key): readable(item) for key, item in value.items()}
    elif isinstance(value, list):
        made = [readable(item) for item in value]
    elif isinstance(value, tuple):
        made = tuple(readable(item) for item in value)
    elif is_dataclass(value) and not isinstance(value, type):
        changed = {one.name: _field(one.name, getattr(value, one.name)) for one in fields(value) if one.init}
        made = replace(value, **changed)
    return made  # type: ignore[no-any-return]


def _field(name: str, value: Any) -> Any:
    return "\n".join(map(printable, value.split("\n"))) if name == "script" else readable(value)


def encodable(text: str) -> str:
    """Text that has a UTF-8 encoding: a lone surrogate becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def command_free(text: str) -> str:
    """Text for stdout of which no line is a command to a runner of workflows."""
    return _COMMAND.sub(r"\1\\", text)


def markdown(text: str) -> str:
    """One line of Markdown text that shows these characters."""
    escaped = _MARKUP.sub(lambda found: {"<": "&lt;", "&": "&amp;"}.get(found[0], "\\" + found[0]), text)
    return _LEADING.sub(lambda found: found[1] + (found[2] + "\\" if found[2].isdigit() else "\\" + found[2]), escaped)


def code(text: str) -> str:
    """A Markdown code span; nothing for no text."""
    if not text:
        return ""
    ticks = "`" * (_longest_run(text) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def fenced(script: str) -> str:
    """A Markdown block of Python."""
    fence = "`" * max(3, _longest_run(script) + 1)
    return f"{fence}python\n{script.rstrip()}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def cells(frame: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts no spreadsheet takes for formulas."""
    return frame.map(lambda one: f"'{one}" if isinstance(one, str) and one[:1] in ("=", "+", "-", "@") else one)


def latex(text: str) -> str:
    """Text as LaTeX sets it."""
    return "".join(_LATEX.get(one, one) for one in text)


def file_part(name: str) -> str:
    """A name as part of a file name: letters, digits, ``_.-``; names that differ stay different."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:_NAME]
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"
