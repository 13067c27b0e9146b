"""The arithmetic of GPUs as a policy of its own: what it accepts, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xent_verify import audit, limits, reference
from xent_verify.verdict.policies import CLASSES

REGIMES = ["ordinary", "dominated", "pairs", "underflow_edge", "ties", "sizes", "masks"]
FLOOR = np.float32(2.0**-126)


def fast(x: np.ndarray) -> np.ndarray:
    """log-softmax with a logarithm that is off by 2**-21.5 where its result is small, flushing subnormals."""
    with np.errstate(all="ignore"):
        shifted = x - x.max(axis=-1, keepdims=True)
        e = np.exp2(shifted * np.float32(1.4426950408889634))
        total = np.where(e < FLOOR, np.float32(0), e).sum(axis=-1, keepdims=True)
        log = np.log(total) + np.where(total < 2, np.float32(2.0**-21.5), np.float32(0))
        return np.asarray(shifted - log, dtype=x.dtype)


def unshifted(x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(x - np.log(np.exp(x).sum(axis=-1, keepdims=True)), dtype=x.dtype)


def failures(target: Callable[..., Any], policy: str) -> set[str]:
    report = audit(target, op="log_softmax", dtypes=["float32"], policy=policy, profile="quick", regimes=REGIMES)
    return {finding.kind for finding in report.findings if finding.severity == "fail"}


def test_a_fast_logarithm_passes_under_gpu_and_not_under_standard() -> None:
    assert failures(fast, "gpu") == set()
    assert "inaccurate" in failures(fast, "standard")


def test_a_missing_shift_fails_under_gpu_too() -> None:
    assert failures(unshifted, "gpu")


def test_gpu_is_no_class() -> None:
    assert "gpu" not in CLASSES


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-80, 80, width=32), min_size=1, max_size=9))
def test_the_limits_of_gpu_are_no_smaller_than_those_of_standard(row: list[float]) -> None:
    x = np.array([row], np.float32)
    for op in ("softmax", "log_softmax", "logsumexp"):
        assert (limits(op, x, policy="gpu") >= limits(op, x, policy="standard")).all()


def test_float64_is_computed_as_elsewhere() -> None:
    x = np.array([[0.0, -3.0, -700.0]])
    assert np.array_equal(limits("softmax", x, policy="gpu"), limits("softmax", x, policy="standard"))


def test_zeros_are_beyond_the_limits_of_gpu() -> None:
    x = np.array([[0.0, -1.0, -20.0]], np.float32)
    true = reference("softmax", x).rounded("float32")
    assert (np.abs(true) > limits("softmax", x, policy="gpu")).all()
