"""Where a target's code stands, as far as its name tells: what CI systems attach a finding to."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xent_verify.core.model import DtypeResult, Finding, Report, TargetResult

__all__ = ["Placed", "placed", "source_file", "source_line"]


@dataclass(frozen=True, slots=True)
class Placed:
    """A finding with the target, op and dtype it belongs to."""

    target: TargetResult
    result: DtypeResult
    finding: Finding

    @property
    def where(self) -> str:
        return f"{self.target.target} {self.target.op} {self.result.dtype}"


def placed(report: Report, *severities: str) -> Iterator[Placed]:
    """The findings of these severities, in the report's order."""
    for target in report.targets:
        for result in target.dtypes:
            for finding in result.findings:
                if finding.severity in severities:
                    yield Placed(target, result, finding)


def source_file(target: str) -> str:
    """``src/loss.py:softmax`` is in src/loss.py, ``package.module:softmax`` in package/module.py; else nothing."""
    name, colon, _ = target.rpartition(":")
    if not colon:
        return ""
    if name.endswith((".py", ".onnx", ".so")):
        return name
    return f"{name.replace('.', '/')}.py" if all(part.isidentifier() for part in name.split(".")) else ""


def source_line(target: str) -> int:
    """The line of the target's ``def`` or ``class``, where its file is here and has one; else 1."""
    path = Path(source_file(target))
    if path.suffix != ".py" or not path.is_file():
        return 1
    try:
        body = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError, RecursionError):
        return 1
    line = 1
    for name in target.rpartition(":")[2].split("."):
        defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        found = [node for node in body if isinstance(node, defined) and node.name == name]
        if not found:
            return line
        line, body = found[-1].lineno, found[-1].body
    return line
