"""Calls of more dimensions: [B, T, C] with [B, T], [N, C, d] with [N, d], scores [B, H, Q, K]; found out, and each can fail."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from xent_verify import audit
from xent_verify.auditing.audit import AuditReport
from xent_verify.candidates import open_candidate
from xent_verify.core.foldings import FOLDINGS
from xent_verify.core.model import Batch, Returned
from xent_verify.report.words import coverage

FEW = ("ordinary", "dominated", "overflow_edge", "options", "reductions", "layouts", "ranks")


def log_softmax(x: Any, axis: int = -1, over: Any = None) -> Any:
    d = x - x.max(axis=axis if over is None else over, keepdims=True)
    with np.errstate(divide="ignore"):
        return d - np.log(np.exp(d).sum(axis=axis, keepdims=True))


def picked(logp: Any, target: Any, axis: int) -> Any:
    return -np.take_along_axis(logp, np.expand_dims(target, axis), axis).squeeze(axis)


def tokens(logits: Any, target: Any) -> Any:
    """Losses [B, T] of logits [B, T, C], as in a trainer of language models."""
    if logits.ndim != 3:
        raise ValueError("expected [B, T, C]")
    return picked(log_softmax(logits), target, -1)


def mean_of_tokens(logits: Any, target: Any) -> Any:
    return tokens(logits, target).mean(dtype=np.float64).astype(logits.dtype)


def pixels(logits: Any, target: Any) -> Any:
    """Losses [N, H, W] of logits [N, C, H, W]."""
    if logits.ndim != 4:
        raise ValueError("expected [N, C, H, W]")
    return picked(log_softmax(logits, 1), target, 1)


def classes_first(logits: Any, target: Any) -> Any:
    """Logits [C, N]."""
    if logits.shape[1] != len(target):
        raise ValueError("expected [C, N]")
    return picked(log_softmax(logits, 0), target, 0)


def any_dimensions(logits: Any, target: Any) -> Any:
    """[N, C] and [N, C, d1, …], as torch has it."""
    return picked(log_softmax(logits, 1), target, 1)


def one_maximum_a_sample(logits: Any, target: Any) -> Any:
    """Right for [N, C]; of [N, C, d] one maximum for all d."""
    return picked(log_softmax(logits, 1, over=tuple(range(1, logits.ndim))), target, 1)


def attention_scores(x: Any) -> Any:
    if x.ndim != 4:
        raise ValueError("expected [B, H, Q, K]")
    return np.exp(log_softmax(x))


def audited(target: Any, op: str, **settings: Any) -> AuditReport:
    settings = {"regimes": FEW, "only": "not empty, no NaN, finite", **settings}
    return audit(target, op=op, dtypes=["float32"], profile="quick", isolated=False, **settings)


@pytest.mark.parametrize(
    ("target", "op", "shape"),
    [
        (tokens, "cross_entropy", "[B, T, C]"),
        (mean_of_tokens, "cross_entropy", "[B, T, C]"),
        (pixels, "cross_entropy", "[N, C, d1, d2]"),
        (classes_first, "cross_entropy", "[C, N]"),
        (attention_scores, "softmax", "[A, B, T, C]"),
    ],
)
def test_a_kernel_of_one_shape_is_asked_in_that_shape(target: Any, op: str, shape: str) -> None:
    """Nothing is declared; the verdict says in which shape it was asked."""
    settings = {"only": "not empty, finite, index labels"} if op == "cross_entropy" else {}
    report = audited(target, op, policy="textbook", **settings)
    assert report.ok, str(report)
    assert report.cases > 100
    assert f"only as {shape}" in coverage(report.targets[0].dtypes[0])


def test_a_kernel_of_any_shape_is_asked_in_each() -> None:
    """[N, C] first; then the same rows in more dimensions give the same bits."""
    report = audited(any_dimensions, "cross_entropy", policy="textbook", options={"reduction": "none"})
    offered = report.targets[0].dtypes[0].offered
    assert report.ok, str(report)
    assert [name for name in FOLDINGS if offered.get(name)] == ["[N, C, d]", "[N, C, d1, d2]"]
    assert not any(one.kind == "layout_dependence" for one in report.findings)


def test_a_fault_in_more_dimensions_alone_is_found() -> None:
    """Rows that are right in [N, C] and wrong in [N, C, d]."""
    report = audited(one_maximum_a_sample, "cross_entropy", policy="textbook", options={"reduction": "none"})
    found = [one for one in report.findings if one.severity == "fail"]
    assert [one.kind for one in found] == ["layout_dependence"]
    assert "the same rows as [N, C, d]" in found[0].message
    assert not found[0].diagnosis.startswith("no cause looked for")


def test_a_gradient_comes_back_as_rows() -> None:
    """[B, T, C] in, [B, T, C] out; each row is at its place."""

    def gradient(logits: Any, target: Any) -> Any:
        if logits.ndim != 3:
            raise ValueError("expected [B, T, C]")
        return np.exp(log_softmax(logits)) - (np.arange(logits.shape[-1]) == target[..., None])

    logits, target = np.arange(18, dtype=np.float32).reshape(6, 3) % 5, np.array([0, 1, 2, 2, 1, 0])
    with open_candidate(gradient, "cross_entropy_grad") as candidate:
        got = candidate.call(Batch("cross_entropy_grad", "float32", "", {"logits": logits, "target": target}))
    assert isinstance(got, Returned)
    np.testing.assert_allclose(got.value, np.exp(log_softmax(logits)) - np.eye(3)[target], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", FOLDINGS)
@pytest.mark.parametrize("rows", [0, 1, 6, 7, 36])
def test_rows_go_and_come_back(name: str, rows: int) -> None:
    """Values of each class, of each row, and a mean."""
    fold = FOLDINGS[name]
    x, labels = np.arange(5 * rows).reshape(rows, 5), np.arange(rows)
    folded, small = fold.folded([x, labels])
    assert folded.shape[fold.before] == 5
    assert small.size == rows == math.prod(fold.dims(rows))
    assert np.array_equal(fold.unfolded(folded, x.shape), x)
    assert np.array_equal(fold.unfolded(small, x.shape), labels)
    assert fold.unfolded(np.float32(3), x.shape) == 3


def test_a_declared_number_of_dimensions_is_that_of_the_kernel() -> None:
    """``3-D`` holds for what is asked as [B, T, C]; ``2-D`` leaves nothing to ask."""
    words = "index labels, finite"
    assert audited(tokens, "cross_entropy", policy="textbook", only=f"3-D, {words}").cases > 100
    assert not audited(tokens, "cross_entropy", only=f"ndim == 2, {words}").cases
