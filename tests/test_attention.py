"""attention_softmax: scale, mask and sink, against mpmath and by hand; what masks do to minimising, causes and conventions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mpf

from xent_verify import audit, reference
from xent_verify.core.model import Batch
from xent_verify.implementations import find
from xent_verify.implementations.faulty import attention as faulty
from xent_verify.minimise import minimise
from xent_verify.ops import OPS
from xent_verify.ops.defined import undefined
from xent_verify.verdict.conventions import situations

OP = OPS["attention_softmax"]
INF, NAN = np.inf, np.nan
X = np.array([[0.5, -1.0, 3.0, 2.0], [800.0, 0.0, -900.0, 799.0]])
MASK = np.array([[True, True, False, True], [True, False, True, True]])


def attention(row: list[float], kept: list[bool], scale: float, sink: float | None) -> list[float]:
    """The formula in mpmath."""
    with mpmath.workprec(3000):
        terms = [mpmath.exp(mpf(scale) * mpf(v)) if keep else mpf(0) for v, keep in zip(row, kept, strict=True)]
        total = mpmath.fsum(terms) + (0 if sink is None else mpmath.exp(mpf(sink)))
        return [float(term / total) for term in terms]


@pytest.mark.parametrize("scale", [1.0, 0.125, 0.7])
@pytest.mark.parametrize("sink", [None, 0.0, -3.5, 700.0])
@pytest.mark.parametrize("mask", [None, MASK, MASK[1]])
def test_truth_is_the_formula(scale: float, sink: float | None, mask: Any) -> None:
    """To the last bit but one, which mpmath's float() may round twice."""
    kept = np.broadcast_to(True if mask is None else mask, X.shape)
    wanted = [attention(row, keep, scale, sink) for row, keep in zip(X.tolist(), kept.tolist(), strict=True)]
    found = np.asarray(reference("attention_softmax", X, scale=scale, mask=mask, sink=sink))
    np.testing.assert_allclose(found, wanted, rtol=2.0**-52, atol=0)


SPECIAL: list[tuple[Any, dict[str, Any], Any]] = [
    ([[0.0, NAN, INF]], {"mask": np.array([True, False, False])}, [[1.0, 0.0, 0.0]]),
    ([[0.0, 1.0]], {"mask": np.array([False, False])}, [[NAN, NAN]]),
    ([[0.0, 1.0]], {"mask": np.array([False, False]), "sink": 2.0}, [[0.0, 0.0]]),
    ([[-INF, -INF]], {"sink": 2.0}, [[0.0, 0.0]]),
    ([[0.0, 0.0]], {"sink": -INF}, [[0.5, 0.5]]),
    ([[0.0, -INF]], {"sink": 0.0, "scale": 3.0}, [[0.5, 0.0]]),
    ([[0.0, INF]], {"sink": 0.0}, [[NAN, NAN]]),
]


@pytest.mark.parametrize(("x", "options", "wanted"), SPECIAL)
def test_masked_scores_do_not_matter(x: Any, options: dict[str, Any], wanted: Any) -> None:
    """Whatever they hold; a row of none has a softmax only beside a sink."""
    np.testing.assert_array_equal(np.asarray(reference("attention_softmax", x, **options)), wanted)
    if np.isfinite(wanted).all():
        for name in ("stable", "masked-terms", "online", "wide"):
            assert find(name, "attention_softmax").call(np.array(x), **options).tolist() == wanted


def test_a_mask_follows_the_axis() -> None:
    found = np.asarray(reference("attention_softmax", X.T, mask=MASK.T, axis=0))
    assert (np.asarray(reference("attention_softmax", X, mask=MASK)) == found.T).all()


@pytest.mark.parametrize("sink", [None, 1.0])
def test_the_gradient_is_the_derivative(sink: float | None) -> None:
    """0 for masked scores; differences of the stable form elsewhere."""
    x, grad, step = np.array([[0.5, -1.0, 3.0, 2.0]]), np.array([[1.0, -2.0, 0.5, 3.0]]), 1e-6
    options: dict[str, Any] = {"scale": 0.5, "mask": MASK[0], "sink": sink}
    found = np.asarray(reference("attention_softmax", x, grad=grad, **options))
    call = find("stable", "attention_softmax").call
    for k in range(4):
        move = step * np.eye(4)[k]
        slope = (grad * (call(x + move, **options) - call(x - move, **options))).sum() / (2 * step)
        assert found[0, k] == pytest.approx(slope, abs=1e-8)
    assert found[0, 2] == 0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"mask": np.ones((2, 4))}, "mask has dtype float64, not bool"),
        ({"mask": np.ones(3, np.bool_)}, "mask has shape (3,), not (2, 4)"),
        ({"scale": 0.0}, "scale = 0.0 is out of its range"),
        ({"sink": INF}, "sink = inf is out of its range"),
    ],
)
def test_what_is_no_call_is_said(options: dict[str, Any], why: str) -> None:
    assert why in undefined(OP, Batch(OP.name, "float64", "test", {"x": X}, options))


