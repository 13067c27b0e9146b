"""Diagnoses of conduct: shapes, dtypes, writes into arguments, shared buffers, answers that change."""

from __future__ import annotations

import numpy as np
import pytest

from xent_verify.auditing.audit import audit
from xent_verify.implementations import ZOO
from xent_verify.implementations.rows import Array


def diagnoses(function: object, op: str, kind: str) -> str:
    report = audit(function, op=op, dtypes=["float32"], profile="quick")  # type: ignore[arg-type]
    return " | ".join(f.diagnosis for f in report.signs if f.severity == "fail" and f.kind == kind)


@pytest.mark.parametrize(
    ("op", "name", "kind", "words"),
    [
        ("log_softmax", "squeezes", "shape", "axes of length 1 are squeezed"),
        ("logsumexp", "keeps-axis", "shape", "the reduced axis is kept"),
        ("logsumexp", "negative-axis", "shape", "is taken for axis"),
        ("softmax", "vector-to-matrix", "shape", "a vector is answered as a matrix"),
        ("cross_entropy", "drops-ignored", "shape", "ignored are dropped"),
        ("cross_entropy", "weighted-promotes", "dtype", "stays in the float64"),
        ("log_softmax", "in-place", "input_mutated", "works in place on x"),
        ("softmax", "recycled", "stateful", "the same buffer"),
        ("cross_entropy_grad", "accumulates", "inaccurate", "the same call again gives another answer"),
    ],
)
def test_conduct_is_named(op: str, name: str, kind: str, words: str) -> None:
    """The zoo's faults of shape, dtype and state get a sentence that says what to mend."""
    assert words in diagnoses(next(fault.call for fault in ZOO if (fault.op, fault.name) == (op, name)), op, kind)


def test_a_transposed_answer_is_named() -> None:
    """A result of the right size with its axes the wrong way round."""

    def softmax(x: Array, axis: int = -1) -> Array:
        with np.errstate(all="ignore"):
            e = np.exp(x - x.max(axis=axis, keepdims=True))
            return np.asarray((e / e.sum(axis=axis, keepdims=True)).T)

    assert "transposed" in diagnoses(softmax, "softmax", "shape")
