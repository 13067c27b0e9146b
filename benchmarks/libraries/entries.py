"""The tables of the harvest (``libraries.toml``, ``kernels.toml``): what is audited, and how each target is called."""

from __future__ import annotations

import ast
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["LIBRARIES", "ROOT", "Entry", "entries", "glue", "read"]

ROOT = Path(__file__).resolve().parent.parent.parent
LIBRARIES = Path(__file__).resolve().parent / "libraries.toml"


@dataclass(frozen=True)
class Entry:
    """One target, operation and format. ``settings``: arguments of ``audit``."""

    target: str
    op: str
    dtype: str
    settings: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from the others of its table."""
        return self.target, self.op, self.dtype, self.settings.get("call", "")


def read(table: Path) -> dict[str, Any]:
    """Name of a library -> what is known about it."""
    return tomllib.loads(table.read_text())


def entries(library: Mapping[str, Any]) -> list[Entry]:
    """Every audit of a library, in the order of the table."""
    given = [Entry(target, op, dtype, {}) for target, op, *dtypes in library.get("targets", ()) for dtype in dtypes]
    common = library.get("settings", {})
    for kernel in library.get("kernels", ()):
        settings = {**common, **kernel}
        target, op, dtypes = (settings.pop(name) for name in ("target", "op", "dtypes"))
        given += [Entry(target, op, dtype, settings) for dtype in dtypes]
    return given


def glue(target: str, settings: Mapping[str, Any]) -> list[str]:
    """The lines between a kernel and the audit: the call expression, or what a wrapper of this repository holds."""
    lines = [settings["call"]] if "call" in settings else []
    lines += shlex.split(settings["answers"])[-1:] if "answers" in settings else []  # the program's own expression
    path, _, name = target.rpartition(":")
    if "/wrappers/" not in path:
        return lines
    source = (ROOT / path).read_text()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            lines += _lines(source, node.body)
        elif isinstance(node, ast.Assign) and name in {one.id for one in node.targets if isinstance(one, ast.Name)}:
            lines += _lines(source, [node])
    return lines


def _lines(source: str, nodes: Sequence[ast.stmt]) -> list[str]:
    """The statements, each on a line."""
    return [" ".join((ast.get_source_segment(source, node) or "").split()) for node in nodes]
