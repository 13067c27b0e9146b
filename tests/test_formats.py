"""Formats are data: rounding, ulps, ordinals and neighbours, checked exhaustively where they are small."""

from __future__ import annotations

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from xent_verify.core.enclosure import exact
from xent_verify.core.failures import UnknownNameError
from xent_verify.core.formats import FORMATS, FloatFormat, format_named

SMALL = [form for form in FORMATS.values() if form.bits <= 16]
ALL = list(FORMATS.values())
by_name = pytest.mark.parametrize("form", ALL, ids=lambda form: form.name)
small = pytest.mark.parametrize("form", SMALL, ids=lambda form: form.name)


def every_finite(form: FloatFormat) -> np.ndarray:
    """All finite values, ascending, +0 once."""
    inner = 1 if form.has_inf else 0
    return form.from_ordinal(np.arange(form.min_ordinal + inner, form.max_ordinal - inner + 1))


def nearest(form: FloatFormat, value: Fraction) -> float:
    """Round a rational by exact integer arithmetic: the definition, written without the code under test."""
    if value == 0:
        return 0.0
    size = abs(value)
    exponent = math.floor(math.log2(size)) if size < 2**1000 and size > Fraction(1, 2**1000) else 0
    while Fraction(2) ** exponent > size:
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= size:
        exponent += 1
    quantum = Fraction(2) ** (max(exponent, form.e_min) - form.precision + 1)
    steps = round(size / quantum)  # Fraction rounds half to even
    result = steps * quantum
    sign = 1 if value > 0 else -1
    if result > Fraction(form.max_finite):
        return sign * (math.inf if form.has_inf else math.nan if form.has_nan else form.max_finite)
    return float(sign * result)


@by_name
def test_constants_agree_with_the_dtype(form: FloatFormat) -> None:
    """M, the smallest normal, the smallest subnormal and u are those that ml_dtypes and NumPy state."""
    info = np.finfo(form.dtype) if form.bits >= 16 and form.name != "bfloat16" else ml_dtypes.finfo(form.dtype)
    assert form.max_finite == float(info.max)
    assert form.smallest_normal == float(info.smallest_normal)
    assert form.smallest_subnormal == float(info.smallest_subnormal)
    assert 2 * form.unit_roundoff == float(info.eps)


@small
def test_ordinals_number_every_value_in_order(form: FloatFormat) -> None:
    """Ordinal and value are inverse, and consecutive ordinals are consecutive values, for every value."""
    values = every_finite(form)
    steps = form.ordinal(values)
    assert np.array_equal(np.diff(steps), np.ones(len(values) - 1))
    assert np.all(np.diff(form.widen(values)) > 0)
    assert np.array_equal(form.widen(form.from_ordinal(steps)), form.widen(values))


@pytest.mark.parametrize("form", [form for form in ALL if form.bits <= 8], ids=lambda form: form.name)
def test_every_pattern_is_what_ml_dtypes_says(form: FloatFormat) -> None:
    """Infinities, NaN and -0 are where the row says, bits come back, and all other patterns are the finite values."""
    bits = np.arange(1 << form.bits, dtype=form.unsigned)
    held = form.from_bits(bits)
    wide = form.widen(held)
    assert np.array_equal(form.to_bits(held), bits)
    assert np.isinf(wide).any() == form.has_inf
    assert np.isnan(wide).any() == form.has_nan
    assert ((wide == 0) & np.signbit(wide)).any() == form.has_negative_zero
    assert np.array_equal(np.unique(wide[np.isfinite(wide)]), form.widen(every_finite(form)))
    assert (wide[np.isfinite(wide)].min(), wide[np.isfinite(wide)].max()) == (form.lowest, form.max_finite)


@pytest.mark.parametrize("name", ["float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"])
def test_unused_bits_of_the_carrier_say_nothing(name: str) -> None:
    """Two bytes that differ in bits that the format does not use are the same number, at the same place."""
    form = FORMATS[name]
    bits = np.arange(256, dtype=np.uint8)
    held = form.from_bits(bits)
    assert np.array_equal(form.to_bits(held), bits % (1 << form.bits))
    assert np.array_equal(form.ordinal(held), form.ordinal(form.from_bits(form.to_bits(held))))


