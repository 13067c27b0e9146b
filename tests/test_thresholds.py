"""Sparsemax, entmax, caps and losses of log-probabilities: values by hand, special values, what lies exactly at a threshold."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from xent_verify import limits, reference
from xent_verify.core.model import Batch
from xent_verify.ops import OPS
from xent_verify.ops.defined import undefined
from xent_verify.ops.support import inside, reach

INF, NAN = np.inf, np.nan
TINY = 2.0**-1000


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ([0.0, 0.0, 0.0, 0.0], [0.25] * 4),
        ([1.0, 0.5, -3.0], [0.75, 0.25, 0.0]),
        ([2.0, 1.0, -INF], [1.0, 0.0, 0.0]),
        ([1e300, 1e300 - 1e284, 0.0], [1.0, 0.0, 0.0]),
        ([0.0, 1.0 - 2.0**-53], [2.0**-54, 1 - 2.0**-54]),
        ([NAN, 1.0], [NAN, NAN]),
        ([-INF, -INF], [NAN, NAN]),
    ],
)
def test_sparsemax_is_exact(row: list[float], wanted: list[float]) -> None:
    """Rational values, their roundings, exact zeros; nothing is defined beside NaN, or without a finite logit."""
    np.testing.assert_array_equal(np.asarray(reference("sparsemax", [row]))[0], wanted)


@pytest.mark.parametrize("row", [[0.3, 0.1, -0.2, -5.0], [0.0] * 9, [700.0, 699.0, -INF], [1.9, 0.0, 0.0]])
def test_entmax_has_sum_1_and_one_threshold(row: list[float]) -> None:
    """The roots of the values are the halved logits less one number, or 0."""
    p = np.asarray(reference("entmax15", [row]))[0]
    assert p.sum() == pytest.approx(1.0, rel=1e-15)
    tau = np.array(row)[p > 0] / 2 - np.sqrt(p[p > 0])
    assert np.ptp(tau) <= 1e-13
    assert (np.array(row)[p == 0] / 2 <= tau.max() + 1e-13).all()


@pytest.mark.parametrize("op", ["sparsemax", "entmax15"])
def test_a_gap_of_any_size_leaves_a_number(op: str) -> None:
    """Also one whose half the split of a double-double product cannot hold."""
    for largest in (2.0**996, 1.3393857589828342e300, 1.7e308):
        assert np.asarray(reference(op, [[largest, 0.0], [largest, -largest]])).tolist() == [[1.0, 0.0]] * 2


@pytest.mark.parametrize("power", [1, 2])
def test_what_lies_just_above_the_threshold_is_kept(power: int) -> None:
    """One below the largest is outside; nearer than any double can tell it is inside, and the reading decides so."""
    below, above = Fraction(-1), Fraction(-1) + Fraction(1, 2**200)
    assert inside([Fraction(0), below], power) == [True, False]
    assert inside([Fraction(0), above], power) == [True, True]
    assert reach(np.array([[0.0, -1.0]]), power)[0].tolist() == [0.0, 1.0]
    found = np.asarray(reference(("sparsemax", "entmax15")[power - 1], [[0.0, TINY - 1.0 * power]]))
    assert found[0, 1] == 0.0


def test_a_class_at_the_threshold_has_no_gradient_and_may_have_one() -> None:
    """The truth is that of the kept classes; roundings may keep another one, so that nothing is judged there."""
    g = [[1.0, 2.0, 4.0]]
    found = np.asarray(reference("sparsemax", [[1.0, 0.5, -3.0]], grad=g))
    np.testing.assert_array_equal(found, [[-0.5, 0.5, 0.0]])
    assert np.isfinite(limits("sparsemax", [[1.0, 0.5, -3.0]], grad=g)).all()
    assert limits("sparsemax", [[1.0, 0.0, -3.0]], grad=g)[0, 1] > 0.1


@pytest.mark.parametrize(
    ("op", "inputs", "options", "wanted"),
    [
        ("kl_divergence_log", [[[-1.0, -INF]], [[-2.0, -INF]]], {}, [np.exp(-1.0)]),
        ("kl_divergence_log", [[[-1.0, -2.0]], [[-1.0, -INF]]], {}, [INF]),
        ("kl_divergence_log", [[[-1.0, -2.0]], [[-1.0, -INF]]], {"reverse": True}, [0.0]),
        ("kl_divergence_log", [[[64.0, 0.0]], [[0.0, 0.0]]], {}, [NAN]),
        ("focal", [[0.0, 0.0], [1.0, 0.0]], {"reduction": "none"}, [np.log(2.0) / 4] * 2),
        (
            "focal",
            [[0.0, 0.0], [1.0, 0.0]],
            {"reduction": "none", "alpha": 0.25},
            [np.log(2.0) / 16, np.log(2.0) * 3 / 16],
        ),
        ("focal", [[INF, -INF], [1.0, 0.0]], {"reduction": "sum"}, 0.0),
        ("focal", [[0.0], [1.5]], {"reduction": "none"}, [NAN]),
        ("gumbel", [[0.0, 1.0, 2.0, np.exp(-1.0)]], {}, [-INF, INF, NAN, 0.0]),
        ("attention_softmax", [[[-INF, 0.0]]], {"softcap": 1.0}, [[1 / (1 + np.e), np.e / (1 + np.e)]]),
        ("attention_softmax", [[[3.0, 0.0]]], {"softcap": 1.0, "mask": np.array([False, True])}, [[0.0, 1.0]]),
    ],
)
def test_special_values_are_defined(op: str, inputs: list[Any], options: dict[str, Any], wanted: Any) -> None:
    """Classes without probability, both orders, certain examples, caps before masks."""
    found = np.asarray(reference(op, *inputs, **options))
    assert found == pytest.approx(np.asarray(wanted), rel=1e-15, abs=1e-15, nan_ok=True)


def test_a_cap_bends_the_gradient() -> None:
    """By 1 - tanh**2 of each score, against differences."""
    x, g, step = np.array([[0.5, -1.0, 3.0]]), np.array([[1.0, -2.0, 0.5]]), 1e-6
    found = np.asarray(reference("attention_softmax", x, grad=g, softcap=2.0))
    for j in range(3):
        up, down = (
            np.asarray(reference("attention_softmax", x + side * step * np.eye(3)[j], softcap=2.0)) for side in (1, -1)
        )
        assert found[0, j] == pytest.approx(float((g * (up - down)).sum() / (2 * step)), abs=1e-8)


def test_the_squared_logsumexp_is_added_for_labels_that_count() -> None:
    """After the cap, in nats; an ignored row has no loss at all."""
    hidden, weight, target = np.array([[1.0], [1.0]]), np.array([[0.0], [4.0]]), np.array([1, -100])
    z = 2 * np.tanh(np.array([0.0, 4.0]) / 2)
    lse = np.log(np.exp(z).sum())
    found = reference(
        "linear_cross_entropy", hidden, weight, target, softcap=2.0, lse_square_scale=0.5, reduction="none"
    )
    np.testing.assert_allclose(np.asarray(found), [lse - z[1] + 0.5 * lse**2, 0.0], rtol=1e-15)


def test_none_is_an_option_only_where_it_is_the_default() -> None:
    """focal without a balance is a call, without a power it is none."""
    inputs = {"logits": np.zeros(2), "target": np.zeros(2)}
    assert undefined(OPS["focal"], Batch("focal", "float64", "", inputs, {"alpha": None})) == ""
    assert "gamma = None" in undefined(OPS["focal"], Batch("focal", "float64", "", inputs, {"gamma": None}))
