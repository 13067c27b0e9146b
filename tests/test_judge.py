"""Verdicts at the edges where sound code must pass and the same answer elsewhere must not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch, Returned
from xent_verify.ops import OPS, op_named
from xent_verify.truth import certify
from xent_verify.verdict import conventions
from xent_verify.verdict.judge import Judgement, Rules, judge
from xent_verify.verdict.policies import POLICIES, across_memory

MAX = float(np.finfo(np.float32).max)


def loss(logits: Any, target: Any, options: Mapping[str, Any]) -> Batch:
    inputs = {"logits": np.array(logits, np.float32), "target": np.array(target)}
    return Batch("cross_entropy", "float32", "test", inputs, dict(options))


def verdict(batch: Batch, value: Any) -> Judgement:
    answer = np.asarray(value, batch.x.dtype)
    return judge(OPS[batch.op], batch, Returned(answer, answer.dtype.name), certify(batch), Rules())


@pytest.mark.parametrize(
    ("layout", "axis", "across"), [("C", -1, False), ("C", 0, True), ("F", -1, True), ("strided", -1, False)]
)
def test_sums_across_memory_may_be_loops(layout: str, axis: int, across: bool) -> None:
    """Where rows do not lie along memory the limit is that of a plain loop, elsewhere that of a library's sum."""
    batch = Batch("softmax", "float32", "test", {"x": np.zeros((2000, 2000), np.float32)}, {"axis": axis}, layout)
    assert across_memory(batch) == across
    small = replace(
        batch, inputs={"x": np.zeros((3000, 3), np.float32) if axis == 0 else np.zeros((3, 3000), np.float32)}
    )
    standard, textbook = (
        POLICIES[name].limits(OPS["softmax"], small, certify(small)).error for name in ("standard", "textbook")
    )
    assert bool((standard == textbook).all()) == across


@pytest.mark.parametrize("n", [2, 3, 17, 128, 256])
def test_any_order_of_summation_passes_on_short_rows(n: int) -> None:
    """A plain float32 loop over equal terms, which rounds the same way every time, stays within the limit."""
    rng = np.random.default_rng(n)
    for gap in rng.uniform(0, 3, 40):
        x = np.full((1, n), -gap, np.float32)
        x[0, 0] = 0
        e = np.exp(x)
        total = np.add.accumulate(e, axis=1, dtype=np.float32)[:, -1:]
        assert not verdict(Batch("softmax", "float32", "test", {"x": x}), e / total).hits


def test_a_plain_loop_over_many_terms_fails() -> None:
    """One after another, 100,000 terms below half an ulp of the sum so far are lost."""
    x = np.full((1, 100_000), -9.03, np.float32)
    x[0, :2049] = 0.0
    e = np.exp(x)
    total = np.add.accumulate(e, axis=1, dtype=np.float32)[:, -1:]
    assert "inaccurate" in verdict(Batch("softmax", "float32", "test", {"x": x}), e / total).kinds()


@pytest.mark.parametrize(
    ("options", "target", "fine"),
    [
        ({"label_smoothing": 1.0}, [0], True),
        ({"weight": np.array([0, 1], np.float32), "label_smoothing": 0.1}, [0], True),
        ({}, [[0.0, 1.0]], True),
        ({}, [0], False),
        ({"label_smoothing": 1.0}, [1], False),
    ],
)
def test_zero_times_an_overflow_is_no_fault(options: dict[str, Any], target: Any, fine: bool) -> None:
    """x - m overflows, and a factor of 0 makes NaN of it: tolerated there, and nowhere else."""
    probabilities = np.ndim(target) == 2
    given = np.array(target, np.float32) if probabilities else target
    batch = loss([[-MAX, 1e31]], given, {**options, "reduction": "none"})
    kinds = verdict(batch, [np.nan]).kinds()
    assert ("nan" not in kinds) == fine


