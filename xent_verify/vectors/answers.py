"""What somebody's code answered: a JSON document or an ``.npz`` file, case by case, as outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.documents import fault, read_json, read_npz
from xent_verify.core.failures import clipped
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Outcome, Raised, Returned
from xent_verify.ops import OPS
from xent_verify.vectors.bits import words_read
from xent_verify.vectors.case import Case, Vectors
from xent_verify.vectors.document import of_this_version

__all__ = ["FORMAT", "Answers", "read_answers"]

FORMAT = "xent-verify answers"
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Answers:
    """``target`` names what answered; ``outcomes`` by case id; None where it does not offer what the case asks."""

    target: str
    outcomes: Mapping[str, Outcome | None]


def read_answers(path: Path, vectors: Vectors) -> Answers:
    """The answers to every case. ``UsageError`` for missing answers, unknown ids and anything that cannot be read.

    An answer with too few or too many numbers is the target's fault, and a finding.
    """
    target = path.stem
    if path.suffix == ".npz":
        given: Mapping[str, Any] = read_npz(path)
    else:
        root = read_json(path)
        of_this_version(root, FORMAT)
        target = root.text("target") if "target" in root.fields else target
        given = root.child("answers").fields
    cases = {case.id: case for case in vectors.cases}
    _complete(path, given, cases)
    return Answers(target, {name: _outcome(path, cases[name], given[name]) for name in cases})


def _complete(path: Path, given: Mapping[str, Any], cases: Mapping[str, Case]) -> None:
    missing, unknown = [name for name in cases if name not in given], [name for name in given if name not in cases]
    if missing:
        found = f"has no answer to {len(missing)} of {len(cases)} cases: {_some(missing)}"
        raise fault(str(path), "answers", found, "complete (null for what is not offered, in .npz the array False)")
    if unknown:
        found = f"has {len(unknown)} answers to cases that the vectors do not have: {_some(unknown)}"
        raise fault(str(path), "answers", found, "")


def _some(names: list[str]) -> str:
    return ", ".join(clipped(name, 30) for name in names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _outcome(path: Path, case: Case, answer: Any) -> Outcome | None:
    if answer is None or (isinstance(answer, np.ndarray) and answer.dtype == np.bool_ and not answer.any()):
        return None
    if isinstance(answer, dict) and isinstance(answer.get("error"), str):
        return Raised("Error", answer["error"])
    form = case.batch.result_form
    try:
        flat = _array(answer, case) if isinstance(answer, np.ndarray) else words_read(answer, form)
    except ValueError as error:
        raise fault(str(path), f"answers.{case.id}", f"cannot be read: {error}", "") from None
    shape = OPS[case.batch.op].result_shape(case.batch)
    wanted = int(np.prod(shape, dtype=np.int64))
    return Returned(flat.reshape(shape) if flat.size == wanted else flat.reshape(-1), flat.dtype.name)


def _array(answer: NDArray[Any], case: Case) -> NDArray[Any]:
    """Values of some format, or the bits of the case's own (NumPy stores bfloat16 and float8 as raw bytes)."""
    form = case.batch.result_form
    if answer.dtype.name in FORMATS:
        return answer
    if answer.dtype.kind in "uV" and answer.dtype.itemsize == form.dtype.itemsize:
        return np.ascontiguousarray(answer).view(form.dtype)
    raise ValueError(f"an array of {answer.dtype.name} holds neither numbers nor the bits of a {form.name}")
