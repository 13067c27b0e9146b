"""The fast tiers: constants, error-free transforms, kernels within their budgets, and faults that must not pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import flint
import numpy as np
import pytest
from arb_truth import _answers, outside

from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch
from xent_verify.truth import bounds, certify, dd_numpy, engines, float64_tier, sharp, tables
from xent_verify.truth import doubledouble as dd
from xent_verify.truth.loose import Loose
from xent_verify.truth.pieces import undecided

SENTINELS = json.loads((Path(__file__).parent / "data" / "sentinels.json").read_text())
U = 2.0**-53


def ball(high: float, low: float = 0.0, exponent: int = 0) -> flint.arb:
    """An exact double-double as an Arb ball."""
    return (flint.arb(float(high)) + flint.arb(float(low))) * flint.arb(2) ** int(exponent)


def relative_error(value: flint.arb, true: flint.arb) -> float:
    """|value / true - 1| as a float."""
    return float(abs(value / true - 1).mid())


def test_table_of_roots() -> None:
    """Each entry of the table is 2**(j/256) to 2**-106, and its halves add up to it."""
    flint.ctx.prec = 300
    t = tables.tables()
    for j in range(tables.TABLE_SIZE):
        true = flint.arb(2) ** flint.arb(flint.fmpq(j, 256))
        assert relative_error(ball(t.root[j], t.root_low[j]), true) < 2.0**-106
    assert np.array_equal(t.root_top + t.root_bottom, t.root)


def test_constant_of_reduction() -> None:
    """c1 + c2 + c3 is ln(2)/256 to 2**-126, and c1 and c2 have 30 bits."""
    flint.ctx.prec = 300
    t = tables.tables()
    error = flint.arb(t.c1) + flint.arb(t.c2) + flint.arb(t.c3) - flint.arb.log(flint.arb(2)) / 256
    assert abs(float(error.mid())) < 2.0**-126
    for c in (t.c1, t.c2):
        assert abs(Fraction(c).numerator).bit_length() <= 30


def test_error_free_transforms() -> None:
    """two_sum, fast_two_sum and two_product lose nothing."""
    generator = np.random.default_rng(1)
    a, b = (generator.standard_normal(500) * 2.0 ** generator.integers(-200, 200, 500) for _ in range(2))
    big, small = np.where(np.abs(a) > np.abs(b), a, b), np.where(np.abs(a) > np.abs(b), b, a)
    for transform, x, y, exactly in (
        (dd.two_sum, a, b, Fraction.__add__),
        (dd.fast_two_sum, big, small, Fraction.__add__),
        (dd.two_product, a, b, Fraction.__mul__),
    ):
        high, low = transform(x, y)
        for i in range(a.size):
            assert Fraction(high[i]) + Fraction(low[i]) == exactly(Fraction(x[i]), Fraction(y[i]))


def arguments() -> tuple[np.ndarray, np.ndarray]:
    """Arguments of the exponential: every scale, table boundaries, both ends, with low words."""
    generator = np.random.default_rng(2)
    scaled = -generator.random(1500) * 10.0 ** generator.integers(-6, 5, 1500)
    steps = -(np.arange(256.0) + 0.5) * 0.0027076061740622863
    high = np.clip(np.concatenate((scaled, steps, [0.0, -20000.0, -(2.0**-300), -745.2])), -20000.0, 0.0)
    return high, np.spacing(np.abs(high)) * generator.uniform(-0.5, 0.5, high.size)


@pytest.mark.parametrize(("full", "bound"), [(False, sum(bounds.budget_fast().values())), (True, 2.0**-90.5)])
def test_exp_within_budget(full: bool, bound: float) -> None:
    """e**(h + l) is within the budget added up in ``bounds``."""
    flint.ctx.prec = 300
    high, low = arguments()
    h, rest, k = dd.exp(high, low, full=full)
    worst = max(relative_error(ball(h[i], rest[i], k[i]), (ball(high[i], low[i])).exp()) for i in range(high.size))
    assert worst < bound


def test_log1p_within_budget() -> None:
    """log(1 + t) is within 2**-92 from 2**-130 to 2**50, and NaN where NumPy's guess was far off."""
    flint.ctx.prec = 400
    t = 2.0 ** np.linspace(-130, 50, 2000)
    high, low = dd.log1p((t, t * 2.0**-54))
    worst = max(relative_error(ball(high[i], low[i]), ball(t[i], t[i] * 2.0**-54).log1p()) for i in range(t.size))
    assert worst < bounds.LOG1P