def test_a_mean_over_zero_weight_is_not_a_mean_over_nothing() -> None:
    """With smoothing the sum over rows need not be 0: inf there and NaN over ignored rows are one target's two answers."""
    weight = np.array([0.0, 1.0, 2.0], np.float32)
    smoothed = loss([[0.0, 1.0, 2.0]], [0], {"weight": weight, "label_smoothing": 0.1})
    ignored = loss([[0.0, 1.0, 2.0]], [-100], {"weight": weight, "label_smoothing": 0.1})
    found = [
        conventions.situations(OPS["cross_entropy"], batch, np.asarray(value), certify(batch).hi)[0]
        for batch, value in ((smoothed, np.inf), (ignored, np.nan))
    ]
    assert [situation.name for situation in found] == ["mean over zero weight", "mean over nothing"]
    assert not verdict(smoothed, np.inf).kinds()


def test_a_nan_shows_in_its_own_element_alone_where_elements_are_apart() -> None:
    """Outside [0, 1] a Gumbel quantile is a convention, beside a NaN too; the NaN itself must show."""
    batch = Batch("gumbel", "float32", "test", {"u": np.array([-1e-38, np.nan, 0.5], np.float32)})
    assert not verdict(batch, [-4.5, np.nan, 0.36651292]).kinds()
    assert verdict(batch, [-4.5, 0.0, 0.36651292]).kinds() == {"nan_hidden"}


def test_the_gradient_at_a_masked_target_may_be_rounded() -> None:
    """-1 there is the negative sum of the others, which sound code adds up in floats."""
    inputs = {"logits": np.array([[-np.inf, 0.0, 1.0]], np.float32), "target": np.array([0])}
    batch = Batch("cross_entropy_grad", "float32", "test", inputs)
    assert not verdict(batch, [[-0.99999994, 0.26894143, 0.7310586]]).kinds()
    assert verdict(batch, [[-0.999, 0.26894143, 0.7310586]]).kinds() == {"inaccurate"}
    assert verdict(batch, [[0.0, 0.26894143, 0.7310586]]).kinds() == {"underflow"}


@pytest.mark.parametrize(("fmt", "fine"), [("float8_e4m3fn", True), ("float8_e5m2", False)])
def test_nan_is_the_infinity_of_a_format_without_one(fmt: str, fine: bool) -> None:
    """The logarithm of an empty sum is -inf, which float8_e4m3fn can only write as NaN."""
    form = FORMATS[fmt]
    batch = Batch("logsumexp", fmt, "test", {"x": np.zeros((2, 0), form.dtype)})
    found = judge(
        OPS["logsumexp"], batch, Returned(form.narrow(np.full(2, np.nan)), fmt), certify(batch), Rules()
    ).kinds()
    assert ("special_value" not in found) == fine


@pytest.mark.parametrize(("special", "fine"), [("any", True), ("torch", True), ("scipy", True), ("limit", False)])
def test_a_profile_refuses_the_words_it_does_not_list(special: str, fine: bool) -> None:
    """NaN for a row with +inf is the answer of torch, and is wrong where the limit is asked for."""
    batch = Batch("softmax", "float32", "test", {"x": np.array([[np.inf, 0.0], [1.0, 0.0]], np.float32)})
    answer = np.array([[np.nan, np.nan], [0.7310586, 0.26894143]], np.float32)
    found = judge(OPS["softmax"], batch, Returned(answer, "float32"), certify(batch), Rules(special=special))
    assert ("special_value" not in found.kinds()) == fine


@pytest.mark.parametrize(
    ("special", "answer", "severities"),
    [
        ("any", [np.nan, np.nan], {"warn"}),
        ("limit", [np.nan, np.nan], {"fail"}),
        ("torch", [0.0, np.inf], set()),
        ("any", [1.0, np.inf], {"fail"}),
    ],
)
def test_nan_at_an_infinite_logit_of_a_binary_loss_is_a_convention(
    special: str, answer: list[float], severities: set[str]
) -> None:
    """max(x, 0) - x y is inf - inf there: worth a warning, wrong where the limit is asked for. A wrong number is wrong."""
    inputs = {"logits": np.array([np.inf, -np.inf], np.float32), "target": np.array([1.0, 1.0], np.float32)}
    batch = Batch("binary_cross_entropy_with_logits", "float32", "test", inputs, {"reduction": "none"})
    value = Returned(np.array(answer, np.float32), "float32")
    found = judge(OPS[batch.op], batch, value, certify(batch), Rules(special=special))
    assert {hit.severity for hit in found.hits} == severities


