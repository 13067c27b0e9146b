"""Algorithms read on exact numbers: truth for pages without a formula of their own, special values included."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch
from xent_verify.ops import OPS, op_of
from xent_verify.ops.limits import arguments_of
from xent_verify.regimes import plan
from xent_verify.truth import exact
from xent_verify.truth.intervals import Interval
from xent_verify.truth.reading import Exact, Reals, UnsettledError


def read(op: str, call: Batch, form: str) -> np.ndarray:
    """The named algorithm of a call, read at 2400 bits, in float64 (specials as they are)."""
    a = Exact(2400)
    result = OPS[op].algorithms[form](a, **arguments_of(OPS[op], call, a))

    def rounded(value: Any) -> float:
        return float(exact.enclose([value]).to_float64()[0]) if isinstance(value, Interval) else float(value)

    return np.asarray(np.frompyfunc(rounded, 1, 1)(result.v), np.float64)


@pytest.mark.parametrize("op", list(OPS))
def test_every_algorithm_has_the_value_of_the_formula(op: str) -> None:
    """Read exactly, all sound algorithms of an operation are the same number, and the formula's."""
    calls = [call for call in plan(op, "float64", profile="quick") if 0 < call.x.size <= 12 and call.x.ndim == 2]
    with np.errstate(all="ignore"):
        for call in calls[::9][:6]:
            if call.options.get("axis", -1) not in (-1, 1):
                continue
            wanted = exact.evaluate(call).to_float64()
            if not np.isfinite(wanted).all() or not np.isfinite(call.x).all() or np.ptp(call.x) > 700:
                continue
            for form in OPS[op].algorithms:
                found = read(op, call, form).reshape(wanted.shape)
                assert found == pytest.approx(wanted, rel=1e-15, abs=1e-300), (call.regime, form)


SPECIAL = [
    (lambda a, x: a.softmax(x), [0.0, -math.inf], [1.0, 0.0]),
    (lambda a, x: a.log_softmax(x), [0.0, -math.inf], [0.0, -math.inf]),
    (lambda a, x: a.softmax(x), [-math.inf, -math.inf], [math.nan, math.nan]),
    (lambda a, x: a.softmax(x), [0.0, math.inf], [math.nan, math.nan]),
    (lambda a, x: a.softmax(x), [0.0, math.nan], [math.nan, math.nan]),
    (lambda a, x: a.exp(x) * 0, [0.0, math.inf], [0.0, math.nan]),
    (lambda a, x: 1 / x, [0.0, math.inf], [math.inf, 0.0]),
    (lambda a, x: a.log(x), [0.0, -1.0], [-math.inf, math.nan]),
    (lambda a, x: a.logsumexp(x) + 0 * a.maximum(x, 0), [-math.inf, -math.inf], [-math.inf, -math.inf]),
    (lambda a, x: a.logsumexp(x) + a.softplus(-x), [0.0, math.inf], [math.inf, math.inf]),
]


@pytest.mark.parametrize(("formula", "row", "wanted"), SPECIAL)
def test_special_values_follow_from_the_formula(formula: Callable[..., Any], row: Any, wanted: Any) -> None:
    """-inf logits have p = 0; what has no limit is undefined, and comes out NaN."""
    call = Batch("formula", "float64", "test", {"x": np.array([row])})
    op = op_of(formula, "formula")
    found = [exact._read(op, call, 0, exact.BigArithmetic(128), [i])[0] for i in range(len(row))]
    assert exact.enclose(found).to_float64().tolist() == pytest.approx(wanted, nan_ok=True)


def test_what_cancels_exactly_is_zero() -> None:
    """logsumexp(x) - logsumexp(x reversed) is rational: no precision is needed to see it."""
    op = op_of(lambda a, x, y: a.logsumexp(x) - a.logsumexp(y), "difference")
    row = np.array([[0.1, 2.0, -3.0]])
    call = Batch("difference", "float64", "test", {"x": row, "y": row[:, ::-1]})
    assert exact._read(op, call, 0, exact.BigArithmetic(128), [0])[0].is_zero


