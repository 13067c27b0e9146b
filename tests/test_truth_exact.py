"""The exact tier: its enclosures hold against Arb (an independent implementation) where it is hard."""

from __future__ import annotations

import math
from fractions import Fraction

import arb_truth
import flint
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import libmp, mp, mpf

from xent_verify.core.enclosure import FIELDS, Enclosure
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch
from xent_verify.ops import OPS
from xent_verify.regimes import plan
from xent_verify.truth import exact, series

quiet = settings(deadline=None, database=None, derandomize=True, max_examples=150)


def arb(value: float | Fraction) -> flint.arb:
    """An exact Arb ball."""
    fraction = Fraction(value)
    return flint.arb(flint.fmpq(fraction.numerator, fraction.denominator))


def mpf_fraction(raw: object) -> Fraction:
    """An mpf's exact value."""
    sign, man, exp, _ = raw  # type: ignore[misc]
    return (-1) ** sign * int(man) * Fraction(2) ** exp


def ball_inside(number: Enclosure, index: object, ball: flint.arb) -> bool:
    """The enclosure of one element overlaps Arb's ball (values too far out for a fraction are left out)."""
    if number.exponent[index] < -(2**19):
        return True
    low, high = number.bounds(index)
    return bool(arb(low) <= ball.upper()) and bool(ball.lower() <= arb(high))


hard_exponents = st.one_of(
    st.floats(-800, 800),
    st.floats(-1e-3, 1e-3),
    st.floats(-(2.0**13), -1.0),
    st.sampled_from([5e-324, -5e-324, 2.0**-53, -(2.0**-53), math.log(2), -math.log(2), 1.0, -1.0, 700.0]),
)


@given(hard_exponents, st.sampled_from([53, 128, 300]))
@quiet
def test_exp_encloses(d: float, prec: int) -> None:
    """exp's ends lie on both sides of Arb's value, and within 2**-prec of each other."""
    low, high = (mpf_fraction(end) for end in series.exp_bounds(libmp.from_float(d), prec))
    flint.ctx.prec = prec + 200
    true = arb(d).exp()
    assert arb(low) <= true.upper()
    assert true.lower() <= arb(high)
    assert high - low <= high / 2**prec


@given(st.one_of(st.floats(1e-300, 1e300), st.floats(0.5, 2.0), st.just(1.0)), st.sampled_from([53, 128, 300]))
@quiet
def test_log_encloses(a: float, prec: int) -> None:
    """log's ends lie on both sides of Arb's value, and within 2**-prec absolute (plus relative) of each other."""
    low, high = (mpf_fraction(end) for end in series.log_bounds(libmp.from_float(a), prec))
    flint.ctx.prec = prec + 200
    true = arb(a).log()
    assert arb(low) <= true.upper()
    assert true.lower() <= arb(high)
    assert high - low <= max(abs(high), 1) / Fraction(2) ** prec


@given(st.one_of(st.floats(0, 2), st.floats(0, 1e-30), st.floats(0, 0.01)), st.sampled_from([53, 128, 300]))
@quiet
def test_log1p_encloses_with_relative_accuracy(t: float, prec: int) -> None:
    """log1p's ends lie on both sides of Arb's value, within 2**-prec relative, however small t is."""
    low, high = (mpf_fraction(end) for end in series.log1p_bounds(libmp.from_float(t), prec))
    flint.ctx.prec = prec + 1500
    true = arb(t).log1p()
    assert arb(low) <= true.upper()
    assert true.lower() <= arb(high)
    assert high - low <= high / 2**prec


