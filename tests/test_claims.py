"""Printed numbers against the truth."""

from __future__ import annotations

import json
import runpy
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import flint
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xent_verify.core.failures import UsageError
from xent_verify.explain import claims
from xent_verify.explain.claims_truth import quantity_of, rounded_like
from xent_verify.ops import OPS
from xent_verify.truth.reference import reference

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


@pytest.mark.parametrize(
    ("reduction", "printed"), [("", '"0.6208"'), ("sum", '"1.2415"'), ("none", '["0.1429", "1.0986"]')]
)
def test_batches_are_reduced(tmp_path, reduction, printed):
    """A batch is a list of rows; its loss is the mean unless the claim says otherwise; a row alone is not reduced."""
    body = f'op = "cross_entropy"\nlogits = [[3, 1, -1], [0, 0, 0]]\ntarget = [0, 2]\nprinted = {printed}\n'
    assert one(tmp_path, body + (f'reduction = "{reduction}"' if reduction else "")).ok


def test_weights_ignored_labels_and_more_dimensions(tmp_path):
    """Options follow the operation: ignored labels, weights by class, classes on the second axis."""
    batch = 'op = "cross_entropy"\nlogits = [[3, 1, -1], [0, 0, 0]]\n'
    assert one(tmp_path, batch + 'target = [0, -1]\nignore_index = -1\nprinted = "0.1429"').ok
    assert one(tmp_path, batch + 'target = [0, 2]\nweight = [3, 1, 1]\nprinted = "0.3819"').ok
    deep = 'op = "cross_entropy"\nlogits = [[[3, 0], [1, 0], [-1, 0]]]\ntarget = [[0, 2]]\nreduction = "none"\n'
    assert one(tmp_path, deep + 'printed = ["0.1429", "1.0986"]').ok


OPERATIONS = {
    "sigmoid": ("x = [[-1, 0], [1, 2]]", '[["0.2689", "0.5"], ["0.7311", "0.8808"]]'),
    "log_sigmoid": ("x = -1", '"-1.3133"'),
    "softplus": ("x = 1", '"1.3133"'),
    "logaddexp": ("x = 1\ny = 2", '"2.3133"'),
    "binary_cross_entropy_with_logits": (
        "logits = [1, -2]\ntarget = [0, 1]\npos_weight = [2, 3]\nweight = 2",
        '"7.69405"',
    ),
    "nll": ("log_probabilities = [-1, -2]\ntarget = 1", '"2"'),
    "kl_divergence": ("logits_p = [1, 2]\nlogits_q = [1, 3]", '"0.0826"'),
    "entropy": ("x = [[1, 1], [0, 1000]]", '["0.6931", "0"]'),
    "softmax_temperature": ("x = [1, 2]\ntemperature = 0.5", '["0.1192", "0.8808"]'),
    "attention": ("q = [[1, 2]]\nk = [[1, 0], [0, 1]]\nv = [[1], [2]]\nscale = 0.5\nmask = [[true, true]]", '"1.622"'),
    "vjp(softmax)": ("x = [0, 0]\ngrad = [1, 0]", '["0.25", "-0.25"]'),
}


@pytest.mark.parametrize("op", OPERATIONS)
def test_every_operation_can_be_claimed(tmp_path, op):
    """Inputs and options by the operation's own names, results of any shape."""
    given, printed = OPERATIONS[op]
    assert one(tmp_path, f'op = "{op}"\n{given}\nprinted = {printed}').ok


def test_claims_of_all_operations_are_certified_truth(tmp_path):
    """On numbers that are floats a claim is about what ``reference`` gives."""
    for op in OPS.values():
        if set(op.inputs.values()) == {"row"} and op.result != "loss" and not op.counted and not op.shared:
            inputs = {name: [0.5, -1.25, 3.0] for name in op.inputs}
            values = quantity_of(
                {"op": op.name, **{k: [Decimal(str(x)) for x in v] for k, v in inputs.items()}}, op.name
            ).values
            true = np.atleast_1d(reference(op, *inputs.values()).rounded("float64"))
            assert [float(value.low) for value in values] == pytest.approx(true.tolist(), rel=2**-52, nan_ok=True)


@pytest.mark.parametrize(
    ("printed", "holds", "words"),
    [
        ("0.73105858", True, "right to its digits and as float32"),
        ("0.7310586", True, "right to its digits and as float32"),
        ("0.7311", True, "right to its digits, not as float32"),
        ("0.73105860", True, "right as float32, to its digits 0.73105858"),
        ("0.7310585", False, "should be 0.7310586"),
    ],
)
def test_literals_of_a_format(tmp_path, printed, holds, words):
    """A literal is right as a decimal or as a float of its format, and the verdict says which."""
    verdict = one(tmp_path, f'op = "sigmoid"\nx = 1\nliteral = "float32"\nprinted = "{printed}"')
    assert verdict.ok is holds
    assert words in claims.render([verdict], color=False, width=140)