@pytest.mark.parametrize("form", [form for form in ALL if form.bits <= 8], ids=lambda form: form.name)
@given(st.lists(st.floats(width=32) | st.floats(-512, 512), min_size=1, max_size=40))
@settings(deadline=None, database=None, derandomize=True, max_examples=60)
def test_rounding_is_ml_dtypes_own(form: FloatFormat, values: list[float]) -> None:
    """Rounding from float64 gives the bits that ml_dtypes gives, overflow, infinities and NaN included.

    Scales: ml_dtypes makes NaN of numbers of magnitude 2**-150 and less, which here become the smallest scale.
    """
    wide = np.array(values)
    if form.scale:
        wide = wide[~((wide > 0) & (wide <= 2.0**-150))]
    ours, theirs = form.narrow(wide), wide.astype(form.dtype)
    nan = np.isnan(form.widen(theirs))
    assert np.array_equal(np.isnan(form.widen(ours)), nan)
    assert np.array_equal(form.to_bits(ours)[~nan], form.to_bits(theirs)[~nan])


def test_scales_have_neither_zero_nor_sign() -> None:
    """0 and negative numbers have no scale; a small positive number has the smallest; ordinals begin at 1."""
    form = FORMATS["float8_e8m0fnu"]
    np.testing.assert_array_equal(form.widen(form.narrow([0.0, -1.0, 1e-300, 3.0])), [np.nan, np.nan, 2.0**-127, 4.0])
    assert form.ordinal(form.narrow([form.lowest]))[0] == form.min_ordinal == 1
    with pytest.raises(ValueError, match="float8_e8m0fnu has ordinals 1 to 255, not 0 to 0"):
        form.from_ordinal([0])


@small
def test_ulp_is_the_gap_to_the_neighbour_away_from_zero(form: FloatFormat) -> None:
    """For every non-negative finite value but M, ulp(v) is the distance to the next value up."""
    values = form.widen(every_finite(form))
    positive = values[values >= 0]
    assert np.array_equal(form.ulp(positive)[:-1], np.diff(positive))


@small
def test_rounding_midpoints_and_their_neighbourhood_is_exact(form: FloatFormat) -> None:
    """Every midpoint goes to even, and anything beside it to its own side: no double rounding."""
    values = form.widen(every_finite(form))
    middle = (values[1:] + values[:-1]) / 2
    for points in (middle, np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf)):
        expected = [nearest(form, Fraction(float(p))) for p in points]
        np.testing.assert_array_equal(form.widen(form.narrow(points)), expected)
        np.testing.assert_array_equal(form.widen(exact(points).rounded(form)), expected)


@small
def test_every_value_is_its_own_rounding_and_has_no_error(form: FloatFormat) -> None:
    """A representable true value rounds to itself, error_ulp 0; its neighbours are one ulp or (below a power of two) half."""
    values = every_finite(form)
    truth = exact(form.widen(values))
    assert np.array_equal(form.widen(truth.rounded(form)), form.widen(values))
    assert not truth.error_ulp(values, form).any()
    assert truth.decided(form).all()
    up = truth[:-1].error_ulp(values[1:], form)
    assert set(np.unique(up)) <= {0.5, 1.0}


@pytest.mark.parametrize("form", [form for form in ALL if form.bits < 64], ids=lambda form: form.name)
def test_overflow_threshold_is_half_an_ulp_above_the_largest_value(form: FloatFormat) -> None:
    """Just below M + Q/2 rounds to M; just above overflows; an infinity on one side is placed at M + Q, and M where it
    stands for one at M.

    (float64's M + Q/2 is no float64: test_double_overflow.)
    """
    top, quantum = form.max_finite, float(form.ulp(form.max_finite))
    below, above = math.nextafter(top + quantum / 2, 0), math.nextafter(top + quantum / 2, math.inf)
    truth = exact([below, above])
    rounded = form.widen(truth.rounded(form))
    assert rounded[0] == top
    np.testing.assert_array_equal(rounded[1], form.beyond)
    np.testing.assert_array_equal(truth.overflows(form), [False, True])
    infinity = np.array(form.beyond).astype(form.dtype)
    assert truth[1:].error_ulp(np.array([infinity]), form)[0] == 0
    assert truth[1:].error_ulp(np.array([top], form.dtype), form)[0] == (0 if form.saturates else 1)
    below_top = form.next_down(np.array([top], form.dtype))
    assert truth[1:].error_ulp(below_top, form)[0] == (2 - form.saturates if form.precision > 1 else 1.5)
    if form.has_inf:
        at_top = exact([top]).error_ulp(np.array([infinity]), form)[0]
        assert at_top == 1


