"""What stands beside ulps: absolute and relative error, row sums, divergence, flips, losses that became 0."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xent_verify.auditing.audit import audit
from xent_verify.core.model import Batch, Returned
from xent_verify.ops import OPS
from xent_verify.truth import certify
from xent_verify.verdict.judge import Rules, judge
from xent_verify.verdict.rowwise import MEASURES, added, beside_ulps, derived


def measures(op: str, inputs: dict[str, np.ndarray], value: np.ndarray) -> dict[str, float]:
    batch = Batch(op, "float32", "test", inputs, {"reduction": "none"} if op == "cross_entropy" else {})
    truth = certify(batch)
    errors = judge(OPS[op], batch, Returned(value, "float32"), truth, Rules()).errors
    assert errors is not None
    return beside_ulps(OPS[op], batch, value.astype(np.float64).reshape(truth.shape), truth, errors)


X = {"x": np.array([[0.0, 1.0, 2.0], [5.0, 4.0, 4.0]], np.float32)}
P = np.exp(X["x"].astype(np.float64))
P /= P.sum(axis=1, keepdims=True)


def test_the_right_answer_has_next_to_nothing() -> None:
    """Correctly rounded probabilities: errors of half an ulp, sums of 1, no divergence, no flip."""
    found = measures("softmax", X, P.astype(np.float32))
    assert found["max_relative_error"] <= 2.0**-24
    assert found["max_row_sum_error"] < 1e-7
    assert found["max_kl_nats"] < 1e-7
    assert found["argmax_flips"] == 0


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_each_measure_is_what_its_name_says(op: str) -> None:
    """A row with two classes exchanged: the flip is counted and the divergence is the definition's, in nats."""
    wrong = P[:, [2, 1, 0]].copy()
    wrong[1] = P[1]
    value = np.log(wrong) if op == "log_softmax" else wrong
    found = measures(op, X, value.astype(np.float32))
    expected = math.fsum(P[0] * np.log(P[0] / wrong[0]))
    assert found["max_kl_nats"] == pytest.approx(expected, rel=1e-5)
    assert found["argmax_flips"] == 1
    assert found["max_absolute_error"] == pytest.approx(
        np.abs(value - (np.log(P) if op == "log_softmax" else P)).max(), rel=1e-5
    )


def test_a_row_that_does_not_sum_to_one() -> None:
    """|sum y - 1| of the worst row."""
    assert measures("softmax", X, (P * [[1.0], [1.01]]).astype(np.float32))["max_row_sum_error"] == pytest.approx(
        0.01, rel=1e-4
    )


def test_a_small_loss_that_became_zero_is_counted() -> None:
    """log p computed from a rounded p loses losses below half an ulp of 1; a loss of exactly 0 is none."""
    inputs = {"logits": np.array([[20.0, 0.0], [0.0, -np.inf]], np.float32), "target": np.array([0, 0])}
    assert measures("cross_entropy", inputs, np.zeros(2, np.float32))["losses_to_zero"] == 1


def test_records_add_up() -> None:
    """Maxima by maximum, counts by addition."""
    merged = added({"max_kl_nats": 2.0, "argmax_flips": 1.0}, {"max_kl_nats": 1.0, "argmax_flips": 3.0})
    assert merged == {"max_kl_nats": 2.0, "argmax_flips": 4.0}


@pytest.mark.parametrize(("step", "least", "most"), [(-1.0, -math.inf, -20.0), (0.0, -5.0, 5.0), (1.0, 20.0, math.inf)])
def test_errors_of_one_sign_are_a_bias(step: float, least: float, most: float) -> None:
    """Probabilities rounded to nearest have none; those rounded down have a negative one, those rounded up a positive one."""
    x = np.random.default_rng(1).standard_normal((300, 5)).astype(np.float32)
    p = np.exp(x.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    value = p.astype(np.float32)
    wrong = (value > p) if step < 0 else (value < p) if step > 0 else np.zeros(p.shape, bool)
    value = np.where(wrong, np.nextafter(value, np.float32(step * 2)), value)
    told = derived(measures("softmax", {"x": x}, value))
    assert least < told["bias"] < most
    assert np.sign(told["mean_error"]) == np.sign(step) or step == 0


def test_few_rows_have_no_bias() -> None:
    """A mean over two rows says nothing."""
    assert math.isnan(derived(measures("softmax", X, P.astype(np.float32)))["bias"])


def test_they_reach_the_table() -> None:
    """Each is a column of the summary, and the naive loss shows its zeros."""
    frame = audit("naive-index", op="cross_entropy", dtypes=["float32"], profile="quick", isolated=False).to_frame()
    assert set(MEASURES) <= set(frame.columns)
    assert frame["losses_to_zero"].iloc[0] > 0


@pytest.mark.parametrize("op", ["softmax", "log_softmax", "cross_entropy"])
def test_ratios_of_log_probabilities_are_told(op: str) -> None:
    """The largest |Δ|, the ratios beyond [0.9, 1.1] and the KL estimate, of an answer whose first log p is 0.2 too small."""
    shift = np.array([[-0.2, 0.0, 0.05], [0.0, 0.0, 0.0]])
    inputs = dict(X)
    value = P * np.exp(shift) if op == "softmax" else np.log(P) + shift
    if op == "cross_entropy":
        inputs = {"logits": X["x"], "target": np.array([0, 1])}
        value = -value[[0, 1], [0, 1]]
    found = measures(op, inputs, value.astype(np.float32))
    count = 2 if op == "cross_entropy" else 6
    assert (found["ratios_outside"], found["ratios"]) == (1, count)
    assert found["max_delta"] == pytest.approx(0.2, rel=1e-5)
    deltas = [-0.2] if op == "cross_entropy" else [-0.2, 0.05]
    assert derived(found)["mean_kl"] == pytest.approx(sum(np.expm1(d) - d for d in deltas) / count, rel=1e-4)


def test_a_probability_that_rounds_to_zero_has_no_ratio() -> None:
    """Right where it is 0; a positive one that came out 0 is a ratio outside."""
    x = {"x": np.array([[0.0, -200.0, -80.0]], np.float32)}
    found = measures("softmax", x, np.array([[1.0, 0.0, 0.0]], np.float32))
    assert (found["ratios_outside"], found["ratios"]) == (1, 2)


def test_ratios_of_what_no_sample_has_are_not_told() -> None:
    """A log p of −1e30 moves by 1e23 when it is rounded, and its probability is 0 all the same."""
    x = {"x": np.array([[0.0, -1e30]], np.float32)}
    found = measures("log_softmax", x, x["x"].astype(np.float64))
    assert found["ratios"] == 1
    assert found["max_delta"] == 0