@pytest.mark.parametrize("trials", [12_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_every_operation_of_intervals_is_outward(trials: int) -> None:
    """+ - * / exp log log1p and sums hold Arb's value at 64 to 256 bits, whatever the sizes and lengths of operands.

    mpmath's directed sum alone fails this (3 in 10,000): it is not outward for operands longer than the precision.
    """
    assert not arb_truth.primitives_outside(trials, trials)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("middle", [740.0, 96.0, 10.0, 1.0])
def test_long_differences_beside_midpoints(fmt: str, middle: float) -> None:
    """log_softmax of [-(a midpoint), -2**-1074]: the difference has a thousand bits, its last one decides."""
    form = FORMATS[fmt]
    tie = middle + float(form.ulp(middle)) / 2 if form.bits < 64 else middle
    for sign in (1, -1):
        x = np.array([[-tie, sign * 5e-324]])
        truth = exact.evaluate(Batch("log_softmax", "float64", "", {"x": x}), fmt)
        checked, failed = arb_truth.outside(Batch("log_softmax", "float64", "", {"x": x}), truth)
        assert checked
        assert not failed
        if middle == 740.0 and fmt != "float64":
            assert float(truth.rounded(fmt)[0, 0]) < -tie or form.bits <= 8  # 740 is none of their numbers


def losses_of(x: list[float], target: object, **options: object) -> Enclosure:
    batch = Batch("cross_entropy", "float64", "", {"logits": np.array([x]), "target": np.array([target])}, options)
    return exact.evaluate(batch, "float32")


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_losses_whose_logarithms_cancel_are_rational(classes: int) -> None:
    """Coefficients that sum to 0, over a number of classes that is no power of two: exact, and decided at once."""
    x = [3.0, 2.0**24 + 1] + [0.0] * (classes - 2)
    weight = np.array([1.0, -1.0] + [0.0] * (classes - 2))
    truth = losses_of(x, 0, weight=weight, label_smoothing=1.0, reduction="none")
    low, high = truth.bounds((0,))
    assert low <= Fraction(2**24 - 2, classes) <= high
    assert truth.decided("float32").all()
    targets = losses_of([1.0, 2.0, 2.0**24 + 4], [1.0, 1.0, -2.0], reduction="none")
    assert targets.bounds((0,)) == (2**25 + 5, 2**25 + 5)


def test_rows_that_cancel_one_another_are_rational() -> None:
    """The same row twice with opposite weights, in another order and moved: the sum of both losses is rational."""
    logits = np.array([[0.0, 1.0, 1.0], [4.0, 4.0, 3.0]])
    options = {"weight": np.array([1.0, 1.0, -1.0]), "reduction": "sum"}
    batch = Batch("cross_entropy", "float64", "", {"logits": logits, "target": np.array([0, 2])}, options)
    assert exact.evaluate(batch).bounds(()) == (0, 0)
    ties = {"logits": np.array([[0.0] * 6, [0.0] * 6]), "target": np.array([0, 2])}
    options = {"weight": np.array([1.0, 1.0, -1.0, 0.0, 0.0, 0.0]), "reduction": "sum"}
    assert exact.evaluate(Batch("cross_entropy", "float64", "", ties, options)).bounds(()) == (0, 0)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_binary_losses_whose_logarithms_cancel(scale: float) -> None:
    """y q + 1 - y = 0: the loss is -w (1 - y) x or so, exactly."""
    x, y = np.array([[3.0, 700.25]]), np.array([[2.0, 2.0]])
    options = {"pos_weight": np.array(0.5), "weight": np.array(scale), "reduction": "none"}
    batch = Batch("binary_cross_entropy_with_logits", "float64", "", {"logits": x, "target": y}, options)
    for place, value in enumerate(x[0]):
        assert exact.evaluate(batch).bounds((0, place)) == (Fraction(-scale * value),) * 2


def test_log_of_two_is_within_one_unit() -> None:
    """The fixed-point log 2 errs by at most one unit at every precision used."""
    flint.ctx.prec = 20000
    for bits in (60, 200, 1000, 16500):
        error = abs(arb(Fraction(series.ln2_fixed(bits), 2**bits)) - flint.arb.const_log2())
        assert error * arb(2**bits) < 1


logits = st.one_of(
    st.floats(-50, 50),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1.7e308, -1.7e308, 2.0**-47, -64.0, 709.78, 88.7]),
    st.integers(-5, 5).map(float),
)


def arb_row(x: np.ndarray, prec: int) -> tuple[list[flint.arb], list[flint.arb], flint.arb]:
    """softmax, log-softmax, logsumexp of one finite row with Arb, by the textbook formulas."""
    flint.ctx.prec = prec
    top = max(x)
    d = [arb(v) - arb(top) for v in x]
    e = [v.exp() for v in d]
    first = list(x).index(top)
    rest = sum((v for i, v in enumerate(e) if i != first), flint.arb(0))
    log_s = rest.log1p()
    return [v / (1 + rest) for v in e], [v - log_s for v in d], arb(top) + log_s


@given(st.lists(logits, min_size=1, max_size=6))
@quiet
def test_row_operations_enclose_arb(x: list[float]) -> None:
    """Every value of softmax, log_softmax and logsumexp, on rows of any size and spread, agrees with Arb's balls."""
    row = np.array([x])
    p, log_p, lse = arb_row(row[0], 3000)
    for name, balls in (("softmax", p), ("log_softmax", log_p)):
        truth = exact.evaluate(Batch(name, "float64", "test", {"x": row}))
        assert truth.decided("float64").all()
        for i, ball in enumerate(balls):
            assert ball_inside(truth, (0, i), ball), (name, i)
    truth = exact.evaluate(Batch("logsumexp", "float64", "test", {"x": row}))
    assert ball_inside(truth, (0,), lse)


