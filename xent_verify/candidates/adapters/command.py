"""Programs in any language: ``cmd:./prog args``, asked and answering in lines of JSON.

The program is started once. For every call it reads one line and writes one line:

    {"op": "softmax", "dtype": "float32", "options": {"axis": -1},
     "inputs": {"x": {"dtype": "float32", "shape": [2, 3], "values": ["0x1.8p+1", "-0x0p+0", "inf", …]}}}

    {"dtype": "float32", "shape": [2, 3], "values": ["0x1p-1", …]}        the answer, in row-major order
    {"error": "axis 0 is not supported"}                                  a refusal

Floating values are hexadecimal floating literals (C's %a, strtod), ``inf``, ``-inf`` or ``nan``; integers are numbers. In
the answer plain numbers are read too; ``dtype`` may be left out, and is the question's then. What the program writes to
stderr goes into the report. ``--kwargs`` are added to the options.
"""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.candidates.adapters import Loaded
from xent_verify.candidates.answers import ProgramEnded
from xent_verify.candidates.style import Style, options_of
from xent_verify.core.documents import LARGEST, json_of, shown
from xent_verify.core.failures import UsageError, printable
from xent_verify.core.formats import FORMATS, INTEGERS
from xent_verify.ops import OPS

__all__ = ["load"]


class Refused(Exception):  # noqa: N818  the name is what the report shows
    """The program answered with an error."""


class BadAnswer(Exception):  # noqa: N818  likewise
    """The line is not an answer."""


class _Program:
    """A running program; started with the first question, and again after it ended."""

    def __init__(self, words: list[str], op: str) -> None:
        self._words = words
        self._op = op
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, *arrays: Any, **options: Any) -> NDArray[Any]:
        page = OPS.get(self._op)
        usual = ("x", "target") if len(arrays) < 3 else tuple(f"x{i}" for i in range(len(arrays)))
        names = usual if page is None else tuple(page.inputs)
        given = [np.asarray(array) for array in arrays]
        question = {
            "op": self._op,
            "dtype": given[0].dtype.name,
            "options": {name: _plain(value) for name, value in options.items()},
            "inputs": {name: _written(array) for name, array in zip(names, given, strict=False)},
        }
        return _read(self._exchange(json.dumps(question)), given[0].dtype)

    def _exchange(self, line: str) -> str:
        process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = process.stdout.readline(LARGEST)
            if answer:
                return answer
        self._process = None
        status = process.wait()
        named = f"signal {-status} ({signal.Signals(-status).name})" if status < 0 else f"exit status {status}"
        raise ProgramEnded(f"{self._words[0]}: {named}")

    def _started(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(  # noqa: S603  the program that was named
            self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", errors="replace"
        )
        return self._process


def load(target: str, op: str, kwargs: Mapping[str, Any]) -> Loaded:
    """The program, which must exist; it is started with the first call."""
    words = shlex.split(target.removeprefix("cmd:"))
    if not words:
        raise UsageError(f"target {target!r}: name a program, as in cmd:./prog")
    if shutil.which(words[0]) is None:
        raise UsageError(f"target {target}: {words[0]} is not an executable program")
    axis = "axis" if options_of(op, "axis") else ""
    return Loaded(_Program(words, op), Style(op, axis=axis), dict(kwargs))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _written(value)
    return value.item() if isinstance(value, np.generic) else value


def _written(array: NDArray[Any]) -> dict[str, Any]:
    flat = array.reshape(-1)
    whole = array.dtype.kind in "iu"
    values = flat.tolist() if whole else [_hex(value) for value in flat.astype(np.float64).tolist()]
    return {"dtype": array.dtype.name, "shape": list(array.shape), "values": values}


def _hex(value: float) -> str:
    return value.hex() if np.isfinite(value) else str(value)


def _read(line: str, asked: np.dtype[Any]) -> NDArray[Any]:
    try:
        answer = json_of(line, "the answer")
        if "error" in answer.fields:
            raise Refused(answer.text("error"))
        dtype = answer.made("dtype", _dtype) if "dtype" in answer.fields else asked
        given, shape = answer.typed("values", list, "a list of numbers"), answer.integers("shape")
        if any(n < 0 for n in shape) or math.prod(shape) != len(given):
            raise answer.fail("shape", list(shape), f"the lengths of an array of {len(given)} values")
        values = [float.fromhex(value) if isinstance(value, str) else float(value) for value in given]
        with np.errstate(all="ignore"):
            return np.array(values, np.float64).astype(dtype).reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadAnswer(f"{printable(str(error))} in {shown(line.strip())}") from error


def _dtype(name: str) -> np.dtype[Any]:
    if name in FORMATS:
        return FORMATS[name].dtype
    if name not in INTEGERS:
        raise ValueError("neither a float format nor an integer dtype")
    return np.dtype(name)