def test_bad_log1p_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong first guess makes log S NaN, not wrong."""
    true = dd._log1p_guess
    monkeypatch.setattr(dd, "_log1p_guess", lambda t: true(t) * (1 + 1e-9))
    assert np.isnan(dd.log1p((np.array([0.5]), np.zeros(1)))[0][0])


def test_reciprocal_and_sums() -> None:
    """1 / s is within 8 u**2, a tree sum within 2 (D + 1)**2 u**2, an extracted sum within 2 n u**2."""
    generator = np.random.default_rng(3)
    s = 1 + generator.random(300) * 1000
    high, low = dd.reciprocal((s, s * 2.0**-54))
    for i in range(s.size):
        product = (Fraction(high[i]) + Fraction(low[i])) * (Fraction(s[i]) + Fraction(s[i]) / 2**54)
        assert abs(product - 1) < 8 * Fraction(U) ** 2
    values = generator.random((3, 1000)) * 2.0 ** generator.integers(-60, 1, (3, 1000))
    lows = values * U * generator.random((3, 1000))
    for function, bound in ((dd.tree_sum, 2 * 11**2), (dd_numpy._extracted, 2 * 4096)):
        high, low = function(values.copy(), lows, 1)
        for r in range(3):
            true = sum(map(Fraction, [*values[r].tolist(), *lows[r].tolist()]))
            assert abs((Fraction(high[r, 0]) + Fraction(low[r, 0])) / true - 1) < bound * Fraction(U) ** 2


def test_bounds_cover_their_budgets() -> None:
    """No constant is smaller than the terms that it stands for add up to (so none can be made ten times too small)."""
    for name, (needed, used) in bounds.totals().items():
        assert needed <= used, name


def test_tier1_functions_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's np.exp passes; one that is off by 1e-14 does not, and then tier 1 is not used."""
    assert float64_tier.trusted()
    true = np.exp
    monkeypatch.setattr(np, "exp", lambda x, **options: true(x, **options) * (1 + 1e-14))
    float64_tier.trusted.cache_clear()
    assert not float64_tier.trusted()
    assert not engines.has_quick(FORMATS["float32"])
    float64_tier.trusted.cache_clear()


@pytest.mark.parametrize("small", [2.0**-60, 2.0**-110, 0.0])
def test_sharp_sums(small: float) -> None:
    """Midpoints moved by next to nothing are decided, to the right side: -(1 + 2**-24) - s rounds away from -1."""
    exact = (np.array([-1.0 - 2.0**-24]), np.zeros(1))
    piece = sharp.exact_plus_small(exact, np.array([-small]), 2.0**-78, 2)
    enclosure = piece.enclosure()
    assert enclosure.decided("float32").all()
    assert enclosure.rounded("float32")[0] == np.float32(-1.0 - 2.0**-23)