@pytest.mark.parametrize("gap", [64.0, 1024.0, 2.0**40])
@pytest.mark.parametrize("fmt", ["float64", "float32", "bfloat16"])
def test_values_beside_a_rounding_boundary_are_decided(gap: float, fmt: str) -> None:
    """log p = -(midpoint) - e**-gap rounds away from zero, however small e**-gap is: the interval ends at the midpoint."""
    form = FORMATS[fmt]
    x = np.array([[gap * form.unit_roundoff, -gap]])
    truth = exact.evaluate(Batch("log_softmax", "float64", "test", {"x": x}), form)
    assert truth.decided(form)[0, 1]
    expected = -(gap + 2 * gap * form.unit_roundoff)
    assert float(truth.rounded(form)[0, 1]) == expected


def test_exact_results_are_exact() -> None:
    """Ties give exact rationals (n = 2, 4), a single finite logit gives log p = 0 and L = x, gradients there cancel to 0."""
    tie = exact.evaluate(Batch("softmax", "float64", "test", {"x": np.full((1, 4), 1e300)}))
    assert tie.radius.max() == 0
    assert (tie.to_float64() == 0.25).all()
    one = np.array([[3.25]])
    assert exact.evaluate(Batch("logsumexp", "float64", "test", {"x": one})).bounds((0,)) == (Fraction(3.25),) * 2
    gradient = exact.evaluate(Batch("cross_entropy_grad", "float64", "test", {"logits": one, "target": np.array([0])}))
    assert gradient.bounds((0, 0)) == (0, 0)


@pytest.mark.parametrize("fmt", ["float64", "float32", "float16", "bfloat16"])
def test_cross_entropy_options_agree_with_mpmath(fmt: str) -> None:
    """Every combination of options agrees with a plain mpmath evaluation of torch's definition to 60 digits."""
    mp.prec = 400
    rng = np.random.default_rng(0)
    x = FORMATS[fmt].narrow(rng.standard_normal((5, 4)) * 6)
    weight = FORMATS[fmt].narrow(rng.uniform(0.1, 3, 4))
    soft = FORMATS[fmt].narrow(rng.dirichlet(np.ones(4), 5))
    hard = np.array([0, 3, -100, 1, 2])
    for target in (hard, soft):
        for w in (None, weight):
            for smoothing in (0.0, 0.1, 1.0):
                for reduction in ("none", "sum", "mean"):
                    options = {"label_smoothing": smoothing, "reduction": reduction}
                    if w is not None:
                        options["weight"] = w
                    batch = Batch("cross_entropy", fmt, "test", {"logits": x, "target": target}, options)
                    got = exact.evaluate(batch)
                    want = plain_cross_entropy(x, target, w, smoothing, reduction)
                    for index, value in zip(np.ndindex(got.shape), want, strict=True):
                        low, high = got.bounds(index)
                        error = abs(mpf(low.numerator) / low.denominator - value)
                        assert error <= mpf(10) ** -25 * max(abs(value), 1)
                        assert float(high - low) <= 1e-25


def plain_cross_entropy(x, target, weight, smoothing, reduction):  # type: ignore[no-untyped-def]
    """torch's definition, in mpmath at a precision far beyond need."""
    classes = x.shape[1]
    w = [mpf(1)] * classes if weight is None else [mpf(float(v)) for v in weight]
    e = mpf(smoothing)
    losses, divisor = [], mpf(0)
    for row, t in zip(x, target, strict=True):
        values = [mpf(float(v)) for v in row]
        lse = mp.log(mp.fsum(mp.exp(v) for v in values))
        logp = [v - lse for v in values]
        if np.ndim(t):
            q = [mpf(float(y)) * (1 - e) + e / classes for y in t]
            losses.append(-mp.fsum(wc * qc * lc for wc, qc, lc in zip(w, q, logp, strict=True)))
            divisor += 1
        elif t == -100:
            losses.append(mpf(0))
        else:
            smooth = mp.fsum(wc * lc for wc, lc in zip(w, logp, strict=True))
            losses.append(-(1 - e) * w[t] * logp[t] - e / classes * smooth)
            divisor += w[t]
    total = mp.fsum(losses)
    return {"none": losses, "sum": [total], "mean": [total / divisor]}[reduction]