def test_inputs_of_a_literal_are_rounded(tmp_path):
    """0.1 in bfloat16 is 0.10009765625, and in float64 not one tenth either."""
    body = 'op = "softplus"\nx = 0.1\nprinted = "0.7443966600735709"'
    exact, narrow = (one(tmp_path, body + f'\nliteral = "{name}"').numbers[0] for name in ("float64", "bfloat16"))
    assert exact.literal
    assert exact.to_its_digits
    assert narrow.true.startswith("0.744447")


def test_percentages_count_their_own_digits(tmp_path):
    """87 % is 0.87, to two decimals; the right one is shown in percent, too."""
    assert one(tmp_path, 'op = "sigmoid"\nx = 2\nprinted = "88 %"').ok
    assert one(tmp_path, 'op = "sigmoid"\nx = 2\nprinted = "87.9%"').numbers[0].right == "88.1%"


def test_distance_from_the_truth(tmp_path):
    """In units of the last digit; nothing where one of both is infinite."""
    assert one(tmp_path, 'op = "sigmoid"\nx = 0\nprinted = "0.7"').numbers[0].units == 2.0
    assert one(tmp_path, 'op = "neg_log"\np = 0\nprinted = "1"').numbers[0].units is None
    data = json.loads(claims.to_json([one(tmp_path, 'op = "neg_log"\np = 0\naddress = "page 3"\nprinted = "1"')]))
    assert data["claims"][0]["address"] == "page 3"


def test_right_digits_are_shown_as_the_printed_ones(tmp_path):
    """The exponent is written as on the page, so that only digits differ."""
    number = one(tmp_path, 'op = "sigmoid"\nx = -16\nprinted = "1.1254e-07"').numbers[0]
    assert number.right == "1.1254e-07"
    assert one(tmp_path, 'op = "sigmoid"\nx = -16\nprinted = "1.1255E-07"').numbers[0].right == "1.1254E-07"


def test_expected_values_report_is_what_the_benchmark_writes():
    """``reports/expected.md`` is made from the files beside the benchmark; no number in them speaks against the truth."""
    root = Path(__file__).parents[1]
    module = runpy.run_path(str(root / "benchmarks" / "expected.py"))
    text = module["report"]()
    assert "No number speaks against" in text
    assert text == (root / "reports" / "expected.md").read_text(encoding="utf-8")


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
    "one bracket": ('[claim]\nop = "neg_log"', "two brackets"),
    "unknown format": (
        '[[claim]]\nop = "sigmoid"\nx = 1\nliteral = "float31"\nprinted = "1"',
        "did you mean 'float32'",
    ),
    "a format that is none": ('[[claim]]\nop = "sigmoid"\nx = 1\nliteral = 32\nprinted = "1"', "name of a format"),
    "a file of code": ('[[claim]]\nop = "os:getcwd"\nx = 1\nprinted = "1"', "unknown op"),
    "ragged": ('[[claim]]\nop = "softmax"\nx = [[1, 2], [3]]\nprinted = "1"', "different lengths"),
    "too few labels": (
        '[[claim]]\nop = "nll"\nlogits = [[1, 2], [3, 4]]\ntarget = [0]\nprinted = "1"',
        "1 classes in target for 2 rows",
    ),
    "half a label": ('[[claim]]\nop = "nll"\nlogits = [1, 2]\ntarget = 0.5\nprinted = "1"', "should be a class"),
    "wrong reduction": (
        '[[claim]]\nop = "nll"\nlogits = [1, 2]\ntarget = 0\nreduction = "men"\nprinted = "1"',
        "one of none, sum, mean",
    ),
    "wrong axis": ('[[claim]]\nop = "entropy"\nx = [1, 2]\naxis = 3\nprinted = "1"', "out of range"),
    "axis of a word": ('[[claim]]\nop = "entropy"\nx = [1, 2]\naxis = "last"\nprinted = "1"', "whole number"),
    "unequal inputs": ('[[claim]]\nop = "logaddexp"\nx = [1, 2]\ny = [1, 2, 3]\nprinted = "1"', "should have (2,)"),
    "unequal weights": (
        '[[claim]]\nop = "nll"\nlogits = [1, 2]\ntarget = 0\nweight = [1]\nprinted = "1"',
        "1 numbers in weight for 2",
    ),
    "unequal matrices": (
        '[[claim]]\nop = "attention"\nq = [[1]]\nk = [[1, 2]]\nv = [[1]]\nprinted = "1"',
        "do not fit",
    ),
    "infinite weight": (
        '[[claim]]\nop = "nll"\nlogits = [1, 2]\ntarget = 0\nweight = [-inf, 1]\nprinted = "1"',
        "infinite",
    ),
    "zero temperature": ('[[claim]]\nop = "softmax_temperature"\nx = [1]\ntemperature = 0\nprinted = "1"', "above 0"),
    "mask of numbers": ('[[claim]]\nop = "attention_softmax"\nx = [1]\nmask = [1]\nprinted = "1"', "true and false"),
    "beyond the format": (
        '[[claim]]\nop = "sigmoid"\nx = 1e30\nliteral = "float16"\nprinted = "1"',
        "beyond the range",
    ),
    "address of a number": ('[[claim]]\nop = "sigmoid"\nx = 1\naddress = 3\nprinted = "1"', "address is 3"),
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
