"""Printed numbers against the truth."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import flint
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xent_verify.core.failures import UsageError
from xent_verify.explain import claims
from xent_verify.explain.claims_truth import quantity_of, rounded_like

TUTORIAL = Path(__file__).parents[1] / "reports" / "claims" / "tutorial.toml"


def judged(tmp_path: Path, body: str) -> list[claims.Verdict]:
    path = tmp_path / "c.toml"
    path.write_text(body, encoding="utf-8")
    return claims.check(path)


def one(tmp_path: Path, body: str) -> claims.Verdict:
    return judged(tmp_path, f"[[claim]]\n{body}")[0]


def test_tutorial_verdicts():
    """The tutorial's own numbers: which hold, which digits are wrong, what is true."""
    verdicts = claims.check(TUTORIAL)
    outcomes = ["wrong", "wrong", "misapplied", "holds", "misapplied", "holds", "holds", "holds"]
    assert [verdict.outcome for verdict in verdicts] == outcomes
    p = verdicts[0].numbers
    assert [number.right for number in p] == ["0.87", "0.12", "0.02"]
    assert [number.wrong_digits for number in p] == [(3,), (), (3,)]
    assert verdicts[1].numbers[0].true == "0.142931628499899529192850329432"


def test_tutorial_hint_names_both_quantities():
    """0.1054 is right for p = 0.9, and the verdict says that it is not the loss of softmax(z)."""
    hint = claims.check(TUTORIAL)[4].hint
    assert "right for neg_log(p = 0.9)" in hint
    assert "logits = [3, 1, -1], target = 0) is 0.1429" in hint


def test_render_marks_the_wrong_digit():
    """The wrong digit has a ^ below it; the last line counts."""
    lines = claims.render(claims.check(TUTORIAL), color=False, width=100).splitlines()
    row = next(line for line in lines if "printed 0.88" in line)
    assert lines[lines.index(row) + 1].index("^") == row.index("0.88") + 3
    assert lines[-1] == "4 of 8 claims hold."


def test_json_is_strict():
    """The verdicts as JSON carry digits as strings and an overall ok."""
    data = json.loads(claims.to_json(claims.check(TUTORIAL)))
    assert data["ok"] is False
    assert data["claims"][0]["numbers"][0]["right"] == "0.87"


@pytest.mark.parametrize(
    ("printed", "holds"), [("0.5", True), ("0", True), ("1", True), ("0.50", True), ("0.51", False)]
)
def test_ties_go_either_way(tmp_path, printed, holds):
    """softmax([0, 0]) = 1/2 lies between 0 and 1: to no decimals either is a right rounding."""
    verdict = one(tmp_path, f'op = "softmax"\nlogits = [0, 0]\nprinted = ["{printed}", "{printed}"]')
    assert verdict.ok is holds


def test_decimals_are_exact(tmp_path):
    """0.1 is one tenth: log(1 + e^0.1) is judged on the decimal, not on the nearest float."""
    with flint.ctx.workprec(200):
        digits = ((flint.arb(1) / 10).exp() + 1).log().str(40, radius=False)
    nearest_float = "0.1000000000000000055511151231257827"
    tenth, near = (
        one(tmp_path, f'op = "logsumexp"\nlogits = ["{logit}", 0]\nprinted = "{digits[:20]}"').numbers[0]
        for logit in ("0.1", nearest_float)
    )
    assert tenth.true[:29] == digits[:29]
    assert near.true[:29] != digits[:29]


@given(st.lists(st.decimals(-30, 30, places=3), min_size=1, max_size=4))
def test_softmax_agrees_with_arb(row):
    """Every value lies where an independent ball arithmetic puts it."""
    values = quantity_of({"op": "softmax", "logits": list(row)}, "test").values
    with flint.ctx.workprec(300):
        terms = [(flint.arb(int(x * 1000)) / 1000).exp() for x in row]
        for value, term in zip(values, terms, strict=True):
            share = term / sum(terms, flint.arb(0))
            assert float(abs(share - flint.arb(value.digits))) < 1e-28


@given(st.fractions(0, 1, max_denominator=10**6).filter(lambda p: p > 0))
def test_neg_log_agrees_with_decimal(p):
    """-log p agrees with Python's correctly rounded Decimal logarithm."""
    decimal = Decimal(p.numerator) / Decimal(p.denominator)
    value = quantity_of({"op": "neg_log", "p": decimal}, "test").values[0]
    assert value.low <= value.high
    assert abs(Decimal(value.digits) + decimal.ln()) < Decimal("1e-26")