def test_double_overflow() -> None:
    """float64's M + Q/2 lies beyond float64, and is still decided from (hi, lo)."""
    form = FORMATS["float64"]
    truth = exact([1.0])
    for lo, expected in ((-(2.0**-54) - 2.0**-100, form.max_finite), (-(2.0**-54), math.inf), (0.0, math.inf)):
        value = type(truth)(truth.hi, np.array([lo]), np.array([1024]), truth.radius, truth.tier)
        assert value.rounded(form)[0] == expected


@by_name
def test_infinities_and_nan_have_their_own_errors(form: FloatFormat) -> None:
    """Equal infinities are no error, opposite ones infinite; NaN against a number is NaN; +0 equals -0."""
    inf = np.inf
    truth = exact([inf, -inf, np.nan, 0.0, 1.0])
    got = truth.error_ulp(np.array([inf, inf, np.nan, -0.0, np.nan]), "float64")
    np.testing.assert_array_equal(got, [0, inf, 0, 0, np.nan])
    if form.has_inf:
        assert form.ulp_distance(np.array([inf], form.dtype), np.array([form.max_finite], form.dtype))[0] == 1
    if not form.has_nan:
        assert not exact([np.nan]).error_ulp(form.narrow([1.0]), form).any()
        return
    with pytest.raises(ValueError, match="NaN has no ordinal"):
        form.ordinal(np.array([np.nan], form.dtype))


def test_ulp_distance_does_not_wrap() -> None:
    """float32 M against -M is 2 * 0x7f7fffff steps (NumPy's assert_array_max_ulp says 1.7e7); float64 needs uint64."""
    single, double = FORMATS["float32"], FORMATS["float64"]
    assert single.ulp_distance(np.float32(single.max_finite), np.float32(-single.max_finite)) == 2 * 0x7F7FFFFF
    assert double.ulp_distance(np.inf, -np.inf) == 2 * 0x7FF0000000000000
    assert single.ulp_distance(np.float32(-0.0), np.float32(0.0)) == 0


@given(st.integers(-(2**60), 2**60), st.integers(-1200, 1100), st.sampled_from(["float64", "float32"]))
@settings(deadline=None, database=None, derandomize=True)
def test_wide_formats_round_like_rational_arithmetic(mantissa: int, exponent: int, name: str) -> None:
    """m * 2**e, of up to 60 bits and across both ranges, rounds once to the value rational arithmetic gives."""
    form = FORMATS[name]
    value = Fraction(mantissa) * Fraction(2) ** exponent
    mp.prec = 2500
    hi = float(mpf(mantissa))
    lo = float(mpf(mantissa) - mpf(hi))
    top, bottom = exact([hi]), lo
    scale = int(top.exponent[0])
    held = type(top)(top.hi, np.array([math.ldexp(bottom, -scale)]), top.exponent + exponent, top.radius, top.tier)
    assert form.widen(held.rounded(form))[0] == nearest(form, value)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None, database=None, derandomize=True)
def test_error_ulp_is_the_rational_quotient(true: float, observed: float) -> None:
    """error_ulp equals |y - t| / ulp(t) computed with rationals, to 2**-20 ulp or to rounding."""
    form = FORMATS["float64"]
    expected = abs(Fraction(observed) - Fraction(true)) / Fraction(float(form.ulp(true)))
    got = float(exact([true]).error_ulp(np.array([observed]), form)[0])
    if math.isinf(got):
        assert expected > Fraction(2) ** 1023
    else:
        assert abs(Fraction(got) - expected) <= max(Fraction(1, 2**20), expected / 2**50)


def test_unknown_format_offers_the_nearest() -> None:
    """A misspelt format name is answered with the closest one."""
    with pytest.raises(UnknownNameError, match="did you mean 'bfloat16'"):
        format_named("bfloat61")
