"""Every digit printed as true is one: one function, certified, read back from a real report."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from mpmath import mp, mpf

from xent_verify import audit
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch, Example
from xent_verify.ops import OPS
from xent_verify.report.json import from_json
from xent_verify.truth import certify
from xent_verify.truth.decimals import DIGITS, digits, is_bound, shown


def by_mpmath(op: str, example: Example) -> mpf:
    """The element from the textbook formula, the largest term apart so that nothing cancels."""
    arrays = [np.asarray(value) for value in example.inputs.values()]
    axis = int(example.options.get("axis", -1))
    if op == "log_sigmoid":
        return -mp.log1p(mp.exp(-mpf(float(arrays[0][example.index]))))
    place = example.index[axis] if op != "cross_entropy" else 0
    if op == "cross_entropy":
        rows = arrays[0].reshape(1, -1) if arrays[0].ndim == 1 else arrays[0]
        assert len(rows) == 1
        place, row = int(np.asarray(arrays[1]).ravel()[0]), rows[0]
    else:
        others = tuple(i for d, i in enumerate(example.index) if d != axis % arrays[0].ndim)
        row = np.moveaxis(arrays[0], axis, -1)[others]
    x = [mpf(float(v)) for v in row]
    top = max(x)
    others = mp.fsum(mp.exp(v - top) for i, v in enumerate(x) if i != x.index(top))
    if op == "softmax":
        return mp.exp(x[place] - top) / (1 + others)
    log_p = x[place] - top - mp.log1p(others)
    return -log_p if op == "cross_entropy" else log_p


def is_rounding_of(text: str, true: mpf) -> bool:
    """Whether no decimal of so many digits is nearer."""
    if is_bound(text):
        return bool(abs(true) < mpf(text.split()[1]))
    value = Decimal(text)
    decided = len(value.as_tuple().digits) > 15  # else it is an exact decimal
    unit = Decimal(1).scaleb(max(value.adjusted() - DIGITS + 1, value.as_tuple().exponent if decided else -(10**6)))
    with mp.workdps(150):
        return bool(abs(mpf(str(value)) - true) <= mpf(str(unit)) * mpf("0.5000001"))


def examples(op: str, target: str) -> Iterator[Example]:
    """All that a report of one audit shows, after a round trip through its JSON."""
    options = {"op": op, "dtypes": ["float32"], "profile": "quick"}
    report = from_json(audit(target, **options).to_json())
    for result in report.targets:
        for dtype in result.dtypes:
            found = [finding.minimal for finding in dtype.signs] + [finding.worst for finding in dtype.signs]
            found += [regime.worst for regime in dtype.regimes]
            yield from (example for example in found if example is not None and example.true_digits)


@pytest.mark.parametrize(("op", "target"), [("softmax", "naive"), ("log_softmax", "stable"), ("log_sigmoid", "naive")])
def test_every_true_value_of_a_report(op: str, target: str) -> None:
    """Each is the correct rounding to 30 digits (or a bound that holds), by mpmath at twice the digits."""
    seen = 0
    with mp.workdps(70):
        for example in examples(op, target):
            if example.length or example.true_digits in ("nan", "inf", "-inf"):  # a long row is not kept
                continue
            assert is_rounding_of(example.true_digits, by_mpmath(op, example)), example
            seen += 1
    assert seen > 5


@pytest.mark.parametrize("fmt", OPS["softmax"].formats)
def test_digits_of_ordinary_tiny_and_exact_values(fmt: str) -> None:
    """30 digits whatever the format; 0 as 0; what lies below the printable range as a bound."""
    x = FORMATS[fmt].narrow(np.maximum([[0.0, -0.5, -2.0, -16.0, -104.0]], -FORMATS[fmt].max_finite))
    batch = Batch("softmax", fmt, "", {"x": x})
    with mp.workdps(100):
        total = mp.fsum(mp.exp(mpf(float(v))) for v in x[0])
        for i, v in enumerate(x[0]):
            text = digits(batch, (0, i))
            assert is_rounding_of(text, mp.exp(mpf(float(v))) / total)
            assert len(text.split("e")[0].replace(".", "").lstrip("0")) >= DIGITS - 2
    far = Batch("softmax", "float64", "", {"x": np.array([[0.0, -2.5e6, -1e300, -np.inf]])})
    assert [digits(far, (0, i)) for i in range(4)] == ["1.0", *["below 1e-1000000 in magnitude"] * 2, "0"]
    assert digits(far, (0, 0), 6) == "1.0"
    assert digits(Batch("log_softmax", "float64", "", {"x": np.array([[0.0, -np.inf]])}), (0, 1)) == "-inf"
    assert digits(Batch("softmax", "float64", "", {"x": np.array([[np.nan, 0.0]])}), (0, 1)) == "nan"


def test_an_enclosure_shows_what_it_decides() -> None:
    """Tier 2 decides some 24 digits, tier 1 some 14; none is wrong."""
    x = np.random.default_rng(0).standard_normal((1, 40)) * 3
    batch = Batch("softmax", "float64", "", {"x": x})
    truth = certify(batch)
    for i in range(40):
        whole, some = digits(batch, (0, i)), shown(truth[0, i])
        assert len(some) - 2 - some.count("e") * 4 >= 20
        with localcontext(prec=60):
            unit = Decimal(1).scaleb(Decimal(some).as_tuple().exponent)
            assert abs(Decimal(whole) - Decimal(some)) <= unit * Decimal("0.5000001")


def test_exact_decimals() -> None:
    """A dyadic value has its own digits, ties go to even."""
    half = Batch("softmax", "float64", "", {"x": np.zeros((1, 2))})
    assert digits(half, (0, 0)) == "0.5"
    eighth = Batch("softmax", "float64", "", {"x": np.zeros((1, 8))})
    assert digits(eighth, (0, 0)) == "0.125"
    assert digits(eighth, (0, 0), 2) == "0.12"
    assert Fraction(digits(eighth, (0, 0))) == Fraction(1, 8)