def near_midpoints(fmt: str, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(high, low, exponent) close to midpoints of a format, at every distance from 0 to 100 radii, in every binade."""
    generator, form = np.random.default_rng(9), FORMATS[fmt]
    binade = generator.integers(form.e_min - form.precision + 1, max(form.e_max, 2), 4000)
    bits = form.precision - 1.0 - np.maximum(form.e_min - binade, 0)
    middle = (np.floor(generator.random(4000) * 2.0**bits) + 2.0**bits + 0.5) * 2.0**-bits
    binade[:100], middle[:100] = form.e_min - form.precision, 1.0  # half the smallest subnormal
    off = generator.choice([-1.0, 1.0], 4000) * radius * np.exp2(generator.uniform(-6, 7, 4000))
    high, low = dd.two_sum(middle, off)
    return high, low, binade


@pytest.mark.parametrize("fmt", FORMATS)
def test_suspects_miss_nothing(fmt: str) -> None:
    """Whatever a loose result leaves undecided is suspected, close to midpoints; of other values hardly any are."""
    form = FORMATS[fmt]
    if fmt == "float64":
        radius = bounds.FAST_RADIUS
        high, low, exponent = near_midpoints(fmt, radius)
        loose = Loose(high, low, exponent.astype(np.int32), radius, 2, -28853)
        random = Loose(high * 1.2345678, low, exponent.astype(np.int32), radius, 2, -28853)
    else:
        radius = bounds.TIER1_RADIUS
        high, low, exponent = near_midpoints(fmt, radius)
        loose = Loose(np.ldexp(high + low, exponent), None, 0, radius, 1, float64_tier.FLOOR)
        random = Loose(loose.high * 1.2345678, None, 0, radius, 1, float64_tier.FLOOR)
    missed = undecided(loose.piece(), form) & ~loose.suspects(form)
    assert not missed.any()
    narrow = replace(loose, radius=radius / 10)
    assert (undecided(loose.piece(), form) & ~narrow.suspects(form)).any()  # such a fault would show here
    assert random.suspects(form).mean() < 1e-2


def test_compiled_suspects_miss_nothing() -> None:
    """The compiled kernel's test suspects what NumPy's does."""
    dd_numba = pytest.importorskip("xent_verify.truth.dd_numba", exc_type=ImportError)
    high, low, exponent = near_midpoints("float64", bounds.FAST_RADIUS)
    loose = Loose(high, low, exponent, bounds.FAST_RADIUS, 2, -28853)
    found = [dd_numba._open(h, rest, k) for h, rest, k in zip(high, low, exponent, strict=True)]
    close = undecided(loose.piece(), FORMATS["float64"])
    assert np.array(found)[close & (exponent < 1020)].all()


def sentinel_batch(case: dict[str, Any]) -> Batch:
    """A stored case as a batch of one row."""
    form = FORMATS[case["fmt"]]
    inputs = {}
    for name, value in case["inputs"].items():
        raw = np.array([value["bits"]], dtype=form.unsigned) if "bits" in value else np.array([value["label"]])
        inputs[name] = form.from_bits(raw) if "bits" in value else raw
    return Batch(case["op"], case["fmt"], case["regime"], inputs, case["options"])


def stored_value(case: dict[str, Any]) -> Fraction:
    """The 500-bit value of a case."""
    return Fraction(int(case["mantissa"], 16)) * Fraction(2) ** case["exponent"]


def sentinels_missed() -> Iterator[str]:
    """Cases whose certified enclosure does not hold the stored value, or does not decide."""
    for case in SENTINELS:
        batch = sentinel_batch(case)
        element = certify(batch).reshape(-1)[case["element"]]
        value, slack = stored_value(case), Fraction(1, 2**490)
        low, high = element.bounds()
        inside = low - abs(value) * slack <= value <= high + abs(value) * slack
        if not inside or not element.decided(case["fmt"]).all():
            yield f"{case['op']} {case['fmt']} {case['regime']}"


def test_sentinel_values() -> None:
    """The stored 500-bit values are right: Arb at 800 bits agrees to 2**-498."""
    flint.ctx.prec = 1000
    for case in SENTINELS:
        batch = sentinel_batch(case)
        values = list(batch.inputs.values())
        flint.ctx.prec = 800
        true = _answers(batch, values, values[0][0].astype(np.float64).tolist(), 0)[case["element"]]
        mantissa = flint.arb(flint.fmpz(int(case["mantissa"], 16)))
        assert abs(true / (mantissa * flint.arb(2) ** case["exponent"]) - 1) < flint.arb(2) ** -498


def test_sentinels() -> None:
    """Certified truth holds every stored hard case, and decides it."""
    assert not list(sentinels_missed())


def with_table_entry(change: float) -> tables.Tables:
    """The tables, the low words of some entries off by a little."""
    t = tables.tables()
    low = t.root_low.copy()
    low[::3] += change
    return replace(t, root_low=low)


def dropped_low_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exponential forgets its low word."""
    true = dd.exp

    def broken(high: np.ndarray, low: np.ndarray, *, full: bool = False) -> Any:
        h, rest, k = true(high, low, full=full)
        return h, np.zeros_like(rest), k

    monkeypatch.setattr(dd_numpy.dd, "exp", broken)


def wrong_table_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry in three of the table of roots is off by 2**-72."""
    wrong = with_table_entry(2.0**-72)
    monkeypatch.setattr(dd, "tables", lambda: wrong)


def wrong_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    """ln(2)/256 is off in its third part by 2**-78."""
    wrong = replace(tables.tables(), c3=tables.tables().c3 + 2.0**-78)
    monkeypatch.setattr(dd, "tables", lambda: wrong)


def wrong_coefficient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The polynomial's last coefficients are off by a part in a thousand."""
    true = dd._tail
    monkeypatch.setattr(dd, "_tail", lambda r, c, *out: true(r, (c[0], c[1] * 1.001, *c[2:]), *out))


def one_term_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum keeps the maximal term that log1p's argument leaves out."""
    true = dd_numpy.with_ties
    monkeypatch.setattr(dd_numpy, "with_ties", lambda sums, ties: true(sums, ties + 1))


FAULTS = (dropped_low_word, wrong_table_entry, wrong_constant, wrong_coefficient, one_term_too_many)


@pytest.mark.parametrize("plant", FAULTS)
def test_planted_faults_trip_the_sentinels(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: Any) -> None:
    """Each fault in the double-double kernels shows in some stored case."""
    plant(monkeypatch)
    with np.errstate(all="ignore"):
        assert any(True for _ in sentinels_missed())


def ordinary(fmt: str, n: int, seed: int = 5) -> np.ndarray:
    """Normal logits of a format."""
    generator = np.random.default_rng(seed)
    return (generator.standard_normal((4000 // n, n)) * 5).astype(FORMATS[fmt].dtype)


@pytest.mark.parametrize("plant", FAULTS)
def test_planted_faults_fall_out_of_arb(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: Any) -> None:
    """Each fault also shows on ordinary logits, against Arb."""
    batch = Batch("log_softmax", "float64", "ordinary", {"x": ordinary("float64", 8)})
    assert not outside(batch, certify(batch))[1]
    plant(monkeypatch)
    with np.errstate(all="ignore"):
        assert outside(batch, certify(batch))[1]


@pytest.mark.parametrize(("fmt", "name"), [("float64", "FAST_RELATIVE"), ("float32", "TIER1_RADIUS")])
def test_bound_far_too_small_falls_out_of_arb(fmt: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds are not idle: made 100 times smaller, some true value lies outside (budgets catch ten times)."""
    monkeypatch.setattr(bounds, name, getattr(bounds, name) / 100)
    batch = Batch("softmax", fmt, "ordinary", {"x": ordinary(fmt, 40) * 3})
    assert outside(batch, certify(batch))[1]


def test_bound_ten_times_too_small_breaks_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A constant ten times too small is less than its terms add up to."""
    for name in ("TIER1_RELATIVE", "FAST_RELATIVE", "FULL_RELATIVE"):
        with monkeypatch.context() as patch:
            patch.setattr(bounds, name, getattr(bounds, name) / 10)
            assert any(needed > used for needed, used in bounds.totals().values())


def test_compiled_kernels_agree() -> None:
    """Numba's kernels give NumPy's exponentials bit for bit, and enclosures that hold (the extra ``fast``)."""
    dd_numba = pytest.importorskip("xent_verify.truth.dd_numba", exc_type=ImportError)
    x = np.random.default_rng(6).standard_normal((50, 40)) * 300
    high, low, exponent, scaled, scaled_low = (np.empty(x.shape, t) for t in ("f8", "f8", "i4", "f8", "f8"))
    m = x.max(axis=1, keepdims=True)
    for i in range(x.shape[0]):
        dd_numba._terms(x[i], m[i, 0], high[i], low[i], exponent[i], scaled[i], scaled_low[i])
    theirs = dd_numpy.part(x, m, 1)
    for name, ours in (("high", high), ("low", low), ("exponent", exponent)):
        assert np.array_equal(ours, getattr(theirs, name)), name
    part, row = dd_numba.whole(x, None, keep=True)
    batch = Batch("softmax", "float64", "", {"x": x})
    assert not outside(batch, dd_numba.softmax(part, row).piece().enclosure())[1]
