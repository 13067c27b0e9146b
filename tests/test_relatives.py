"""Entropy, token log-probabilities, softplus and their kin: operations that are pages alone, against mpmath and by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mpf

from xent_verify import audit, reference
from xent_verify.implementations import find
from xent_verify.ops import OPS
from xent_verify.regimes import plan
from xent_verify.truth import certify

INF, NAN = np.inf, np.nan
X = np.array([[0.5, -1.0, 3.0], [800.0, 0.0, -900.0], [1e-3, 1e-3, 1e-3]])
LABELS = np.array([1, 0, 2])


def lse(row: list[Any]) -> Any:
    return mpmath.log(mpmath.fsum(mpmath.exp(v) for v in row))


def entropy(row: list[Any]) -> list[Any]:
    return [mpmath.fsum(mpmath.exp(v - lse(row)) * (lse(row) - v) for v in row)]


FORMULAS: dict[str, Callable[..., list[Any]]] = {
    "entropy": entropy,
    "softplus": lambda row: [mpmath.log1p(mpmath.exp(v)) for v in row],
    "logmeanexp": lambda row: [lse(row) - mpmath.log(len(row))],
    "softmax_one": lambda row: [mpmath.exp(v) / (1 + mpmath.fsum(mpmath.exp(w) for w in row)) for v in row],
    "z_loss": lambda row: [lse(row) ** 2],
    "logaddexp": lambda row, other: [lse([v, w]) for v, w in zip(row, other, strict=True)],
    "token_logprob": lambda row, label: [row[label] / mpf(0.7) - lse([v / mpf(0.7) for v in row])],
}
SECOND: dict[str, Any] = {"logaddexp": X[::-1].copy(), "token_logprob": LABELS}
OPTIONS: dict[str, Any] = {"token_logprob": {"temperature": 0.7}}


def arguments(op: str) -> list[Any]:
    return [X, SECOND[op]] if op in SECOND else [X]


def values(op: str, x: np.ndarray) -> np.ndarray:
    """The formula in mpmath, at 3000 bits."""
    with mpmath.workprec(3000):
        rows = [[mpf(v) for v in row] for row in x.tolist()]
        second = SECOND.get(op)
        seconds = [] if second is None else [second.tolist()]
        found = [FORMULAS[op](*parts) for parts in zip(rows, *seconds, strict=True)]
        array = np.array([[float(v) for v in row] for row in found])
    return array if OPS[op].result == "elements" else array[:, 0]


@pytest.mark.parametrize("op", FORMULAS)
def test_truth_is_the_formula(op: str) -> None:
    """To the last bit but one, which mpmath's float() may round twice."""
    found = np.asarray(reference(op, *arguments(op), **OPTIONS.get(op, {})))
    np.testing.assert_allclose(found, values(op, X), rtol=2.0**-52, atol=0)


@pytest.mark.parametrize("op", FORMULAS)
def test_the_gradient_is_the_derivative(op: str) -> None:
    """Against differences of 3000-bit values."""
    x = np.array([[0.5, -1.0, 3.0], [30.0, 0.0, -20.0], [1e-3, 1e-3, 1e-3]])
    result = values(op, x)
    grad = np.linspace(-1.0, 2.0, result.size).reshape(result.shape)
    found = np.asarray(reference(op, x, *arguments(op)[1:], grad=grad, **OPTIONS.get(op, {})))
    step, wanted = 2.0**-20, np.zeros_like(x)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        wanted[place] = (grad * (values(op, up) - values(op, down))).sum() / (2 * step)
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-8)


SPECIAL: list[tuple[str, list[Any], dict[str, Any], Any]] = [
    ("entropy", [[0.0, 0.0, -INF]], {}, np.log(2.0)),
    ("entropy", [[7.0, -INF]], {}, 0.0),
    ("entropy", [[0.0, NAN]], {}, NAN),
    ("token_logprob", [[[0.0, -INF]], [1]], {}, [-INF]),
    ("token_logprob", [[[NAN, INF], [0.0, 0.0]], [-100, 0]], {}, [0.0, -np.log(2.0)]),
    ("token_logprob", [[[NAN, INF]], [7]], {"ignore_index": 7}, [0.0]),
    ("softplus", [[-INF, INF, NAN, 0.0]], {}, [0.0, INF, NAN, np.log(2.0)]),
    ("logaddexp", [[-INF, -INF, INF, INF], [-INF, 1.0, -INF, INF]], {}, [-INF, 1.0, INF, INF]),
    ("logmeanexp", [[-INF, -INF]], {}, -INF),
    ("logmeanexp", [[0.0, -INF]], {}, -np.log(2.0)),
    ("logmeanexp", [[5.0, INF]], {}, INF),
    ("logmeanexp", [[0.7, 0.7, 0.7]], {}, 0.7),
    ("softmax_one", [[-INF, -INF]], {}, [0.0, 0.0]),
    ("softmax_one", [[0.0, 0.0, -INF]], {}, [1 / 3, 1 / 3, 0.0]),
    ("z_loss", [[-INF, -INF]], {}, INF),
    ("z_loss", [[0.0, -INF]], {}, 0.0),
]