def test_sibling_operations_agree_with_mpmath() -> None:
    """sigmoid, log_sigmoid, binary cross entropy, temperature and KL agree with their plain mpmath formulas."""
    mp.prec = 400
    x = np.array([[-3.5, 0.25, 700.0], [40.0, -1e-3, -745.0]])
    y = np.array([[0.0, 0.25, 1.0], [0.5, 1.0, 0.0]])
    big = [[mpf(float(v)) for v in row] for row in x]

    def close(batch: Batch, want: list[mpf]) -> None:
        got = exact.evaluate(batch)
        for index, value in zip(np.ndindex(got.shape), want, strict=True):
            low, _ = got.bounds(index)
            assert abs(mpf(low.numerator) / low.denominator - value) <= mpf(10) ** -25 * abs(value)

    flat = [v for row in big for v in row]
    close(Batch("sigmoid", "float64", "t", {"x": x}), [1 / (1 + mp.exp(-v)) for v in flat])
    close(Batch("log_sigmoid", "float64", "t", {"x": x}), [-mp.log1p(mp.exp(-v)) for v in flat])
    soft = [mpf(float(v)) for v in y.ravel()]
    losses = [t * mp.log1p(mp.exp(-v)) + (1 - t) * mp.log1p(mp.exp(v)) for v, t in zip(flat, soft, strict=True)]
    batch = Batch("binary_cross_entropy_with_logits", "float64", "t", {"logits": x, "target": y}, {"reduction": "none"})
    close(batch, losses)
    temperature = mpf(0.7)
    scaled = [[mp.exp(v / temperature) for v in row] for row in big]
    want = [v / mp.fsum(row) for row in scaled for v in row]
    close(Batch("softmax_temperature", "float64", "t", {"x": x}, {"temperature": 0.7}), want)
    logs = [[v - mp.log(mp.fsum(mp.exp(u) for u in row)) for v in row] for row in big]
    kl = mp.fsum(mp.exp(a) * (a - b) for a, b in zip(logs[0], logs[1], strict=True))
    close(Batch("kl_divergence", "float64", "t", {"logits_p": x[:1], "logits_q": x[1:]}), [kl])


def test_narrow_inputs_are_exact() -> None:
    """A bfloat16 logit is the real number it stores: the same values as float64 give the same truth."""
    x = np.array([[3.1, -2.7, 0.1]]).astype(ml_dtypes.bfloat16)
    narrow = exact.evaluate(Batch("softmax", "bfloat16", "t", {"x": x}), "float64")
    wide = exact.evaluate(Batch("softmax", "float64", "t", {"x": x.astype(np.float64)}))
    assert np.array_equal(narrow.hi, wide.hi)
    assert np.array_equal(narrow.exponent, wide.exponent)


def test_long_rows_and_every_axis() -> None:
    """A row of 10**5 logits, and any axis of a 3-D array, give what each row gives alone."""
    rng = np.random.default_rng(1)
    long = rng.standard_normal((1, 100_000))
    total = exact.evaluate(Batch("logsumexp", "float64", "t", {"x": long}))
    assert abs(total.to_float64()[0] - np.log(np.exp(long).sum())) < 1e-9
    cube = rng.standard_normal((2, 3, 4))
    for axis in (0, 1, 2, -2):
        got = exact.evaluate(Batch("softmax", "float64", "t", {"x": cube}, {"axis": axis})).to_float64()
        e = np.exp(cube)
        np.testing.assert_allclose(got, e / e.sum(axis=axis, keepdims=True), rtol=1e-13)


def test_selected_elements_equal_the_whole() -> None:
    """Asking for single elements by index gives exactly those of the full evaluation."""
    x = np.random.default_rng(2).standard_normal((4, 5)) * 300
    batch = Batch("log_softmax", "float64", "t", {"x": x})
    whole, some = exact.evaluate(batch), exact.evaluate(batch, index=np.array([7, 0, 19]))
    for name in FIELDS:
        assert np.array_equal(getattr(some, name), getattr(whole, name).ravel()[[7, 0, 19]])


def test_every_operation_in_the_table_is_evaluated() -> None:
    """No op is in the table without exact truth of its result's shape."""
    for name, op in OPS.items():
        batch = next(call for call in plan(name, op.formats[0], profile="quick") if 0 < call.x.size < 200)
        assert exact.evaluate(batch).shape == op.result_shape(batch)


@pytest.mark.parametrize("apart", [800, 950, 1100, 2954, 5000])
def test_an_interval_of_any_width_has_fields(apart: int) -> None:
    """Ends 2**2954 apart, as those of tanh of a huge number at few bits: an enclosure that contains both, and no overflow."""
    low, high = mpf(2) ** -1478, mpf(2) ** (apart - 1478)
    found = exact.enclose([exact.Interval(low._mpf_, high._mpf_, 64)])
    centre = mpf(float(found.hi[0])) + mpf(float(found.lo[0]))
    scale, radius = mpf(2) ** int(found.exponent[0]), mpf(float(found.radius[0]))
    assert (centre - radius) * scale <= low
    assert (centre + radius) * scale >= high