def test_smoothing_over_a_bias_of_minus_infinity_may_give_nan() -> None:
    """As smoothing over a masked logit may: 0 times the infinite loss of the label."""
    inputs = {"hidden": np.zeros((1, 1)), "weight": np.zeros((2, 1)), "target": np.array([0])}
    arrays = {name: value if name == "target" else value.astype(np.float32) for name, value in inputs.items()}
    options = {"bias": np.array([-np.inf, -0.75], np.float32), "label_smoothing": 1.0}
    batch = Batch("linear_cross_entropy", "float32", "test", arrays, options)
    value = Returned(np.array(np.nan, np.float32), "float32")
    assert not judge(OPS[batch.op], batch, value, certify(batch), Rules()).hits


@pytest.mark.parametrize(("kept", "fine"), [(False, True), (True, False)])
def test_nan_in_the_gradient_of_a_row_without_a_softmax_is_a_convention(kept: bool, fine: bool) -> None:
    """The mask makes the gradient 0, and the row's own result is undefined; of any other row NaN is wrong."""
    inputs = {"x": np.zeros((1, 2), np.float32), "grad": np.ones((1, 2), np.float32)}
    batch = Batch("vjp(attention_softmax)", "float32", "test", inputs, {"mask": np.array([[kept, False]])})
    value = Returned(np.full((1, 2), np.nan, np.float32), "float32")
    found = judge(op_named(batch.op), batch, value, certify(batch), Rules())
    assert (not any(hit.severity == "fail" for hit in found.hits)) == fine


def test_a_nan_in_one_row_says_nothing_of_another() -> None:
    """64 is no log-probability, so that the second row's answer is anybody's; the first row's NaN is not hidden by it."""
    inputs = {"log_p": np.array([[0.0], [64.0]], np.float32), "log_q": np.array([[np.nan], [0.0]], np.float32)}
    batch = Batch("kl_divergence_log", "float32", "test", inputs)
    for first, fine in ((np.nan, True), (1.0, False)):
        value = Returned(np.array([first, 3.99e29], np.float32), "float32")
        assert (not judge(OPS[batch.op], batch, value, certify(batch), Rules()).hits) == fine


@pytest.mark.parametrize(("kept", "fine"), [(False, True), (True, False)])
def test_a_row_that_is_undefined_anyway_need_not_show_its_nan(kept: bool, fine: bool) -> None:
    """Attention of a query without a key may be 0, whatever the query holds."""
    inputs = {"q": np.array([[np.nan]], np.float32), "k": np.ones((1, 1), np.float32), "v": np.ones((1, 1), np.float32)}
    batch = Batch("attention", "float32", "test", inputs, {"mask": np.array([[kept]])})
    found = judge(OPS[batch.op], batch, Returned(np.zeros((1, 1), np.float32), "float32"), certify(batch), Rules())
    assert (not any(hit.severity == "fail" for hit in found.hits)) == fine


def test_a_nan_to_ignore_does_not_hide_that_a_mean_is_undefined() -> None:
    """A row with +inf whose label weighs 0 may add 0 to the mean; the NaN is in a row whose label is ignored."""
    logits = [[0.0, 0.0, 0.0], [0.0, np.nan, 0.0], [np.inf, 0.0, 0.0]]
    batch = loss(logits, [0, -100, 2], {"weight": np.array([1.0, 0.0, 0.0], np.float32)})
    assert "nan_hidden" not in verdict(batch, np.log(3.0)).kinds()


def test_a_sign_of_an_infinite_loss_is_not_asked_of_a_target_that_is_no_probability() -> None:
    """-y log s(x) - (1 - y) log s(-x) at x = -inf: infinities of both signs, where y < 0."""
    inputs = {"logits": np.array([-np.inf], np.float32), "target": np.array([-0.5], np.float32)}
    batch = Batch("binary_cross_entropy_with_logits", "float32", "", inputs, {"reduction": "none"})
    assert not verdict(batch, [np.inf]).kinds()
    inside = replace(batch, inputs={**inputs, "target": np.array([0.5], np.float32)})
    assert verdict(inside, [-np.inf]).kinds()
