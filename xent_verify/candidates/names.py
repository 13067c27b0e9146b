"""Names of targets as people type them: what they mean, or the nearest right spelling, without importing anything.

``torch.softmax`` means ``torch:softmax``. A module, a file or a library without a function is answered with how to name
one in it.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
from pathlib import Path

from xent_verify.core.failures import UsageError, clipped, printable
from xent_verify.ops import OPS

__all__ = ["LIBRARY_ENDINGS", "is_builtin", "refuse_unfinished", "spelled"]

LIBRARY_ENDINGS = (".so", ".dylib", ".dll")
_FILE_ENDINGS = (".py", ".onnx", *LIBRARY_ENDINGS)


def is_builtin(target: str) -> bool:
    """A bare name: one of this package's implementations."""
    return ":" not in target and not target.endswith(_FILE_ENDINGS)


def spelled(target: str) -> str:
    """``package.module.attribute`` as ``package.module:attribute``; any other name as it is.

    >>> spelled("numpy.linalg.norm")
    'numpy.linalg:norm'
    >>> spelled("softmax.naive")
    'softmax.naive'
    """
    place, dot, attribute = target.rpartition(".")
    first = target.partition(".")[0]
    if not dot or not is_builtin(target) or first in OPS or not all(part.isidentifier() for part in target.split(".")):
        return target
    return f"{place}:{attribute}"


def refuse_unfinished(target: str, op: str) -> None:
    """``UsageError`` for a module, a file or a library whose function is not named, with the way to name it."""
    if ":" in target or target.endswith(".onnx"):
        return
    shown = clipped(printable(target), 80)
    if target.endswith(LIBRARY_ENDINGS):
        raise UsageError(f"target {shown}: name the function in the library: {shown}:{op}")
    if target.endswith(".py"):
        raise UsageError(f"target {shown}: name the function in the file: {shown}:{_likely(Path(target), op)}")
    if "/" in target or "\\" in target:
        near = f"{target}.py"
        there = near if Path(near).is_file() else "path/to/file.py"
        raise UsageError(f"target {shown}: a file is written with its ending: {there}:{_likely(Path(near), op)}")
    if target.isidentifier() and target not in OPS and _installed(target):
        raise UsageError(f"target {shown} is a module: name the function in it, as in {shown}:{op}")


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _likely(path: Path, op: str) -> str:
    """The function of a file whose name is nearest to the operation's, read and not run."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError):
        return op
    names = [node.name for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    return next(iter(difflib.get_close_matches(op, names, n=1, cutoff=0.0)), op)
