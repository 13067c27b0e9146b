"""One row, worked: true values, every implementation, the step that lost it."""

from __future__ import annotations

import json
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xent_verify.auditing.recipes import RECIPES, replay, true_quantities
from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.formats import FORMATS
from xent_verify.explain import explain as explaining
from xent_verify.explain.explain import explain, logits_of, render, to_json
from xent_verify.implementations import IMPLEMENTATIONS


def answer(explanation, name: str, dtype: str):
    op, _, short = name.partition(".")
    matches = [a for a in explanation.answers if (a.op, a.implementation, a.dtype) == (op, short, dtype)]
    assert len(matches) == 1
    return matches[0]


def test_tutorial_row_to_30_digits():
    """softmax([3, 1, -1]) and its loss, to the digit."""
    truth = explain([3, 1, -1], 0, ["float32"]).truth
    assert truth.p[0] == "0.866813332197334871144367829315"
    assert truth.loss == "0.142931628499899529192850329432"
    assert truth.logsumexp == "3.14293162849989952919285032943"


@given(st.lists(st.integers(-40, 40), min_size=1, max_size=5))
def test_truth_agrees_with_decimal(row):
    """p and log p agree with Python's correctly rounded Decimal exp and ln to 28 digits."""
    truth = explain(row, 0, []).truth
    with localcontext() as context:
        context.prec = 80
        terms = [Decimal(x).exp() for x in row]
        for shown, log_shown, term in zip(truth.p, truth.log_p, terms, strict=True):
            p = term / sum(terms)
            assert abs(Decimal(shown) - p) <= p * Decimal("1e-28")
            assert abs(Decimal(log_shown) - p.ln()) <= abs(p.ln()) * Decimal("1e-28") + Decimal("1e-75")


LOST = [
    ([89.0], 0, "softmax.naive", "float32", "exp(x)", "overflows"),
    ([88.5, 88.5], 0, "softmax.naive", "float32", "Σ exp(x)", "overflows"),
    ([-200.0, -201.0], 0, "logsumexp.naive", "float32", "exp(x)", "underflows to 0"),
    ([0.0, -200.0], 1, "cross_entropy.naive-index", "float32", "exp(d)", "underflows to 0"),
    ([0.0, -200.0], 0, "cross_entropy.naive-onehot", "float32", "−Σ y·log p", "is not a number"),
    ([1000.3, 1000.0], 0, "cross_entropy.lse-minus-logit", "float32", "x − L", "cancels"),
    ([20.0, 0.0], 0, "log_softmax.log-of-softmax", "float32", "log(p)", "takes the logarithm of a rounded p"),
    ([0.0] * 1000, 0, "softmax.naive", "bfloat16", "Σ exp(x)", "stalls"),
]


@pytest.mark.parametrize(("row", "target", "name", "dtype", "step", "kind"), LOST)
def test_the_step_that_lost_it(row, target, name, dtype, step, kind):
    """Overflow, underflow, 0·log 0, cancellation, log of a rounded p, a stalled sum: each is named at its step."""
    found = answer(explain(row, target, [dtype]), name, dtype)
    assert (found.step, found.kind) == (step, kind)


def test_stable_forms_stay_within_the_bound():
    """No sound implementation is marked on rows that break the naive ones."""
    for row in ([3, 1, -1], [1000.5, 1000, -1], [20, 0, 0], [-300, -301, -302]):
        sound = {entry.qualified for entry in IMPLEMENTATIONS if entry.sound}
        for found in explain(row, 0).answers:
            if f"{found.op}.{found.implementation}" in sound:
                assert found.bound_ratio <= 1, (row, found)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_compute_what_the_implementation_computes(name):
    """Replaying a recipe on an ordinary row loses nothing, as the implementation itself does."""
    assert name in {entry.qualified for entry in IMPLEMENTATIONS}
    row = np.array([3.0, 1.0, 2.0])
    assert replay(RECIPES[name], row, FORMATS["float64"], true_quantities(row, 0), 0) is None


