"""A form is told when it explains every failing value of several calls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xent_verify import audit
from xent_verify.diagnose.forms import Sample, form_of

TRUE = np.array([0.03, 0.25, 0.7, 0.02])


def sample(given: np.ndarray, length: int = 4) -> Sample:
    return Sample(TRUE, given, np.full(4, 1e-7), length)


@given(st.floats(-50, 50).filter(lambda c: abs(c - 1) > 1e-3 and abs(c) > 1e-3))
def test_a_constant_factor_is_found(factor: float) -> None:
    assert "times the true one" in form_of([sample(factor * TRUE)] * 2, 8)


def test_answers_that_are_nearly_0_have_no_factor() -> None:
    """Any small number times the true values explains them."""
    assert "times" not in form_of([sample(1e-20 * TRUE)] * 2, 8)


@given(st.floats(-50, 50).filter(lambda c: abs(c) > 1e-3))
@example(-0.7)  # one value becomes 0
def test_a_constant_shift_is_found(shift: float) -> None:
    assert f"the true one {'+' if shift > 0 else '-'} " in form_of([sample(TRUE + shift)] * 2, 8)


def test_a_factor_of_the_row_length_is_found() -> None:
    text = form_of([sample(TRUE / 4, 4), sample(TRUE / 7, 7)], 8)
    assert text.startswith("every failing value is 1/n times the true one, n the row length")


def test_noise_has_no_form() -> None:
    noise = np.random.default_rng(0).normal(size=4) * 1e-3
    assert form_of([sample(TRUE + noise)] * 2, 8) == ""


@pytest.mark.parametrize("calls", [1, 3])
def test_few_values_or_one_call_name_nothing(calls: int) -> None:
    few = Sample(TRUE[:2], 2 * TRUE[:2], np.full(2, 1e-7), 2)
    assert form_of([few] * calls, 8) == ""


def test_an_infinity_is_explained_by_no_form() -> None:
    given = 2 * TRUE
    given[1] = np.inf
    assert form_of([sample(given), sample(2 * TRUE)], 8) == ""


def test_an_audit_tells_the_factor_of_a_target_that_is_wrong_by_one() -> None:
    def scaled(x: np.ndarray) -> np.ndarray:
        shifted = x - x.max(axis=-1, keepdims=True)
        total = np.exp(shifted).sum(axis=-1, keepdims=True)
        return ((shifted - np.log(total)) * np.float32(1.01)).astype(x.dtype)

    report = audit(scaled, op="log_softmax", dtypes=["float32"], profile="quick", regimes=["ordinary", "ties"])
    assert any("is 1.01 times the true one" in finding.diagnosis for finding in report.findings)


def test_values_of_all_sizes_raise_no_warning() -> None:
    true = np.array([1e-300, 1e-308, 0.5, 1e300])
    given = np.array([1e300, 1.0, 0.25, -1e300])
    assert form_of([Sample(true, given, np.full(4, 1e-7), 4)] * 2, 8) == ""