def test_a_sign_that_is_not_settled_asks_for_more_bits() -> None:
    """1 / (exp(x) - y) with y close to exp(x) raises the precision until the sign is known."""
    op = op_of(lambda a, x, y: 1 / (a.exp(x) - y), "pole")
    call = Batch("pole", "float64", "test", {"x": np.array([[1.0]]), "y": np.array([[math.e]])})
    low, high = (exact._read(op, call, 0, exact.BigArithmetic(bits), [0])[0] for bits in (8, 256))
    assert exact.enclose([low]).radius[0] > 1
    assert float(exact.enclose([high]).to_float64()[0]) == pytest.approx(1 / 1.4456468917292502e-16, rel=1e-12)


def test_exp_of_what_may_be_vast_asks_for_more_bits() -> None:
    """exp((exp(x) - 1) y) = exp(1): while cancellation leaves an argument between small and beyond 2**40 nothing is claimed."""
    op = op_of(lambda a, x, y: a.exp((a.exp(x) - 1) * y), "cancelled")
    call = Batch("cancelled", "float64", "test", {"x": np.array([[2.0**-1000]]), "y": np.array([[2.0**1000]])})
    low = exact._read(op, call, 0, exact.BigArithmetic(128), [0])[0]
    high = exact._read(op, call, 0, exact.BigArithmetic(4096), [0])[0]
    assert exact.enclose([low]).radius[0] > 1
    assert float(exact.enclose([high]).to_float64()[0]) == math.e


@pytest.mark.parametrize("x", [-1e30, 3e38])
def test_log_of_what_lies_beyond_all_exponents_is_left_undecided(x: float) -> None:
    """exp(+-1e30) is told by a bound alone: its logarithm is no number that can be told, and no crash."""
    reading = Exact(64)
    far = reading.exp(Reals(reading, np.array([reading.big.number(x)], object)))
    with pytest.raises(UnsettledError):
        reading.log(far)


def test_max_of_overlapping_intervals_contains_both() -> None:
    """Where the larger of two numbers is not known, the result contains the larger."""
    a = Exact(16)
    x = a.exp(a.input(np.array([[1.0, 1.0]])))
    top = a.max(x).v[0, 0]
    assert isinstance(x, Reals)
    assert exact.enclose([top]).radius[0] >= exact.enclose([x.v[0, 0]]).radius[0]


def test_a_page_of_one_line_has_everything(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """--op module:function: truth, limits, inputs and search of an operation that is one function."""
    from xent_verify import audit

    (tmp_path / "my_losses.py").write_text(
        'def z_loss(a, x):\n    """logsumexp(x)**2, the penalty of large logits."""\n    return a.logsumexp(x) ** 2\n'
    )
    monkeypatch.syspath_prepend(tmp_path)

    def sound(x: np.ndarray, axis: int = -1) -> np.ndarray:
        m = x.max(axis=axis, keepdims=True)
        m = np.where(np.isfinite(m), m, 0).astype(x.dtype)
        return ((m + np.log(np.exp(x - m).sum(axis=axis, keepdims=True))) ** 2).squeeze(axis)

    def naive(x: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.log(np.exp(x).sum(axis=axis)) ** 2

    options: dict[str, Any] = {"op": "my_losses:z_loss", "dtypes": ["float32"], "profile": "quick"}
    with np.errstate(all="ignore"):
        assert audit(sound, **options).ok
        found = audit(naive, **options)
    assert {finding.kind for finding in found.signs if finding.severity == "fail"} >= {"overflow"}
    assert "penalty" in replace(OPS["softmax"], about="the penalty").about


def test_a_function_that_is_no_formula_is_refused_in_one_line() -> None:
    """No input, an unknown kind, an exception, a wrong shape: UsageError names the operation and what would be right."""
    from xent_verify.core.failures import UsageError

    def oddly(a: Any, x: "rows") -> Any:  # type: ignore[name-defined]  # noqa: F821, UP037
        return x

    for function, words in (
        (lambda a: a, "one input at least"),
        (oddly, "kinds: row, target, label, probabilities"),
        (lambda a, x: a.cosine(x), "AttributeError"),
        (lambda a, x: 3.0, "gives float"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            op_of(function, "mine")
        assert "\n" not in str(caught.value)
    assert FORMATS