@given(st.decimals("1e-6", 1, places=6), st.integers(0, 8))
def test_right_roundings_hold_and_neighbours_do_not(p, places):
    """The decimal nearest the truth holds; the next one up or down does not."""
    value = quantity_of({"op": "neg_log", "p": p}, "test").values[0]
    step = Fraction(1, 10**places)
    nearest = round(value.low / step)
    text = f"{Decimal(nearest).scaleb(-places):f}"
    assert rounded_like(value, text) == (text, True)
    wrong = f"{Decimal(nearest + 2).scaleb(-places):f}"
    assert rounded_like(value, wrong) == (text, False)


def test_masked_rows_and_certain_losses(tmp_path):
    """-inf logits have p = 0 and log p = -inf; -log 0 is inf; 0·log 0 contributes 0."""
    assert one(tmp_path, 'op = "softmax"\nlogits = [1, "-inf"]\nprinted = ["1.00", "0.00"]').ok
    assert one(tmp_path, 'op = "log_softmax"\nlogits = [1, -inf]\nprinted = ["0", "-inf"]').ok
    assert one(tmp_path, 'op = "neg_log"\np = 0\nprinted = "inf"').ok
    assert not one(tmp_path, 'op = "neg_log"\np = 0\nprinted = "100"').ok
    assert one(tmp_path, 'op = "cross_entropy_of_p"\np = ["1", "0"]\ny = [1, 0]\nprinted = "0.000"').ok


def test_exponents_and_tiny_values(tmp_path):
    """Digits are counted in exponent notation too, and values far below a float's range are real numbers."""
    assert one(tmp_path, 'op = "softmax"\nlogits = [0, 1000]\nprinted = ["5.08e-435", "1.000"]').ok
    verdict = one(tmp_path, 'op = "softmax"\nlogits = [0, 1000]\nprinted = ["5.07e-435", "1.000"]')
    assert verdict.numbers[0].right == "5.08e-435"


def test_weights_and_smoothing(tmp_path):
    """Class weights and label smoothing follow the op's definition, on exact decimals."""
    body = 'op = "cross_entropy"\nlogits = [0, 0]\ntarget = 0\nlabel_smoothing = 0.1\nprinted = "0.6931"'
    assert one(tmp_path, body).ok


BAD = {
    "no claims": ('title = "x"', "nothing to check"),
    "empty": ("", "nothing to check"),
    "not TOML": ("[[claim", "is not TOML"),
    "unknown op": ('[[claim]]\nop = "softmx"\nlogits = [1]\nprinted = ["1"]', "did you mean 'softmax'"),
    "no op": ('[[claim]]\nlogits = [1]\nprinted = ["1"]', "names no op"),
    "unknown key": ('[[claim]]\nop = "softmax"\nlogit = [1]\nprinted = ["1"]', "did you mean 'logits'"),
    "unknown top key": ('titel = "x"', "did you mean 'title'"),
    "NaN logit": ('[[claim]]\nop = "softmax"\nlogits = [1, nan]\nprinted = ["1", "0"]', "should be a number"),
    "a word": ('[[claim]]\nop = "neg_log"\np = "nine"\nprinted = "1"', "'nine', should be a number"),
    "no printed": ('[[claim]]\nop = "neg_log"\np = "0.9"', "printed is None"),
    "printed words": ('[[claim]]\nop = "neg_log"\np = "0.9"\nprinted = "≈0.1"', "should be a number"),
    "wrong count": ('[[claim]]\nop = "softmax"\nlogits = [1, 2]\nprinted = "1"', "1 numbers printed, the op gives 2"),
    "no logits": ('[[claim]]\nop = "softmax"\nprinted = "1"', "needs logits"),
    "no target": ('[[claim]]\nop = "cross_entropy"\nlogits = [1]\nprinted = "1"', "needs target"),
    "target out of range": (
        '[[claim]]\nop = "cross_entropy"\nlogits = [1]\ntarget = 1\nprinted = "1"',
        "class from 0 to 0",
    ),
    "p above one": ('[[claim]]\nop = "neg_log"\np = "1.5"\nprinted = "1"', "between 0 and 1"),
    "empty row": ('[[claim]]\nop = "softmax"\nlogits = []\nprinted = []', "list of numbers"),
    "absurd exponent": ('[[claim]]\nop = "neg_log"\np = "1e-999999999"\nprinted = "1"', "should be between"),
    "stands_for a word": ('[[claim]]\nop = "neg_log"\np = 1\nprinted = "0"\nstands_for = "L"', "should be a table"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_files_get_one_line(tmp_path, fault):
    """Each kind of bad input is a UsageError of one line that says what would be right."""
    body, words = BAD[fault]
    with pytest.raises(UsageError) as caught:
        judged(tmp_path, body)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_file_gets_one_line(tmp_path):
    """A file that is not there is named, with the reason."""
    with pytest.raises(UsageError, match=r"none\.toml cannot be read: No such file"):
        claims.check(tmp_path / "none.toml")