@pytest.mark.parametrize(("op", "inputs", "options", "wanted"), SPECIAL)
def test_special_values_are_defined(op: str, inputs: list[Any], options: dict[str, Any], wanted: Any) -> None:
    """Masked classes, ignored rows, infinities and NaN; equal logits have the value that is known, exactly."""
    arrays = [np.asarray(value) for value in inputs]
    assert np.asarray(reference(op, *arrays, **options)) == pytest.approx(np.asarray(wanted), rel=2.0**-52, nan_ok=True)
    assert find("stable", op).call(*arrays, **options) == pytest.approx(np.asarray(wanted), rel=1e-15, nan_ok=True)


def test_a_masked_class_has_no_gradient_of_entropy() -> None:
    """0, where -p (log p + H) alone would be 0 times infinity."""
    found = np.asarray(reference("entropy", [[0.0, 1.0, -INF]], grad=[1.0]))
    assert found[0, 2] == 0
    assert found[0, 0] == -found[0, 1]
    assert np.isfinite(found).all()


def test_an_exact_log_probability_near_0_needs_no_slow_tier() -> None:
    """log p = -log1p(e**-60) keeps its relative accuracy in double-doubles."""
    truth = reference("token_logprob", [[0.0, 60.0]], [1], fmt="float32")
    assert truth.tier.tolist() == [2]
    assert truth.rounded("float32")[0] == np.float32(-np.exp(-60.0))


def test_what_vanishes_in_the_format_needs_no_slow_tier() -> None:
    """exp(-3000) is below every float32, whatever it is; its enclosure says so and holds the value."""
    truth = reference("softplus", np.float32([-3000.0]))
    assert truth.tier.tolist() == [2]
    assert truth.rounded("float32").tolist() == [0.0]
    assert truth.exponent[0] < -1000


def test_a_temperature_is_optional() -> None:
    """A target without one is asked what it offers: the operation is not named after it."""
    assert any("temperature" not in batch.options for batch in plan("token_logprob", "float32", profile="quick"))
    assert all(
        "temperature" in batch.options
        for batch in plan("softmax_temperature", "float32", profile="quick")
        if batch.regime == "ordinary"
    )


def test_labels_alone_are_no_probabilities() -> None:
    """token_logprob has no probability targets: none are drawn, and every drawn call has a truth."""
    for batch in plan("token_logprob", "float16", profile="quick"):
        assert batch.inputs["target"].dtype.kind in "iu"
        if batch.x.size < 50:
            assert certify(batch).shape == (len(batch.x),)


def offset_entropy(x: Any, axis: int = -1) -> Any:
    """verl's form: the offset cancels, masked classes are 0 times infinity."""
    m = x.max(axis=axis, keepdims=True)
    e = np.exp(x - m)
    p = e / e.sum(axis=axis, keepdims=True)
    total = (m + np.log(e.sum(axis=axis, keepdims=True))).squeeze(axis)
    return total - (p * x).sum(axis=axis)


@pytest.mark.parametrize("regime", ["common_offset", "masks"])
def test_a_trainers_entropy_fails_where_it_is_wrong(regime: str) -> None:
    report = audit(offset_entropy, op="entropy", dtypes=["float32"], profile="quick", regimes=[regime])
    assert report.failed


@pytest.mark.parametrize("op", FORMULAS)
def test_sound_implementations_pass_a_telling_regime(op: str) -> None:
    """Every one of them, in float32 (the whole plan: benchmarks/recall.py --clean)."""
    for name in ("stable", "wide"):
        report = audit(
            find(name, op).call, op=op, dtypes=["float32"], profile="quick", regimes=["common_offset", "dominated"]
        )
        assert report.ok, name


def test_the_logarithm_of_a_lost_probability_has_its_class() -> None:
    """token_logprob and logmeanexp of underflowed sums are log(0), a fact of their pages."""

    def log_of_softmax(logits: Any, target: Any) -> Any:
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.log((e / e.sum(axis=1, keepdims=True))[np.arange(len(target)), target])

    report = audit(log_of_softmax, op="token_logprob", dtypes=["float32"], profile="quick", regimes=["wide_spread"])
    assert "log_of_zero" in {finding.kind for finding in report.targets[0].dtypes[0].findings}
    assert OPS["logmeanexp"].log_of_zero == -1