def test_the_steps_come_first_and_are_those_of_the_operations():
    """max, x − max, exp, sum, division, log and what is made of them: true to the digit, in the order of the algorithm."""
    explained = explain([3, 1, -1], 0, ["float32"])
    told = [f"{step.name} = {step.text}" for step in explained.steps]
    assert told[:5] == ["m = max x", "d = x − m", "e = exp(d)", "s = Σ e", "p = e / s"]
    assert told[5:] == ["l = log(s)", "log p = d − l", "L = m + l", "loss = −log p[0]"]
    by_name = {step.name: step for step in explained.steps}
    assert by_name["p"].true[0] == "0.86681333219733487"
    assert by_name["loss"].true == ("0.14293162849989953",)
    assert by_name["s"].computed["float32"] == (float(np.float32(1.1536509990692139)),)
    assert render(explained, color=False).startswith("step by step")


def test_digits_that_differ_are_marked():
    """A bar stands before the first digit that is not the true one; what agrees has none."""
    text = render(explain([3, 1, -1], 0, ["float32"]), color=False, width=100)
    assert "e = exp(d)        1                 0.135335283       0.0183156389" in text
    assert "float32  1                 0.13533528|1      0.01831563|93" in text
    assert "stable, pairwise" in text
    assert "0.8668133|02  0.506 ulp" in text


@pytest.mark.parametrize("width", [40, 80])
def test_a_narrow_window_has_fewer_formats_side_by_side(width):
    """No line of the tables of implementations is wider than the window, and every format is there."""
    text = render(explain([3, 1, -1], 0), color=False, width=width)
    assert all(len(line) <= width for line in text.splitlines())
    assert all(name in text for name in ("float64", "float32", "float16", "bfloat16"))


def test_rounded_rows_are_told():
    """A logit that a format cannot hold is another number there, and the explanation says so."""
    explained = explain([0.1, 0.0], 0, ["float64", "float32", "bfloat16"])
    assert set(explained.rounded_rows) == {"float32", "bfloat16"}
    assert "in bfloat16 the row is [0.10009765625, 0]" in render(explained, color=False)


def test_a_format_that_cannot_hold_the_row_is_left_out():
    """1e5 is infinite in float16: nothing is claimed there."""
    assert {found.dtype for found in explain([1e5, 0.0], 0).answers} == {"float64", "float32", "bfloat16"}


@pytest.mark.parametrize(
    "row", [[1e300, 0], [-1.7e308, 1.7e308], [3e38, -3e38], [5e-324, -0.0], [-0.0], [-1e9, -1e9]], ids=str
)
def test_extreme_rows_are_explained(row):
    """Largest finite logits, subnormals, signed zeros and one-logit rows are worked like any other."""
    for target in range(len(row)):
        explained = explain(row, target)
        assert render(explained, color=False)
        assert json.loads(to_json(explained))["logits_hex"] == [float(value).hex() for value in row]


def test_render_and_json():
    """The text marks what is beyond the bound and names the step; the JSON is strict and carries hex."""
    explained = explain([1000, 0], None, ["float32"])
    text = render(explained, color=False, width=120)
    assert "✗ wrong" in text
    assert "exp(x) overflows" in text
    assert "\x1b" not in text
    data = json.loads(to_json(explained), parse_constant=lambda name: pytest.fail(name))
    assert data["looked_at"] == 0
    assert {"value", "value_hex", "error_ulp", "bound_ratio"} <= data["answers"][0].keys()


@pytest.mark.parametrize("text", ["3,x,1", "", "3,,nan", "inf,1"])
def test_bad_logits_get_one_line(text):
    """Words, NaN, infinities and nothing at all are a UsageError of one line."""
    with pytest.raises(UsageError) as caught:
        explain(logits_of(text))
    assert "\n" not in str(caught.value)


def test_bad_target_and_dtype_get_one_line():
    """A class that is not there and a format that is unknown are named."""
    with pytest.raises(UsageError, match="target 3 should be a class from 0 to 1"):
        explain([1, 2], 3)
    with pytest.raises(UnknownNameError, match="did you mean 'float32'"):
        explain([1, 2], 0, ["flaot32"])


def test_every_op_is_shown():
    """All four operations and every implementation of theirs appear."""
    explained = explain([3, 1, -1], 0, ["float32"])
    expected = {entry.qualified for entry in IMPLEMENTATIONS if entry.op in explaining.OPS}
    assert {f"{found.op}.{found.implementation}" for found in explained.answers} == expected