def test_sound_forms_pass_masks_scales_and_sinks() -> None:
    """In float32, on the regime that crosses them (the whole plan: benchmarks/recall.py --clean)."""
    for name in ("stable", "masked-terms", "online", "wide"):
        report = audit(
            find(name, OP.name).call, op=OP.name, dtypes=["float32"], profile="quick", regimes=["options", "crossed"]
        )
        assert report.ok, name


CAUSES = {
    "masked-after": "masked results are put to 0, their part of the sum stays",
    "finite-mask": "-inf is replaced by a finite number",
    "maximum-of-all": "the maximum is not that of the scores that it is subtracted from",
    "unscaled-maximum": "the maximum is not that of the scores that it is subtracted from",
    "padding-counts": "padding takes part in the sum",
    "sink-outside-maximum": "the maximum leaves out a term of the denominator",
}


@pytest.mark.parametrize("fault", faulty.FAULTS, ids=lambda fault: fault.name)
def test_faults_of_the_field_fail(fault: Any) -> None:
    """Each under calls drawn by the kinds of the options; those whose mistake is known are named."""
    report = audit(
        fault.call,
        op=OP.name,
        dtypes=["float32"],
        profile="quick",
        regimes=["options", "crossed", "sizes", "long_rows"],
    )
    assert report.failed
    causes = {finding.defect for finding in report.targets[0].dtypes[0].findings}
    assert CAUSES.get(fault.name, "wrong numbers") in causes


def small(fault: Callable[..., Any], batch: Batch) -> Batch:
    """The least call on which a fault is off by more than a hundredth."""
    stable = find("stable", OP.name).call

    def off(call: Batch) -> bool:
        if undefined(OP, call):
            return False
        difference = np.abs(fault(call.x, **call.options) - stable(call.x, **call.options))
        return bool((difference > 0.01).any())

    assert off(batch)
    return minimise(batch, off)


def test_a_failing_call_is_cut_with_its_mask() -> None:
    """Two scores and the mask that drops one are left of 40, also where the mask is one row for all."""
    x = np.random.default_rng(1).normal(size=(4, 10))
    for mask in (np.arange(10) % 3 > 0, np.ones((4, 10), np.bool_) & (np.arange(10) % 3 > 0)):
        least = small(
            faulty.attention_softmax_masked_after, Batch(OP.name, "float64", "test", {"x": x}, {"mask": mask})
        )
        assert least.x.size == 2
        assert np.asarray(least.options["mask"]).sum() == 1
        assert set(least.options) == {"mask"}


def test_a_row_without_a_kept_score_is_a_convention() -> None:
    """Its answer is NaN, 0 or uniform; beside a sink it is 0, and no convention."""
    batch = Batch(OP.name, "float64", "test", {"x": X}, {"mask": np.zeros(4, np.bool_)})
    observed, truth = np.full(X.shape, 0.25), np.full(X.shape, NAN)
    (found,) = situations(OP, batch, observed, truth)
    assert (found.name, set(found.words)) == ("all masked", {"uniform"})
    assert situations(OP, batch, observed, np.zeros(X.shape)) == []


def test_a_mask_travels_to_the_targets_process() -> None:
    """A boolean option reaches a target that runs in a process of its own."""
    report = audit("stable", op="attention_softmax", dtypes=["float32"], profile="quick", regimes=["options"])
    assert report.ok
    assert report.targets[0].dtypes[0].offered["mask"]


@pytest.mark.parametrize("name", ["stable", "blocks", "scaled-queries", "wide"])
def test_an_undefined_score_of_a_masked_key_does_not_matter_under_a_cap(name: str) -> None:
    """inf times 0 at a key that is not kept."""
    q, k = np.array([[np.inf, 1.0]], np.float32), np.array([[1, 0], [0, 1], [2, 1]], np.float32)
    v, mask = np.array([[1], [2], [3]], np.float32), np.array([[True, False, True]])
    assert find(name, "attention").call(q, k, v, softcap=2.0, mask=mask).tolist() == [[2.0]]
