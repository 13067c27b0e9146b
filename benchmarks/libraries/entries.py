"""The tables of the harvest (``libraries.toml``, ``kernels.toml``): what is audited, and how each target is called."""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["LIBRARIES", "ROOT", "Entry", "entries", "read"]

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


def glue(target: str, call: str) -> list[str]:
    """The lines that stand between a kernel and the audit: the call expression, the body of a wrapper in this repository."""
    lines = [call] if call else []
    path, _, name = target.rpartition(":")
    if path.startswith("benchmarks/") and path.endswith(".py"):
        source = (ROOT / path).read_text()
        bodies = {node.name: node.body for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
        if name in bodies:
            first, last = bodies[name][0].lineno, bodies[name][-1].end_lineno
            lines += inspect.cleandoc("\n" + "\n".join(source.splitlines()[first - 1 : last])).splitlines()
    return lines
