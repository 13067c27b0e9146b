"""Operations whose scores are products with a matrix, and those that choose: truth by hand, special values, limits, calls."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mpf

from xent_verify import limits, reference
from xent_verify.auditing.findings import focus
from xent_verify.core.model import Batch
from xent_verify.implementations import find
from xent_verify.minimise import minimise
from xent_verify.ops import OPS, op_named
from xent_verify.ops.defined import undefined

INF, NAN = np.inf, np.nan
Q = np.array([[0.5, -1.0], [3.0, 2.0]])
K = np.array([[1.0, 2.0], [-1.0, 0.25], [0.0, 300.0]])
V = np.array([[1.0, -4.0], [0.5, 0.0], [2.0, 1.0]])


def softmax(scores: list[Any]) -> list[Any]:
    top = max(scores)
    terms = [mpmath.exp(score - top) for score in scores]
    return [term / mpmath.fsum(terms) for term in terms]


@pytest.mark.parametrize("scale", [1.0, 0.7])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_the_formula(scale: float, causal: bool) -> None:
    """softmax(scale q k^T) v and its logsumexp; the last row keeps all keys, the one before all but one."""
    found = np.asarray(reference("attention", Q, K, V, scale=scale, causal=causal))
    sums = np.asarray(reference("attention_lse", Q, K, scale=scale, causal=causal))
    with mpmath.workprec(2000):
        for i, row in enumerate(Q):
            kept = range(3 if i or not causal else 2)
            scores = [mpf(scale) * mpmath.fdot(map(mpf, row), map(mpf, K[j])) for j in kept]
            wanted = [float(mpmath.fdot(softmax(scores), [mpf(V[j, c]) for j in kept])) for c in range(2)]
            np.testing.assert_allclose(found[i], wanted, rtol=2.0**-52)
            top = max(scores)
            total = top + mpmath.log(mpmath.fsum(mpmath.exp(score - top) for score in scores))
            np.testing.assert_allclose(sums[i], float(total), rtol=2.0**-52)


def test_a_bias_and_a_mask_belong_to_scores() -> None:
    """Both broadcast against [.., rows, keys]; a masked key does not matter, and without any there is no softmax."""
    mask = np.array([[True, False, True], [False, False, False]])
    bias = np.array([0.0, NAN, -300.0])
    bias[1] = 1e300
    found = np.asarray(
        reference("attention_lse", np.ones((2, 1)), np.array([[1.0], [5.0], [2.0]]), mask=mask, bias=bias)
    )
    assert found.tolist() == [1.0, -INF]
    values = np.asarray(reference("attention", np.ones((2, 1)), np.ones((3, 1)), np.ones((3, 1)), mask=mask))
    np.testing.assert_array_equal(values, [[1.0], [NAN]])


def test_each_group_of_rows_has_its_own_matrix() -> None:
    """Leading axes are those of all inputs."""
    q, k, v = np.stack([Q, -Q]), np.stack([K, K + 1]), np.stack([V, V * 2])
    found = np.asarray(reference("attention", q, k, v))
    for group in range(2):
        np.testing.assert_array_equal(found[group], np.asarray(reference("attention", q[group], k[group], v[group])))


def test_products_that_cancel_are_exact_in_truth_and_wide_in_the_limit() -> None:
    """2**60 - 2**60 + 1: the truth keeps the 1, and what float64 loses is within the limit."""
    q, k = np.array([[2.0**60, 1.0, 2.0**60]]), np.array([[1.0, 1.0, -1.0]])
    assert np.asarray(reference("attention_lse", q, k)).tolist() == [1.0]
    assert limits("attention_lse", q, k)[0] > 2.0**7


@pytest.mark.parametrize(
    ("la", "lb", "wanted"),
    [(0.0, 0.0, 2.0), (800.0, 0.0, 1.0), (-INF, -900.0, 3.0), (-900.0, -INF, 1.0), (-INF, -INF, NAN)],
)
def test_parts_merge_by_their_logsumexps(la: float, lb: float, wanted: float) -> None:
    """An empty part has no weight; of two nothing is defined."""
    found = reference("merge_states", [[1.0]], [la], [[3.0]], [lb])
    np.testing.assert_allclose(np.asarray(found), [[wanted]], rtol=1e-15)


def test_linear_cross_entropy_is_cross_entropy_of_the_products() -> None:
    """Where the products are exact; bias, smoothing and ignored labels included."""
    hidden, weight = np.array([[1.0, 2.0], [0.5, -1.0], [4.0, 0.0]]), np.array([[1.0, 0.5], [2.0, 2.0], [-1.0, 3.0]])
    target, bias = np.array([0, -100, 2]), np.array([0.25, 0.0, -1.0])
    for options in ({}, {"label_smoothing": 0.25}, {"reduction": "sum"}, {"reduction": "none"}):
        fused = reference("linear_cross_entropy", hidden, weight, target, bias=bias, **options)
        plain = reference("cross_entropy", hidden @ weight.T + bias, target, **options)
        np.testing.assert_array_equal(np.asarray(fused), np.asarray(plain))


def test_its_gradient_goes_back_through_the_matrix() -> None:
    """(p - y) W for each row."""
    hidden, weight, target = np.array([[1.0, 2.0], [0.5, -1.0]]), np.array([[1.0, 0.5], [2.0, 2.0]]), np.array([0, 1])
    logits = hidden @ weight.T
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = reference("linear_cross_entropy", hidden, weight, target, grad=np.ones(2), reduction="none")
    np.testing.assert_allclose(np.asarray(found), (p - np.eye(2)[target]) @ weight, rtol=1e-14)


@pytest.mark.parametrize("renormalise", [False, True])
def test_the_largest_weights_come_in_falling_order(renormalise: bool) -> None:
    """Ties included; a NaN anywhere is one in the result; k larger than the row is no call."""
    x = np.array([[0.0, 3.0, 3.0, -1.0]])
    p = np.exp(x) / np.exp(x).sum()
    found = np.asarray(reference("topk_softmax", x, k=3, renormalise=renormalise))
    np.testing.assert_allclose(found, [p[0, [1, 2, 0]] / (p[0, :3].sum() if renormalise else 1)], rtol=1e-15)
    assert np.isnan(np.asarray(reference("topk_softmax", [[0.0, 1.0, NAN]], k=1))).all()
    assert "k = 3" in undefined(OPS["topk_softmax"], Batch("topk_softmax", "float64", "", {"x": x[:, :2]}, {"k": 3}))


def test_divergences_of_equal_rows_are_exactly_0() -> None:
    """And of rows without a common class log 2."""
    assert np.asarray(reference("js_divergence", [[0.1, 0.7, -3.0]], [[0.1, 0.7, -3.0]])).tolist() == [0.0]
    apart = np.asarray(reference("js_divergence", [[0.0, -INF]], [[-INF, 0.0]]))
    assert apart.tolist() == [np.log(2.0)]


def test_nll_takes_log_probabilities_as_they_are() -> None:
    """Weights divide the mean; a masked class beside the label does not matter."""
    x, target = np.array([[-1.0, -INF], [-2.0, -4.0]]), np.array([0, 1])
    found = np.asarray(reference("nll", x, target, weight=np.array([1.0, 3.0])))
    assert found == (1.0 + 12.0) / 4


WRONG: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("attention", {"q": Q, "k": K[:, :1], "v": V}, {}, "k has shape (3, 1), which does not fit q of shape (2, 2)"),
    ("attention", {"q": Q, "k": K, "v": V[:2]}, {}, "v has 2 vectors, k has 3"),
    ("attention", {"q": Q[0], "k": K, "v": V}, {}, "q has 1 dimensions, should have at least 2"),
    ("attention", {"q": Q, "k": K, "v": V}, {"mask": np.ones((2, 2), bool)}, "mask has shape (2, 2), not (2, 3)"),
    ("attention", {"q": Q, "k": K, "v": V}, {"bias": np.array([0.0, NAN, 0.0])}, "bias holds a NaN or +inf"),
    ("linear_cross_entropy", {"hidden": Q, "weight": K, "target": np.array([3, 0])}, {}, "neither in [0, 3)"),
]


@pytest.mark.parametrize(("op", "inputs", "options", "words"), WRONG)
def test_what_is_no_call_is_told(op: str, inputs: dict[str, Any], options: dict[str, Any], words: str) -> None:
    """Which argument does not fit, and what it should be."""
    assert words in undefined(OPS[op], Batch(op, "float64", "", inputs, options))


def test_a_row_is_taken_out_with_its_own_matrix() -> None:
    """Of a call with leading axes; the mask is cut to the row."""
    inputs = {"q": np.stack([Q, -Q]), "k": np.stack([K, K + 1]), "v": np.stack([V, V * 2])}
    batch = Batch("attention", "float64", "", inputs, {"mask": np.tri(2, 3, 1, dtype=bool)})
    single = focus(OPS["attention"], batch, int(np.ravel_multi_index((1, 0, 1), (2, 2, 2))))
    np.testing.assert_array_equal(single.inputs["q"], -Q[:1])
    np.testing.assert_array_equal(single.inputs["k"], K + 1)
    assert single.options["mask"].tolist() == [[True, True, False]]


def test_minimising_drops_vectors_with_their_values() -> None:
    """Of 70 keys those remain that a fault of blocks needs: 65."""
    keys = np.zeros((70, 1), np.float32)
    inputs = {"q": np.ones((2, 1), np.float32), "k": keys, "v": np.ones((70, 2), np.float32)}
    faulty, stable = (find(f"attention.{name}").call for name in ("tail-counts", "stable"))

    def fails(batch: Batch) -> bool:
        return not np.allclose(
            faulty(*batch.inputs.values()), stable(*batch.inputs.values()), rtol=1e-3, equal_nan=True
        )

    small = minimise(Batch("attention", "float32", "", inputs), fails)
    assert (small.inputs["k"].shape, small.inputs["v"].shape, small.x.shape) == ((65, 1), (65, 2), (1, 1))


def test_the_gradient_of_the_chosen_is_that_of_the_softmax() -> None:
    """With k of the row's length and a gradient in falling order."""
    x, g = np.array([[0.5, 2.0, -1.0]]), np.array([[1.0, 0.0, -2.0]])
    found = np.asarray(reference(op_named("vjp(topk_softmax)"), x, g, k=3))
    whole = np.asarray(reference(op_named("vjp(softmax)"), x, np.array([[0.0, 1.0, -2.0]])))
    np.testing.assert_array_equal(found, whole)
