"""The package's own implementations: the sound ones keep the a-priori bound, the naive ones fail where they say."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import Any

import ml_dtypes
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xent_verify.core.formats import FORMATS
from xent_verify.implementations import IMPLEMENTATIONS, ZOO, find, implementations
from xent_verify.ops import OPS

AXIS_OPS = ("softmax", "log_softmax", "logsumexp")
SOUND = tuple(entry for entry in IMPLEMENTATIONS if entry.sound)
AXIS_SOUND = tuple(entry for entry in SOUND if entry.op in AXIS_OPS)
LOSS_SOUND = tuple(entry for entry in SOUND if entry.op == "cross_entropy")
GRAD_SOUND = tuple(entry for entry in SOUND if entry.op == "cross_entropy_grad")
SMALL_FORMATS = ("float64", "float32", "float16", "bfloat16")
K = 2  # error of exp and of log, in ulps


@pytest.fixture(autouse=True)
def _precise() -> Iterator[None]:
    with mpmath.workprec(300):
        yield


class Row:
    """One row of finite logits (-inf allowed) with its true values at 300 bits."""

    def __init__(self, values: tuple[float, ...]) -> None:
        exact = [Fraction(v) if math.isfinite(v) else None for v in values]
        peak = max(v for v in exact if v is not None)
        with mpmath.workprec(300):
            self.d = [mpmath.inf if v is None else _mpf(peak - v) for v in exact]
            terms = [mpmath.exp(-d) for d in self.d]
            self.total = mpmath.fsum(terms)
            tail = mpmath.fsum(sorted(terms)[:-1])
            self.log_total = mpmath.log1p(tail)
            self.p = [t / self.total for t in terms]
            self.log_p = [-d - self.log_total for d in self.d]
            self.lse = _mpf(peak) + self.log_total
            self.spread = mpmath.fsum(p * d for p, d in zip(self.p, self.d, strict=True) if p)
        self.n = len(values)

    def sigma(self, policy: str) -> int:
        return self.n - 1 if policy == "textbook" else 8 + math.ceil(math.log2(self.n))


def _mpf(value: Fraction) -> Any:
    return mpmath.mpf(value.numerator) / value.denominator


@cache
def row_of(values: tuple[float, ...]) -> Row:
    return Row(values)


def unit(fmt: str) -> tuple[float, float, float]:
    """Unit roundoff of the arithmetic and of the format, and its smallest subnormal."""
    form = FORMATS[fmt]
    return (2.0**-53 if fmt == "float64" else 2.0**-24), form.unit_roundoff, form.smallest_subnormal


def expected(row: Row, op: str, fmt: str, policy: str) -> list[tuple[Any, Any]]:
    """(true value, bound) of each output element: the contract's section 4."""
    u, u_f, eta = unit(fmt)
    shared = row.spread + row.sigma(policy)
    logs = K + K * row.log_total
    if op == "logsumexp":
        return [(row.lse, (shared + logs) * u + abs(row.lse) * u_f + eta)]
    if op == "log_softmax":
        return [(t, (d + shared + logs) * u + abs(t) * u_f + eta) for t, d in zip(row.log_p, row.d, strict=True)]
    return [(p, p * ((min(d, 10**6) + shared + 2 * K + 1) * u + u_f) + eta) for p, d in zip(row.p, row.d, strict=True)]


def within(got: float, true: Any, bound: Any, fmt: str) -> bool:
    """|got - true| <= bound; beyond the largest finite value the infinity (NaN where there is none) is right."""
    top = FORMATS[fmt].max_finite
    if abs(true) == mpmath.inf or abs(true) > top:
        close = not math.isinf(true) and abs(abs(got) - top) <= bound
        return close or got == float(mpmath.sign(true)) * math.inf or (not FORMATS[fmt].has_inf and math.isnan(got))
    return math.isfinite(got) and abs(mpmath.mpf(got) - true) <= bound


def extreme_rows(fmt: str) -> list[np.ndarray[Any, Any]]:
    """Rows in the format over the regimes that break careless code; no NaN, no +inf."""
    form = FORMATS[fmt]
    rng = np.random.default_rng(5)
    top = form.max_finite
    masks = [-np.inf, 0.5, -np.inf, 1.0] if form.has_inf else [0.5, 1.0]
    rows = [
        [0.0], [top], [-top], [top, -top], [top, top, 0.0], [-top] * 3, [top, top / 2, 1.0, -1.0],
        [0.0, form.smallest_subnormal, -form.smallest_subnormal], [90.0, 89.0], [-110.0, -112.0],
        [0.0, -100.0, -104.0], [11.0, 11.25, 12.0], masks, [0.0] * 17, [-0.0, 0.0], [0.0, -20.0, -40.0],
        list(np.linspace(0.0, 40.0, 33)), list(-np.linspace(0.0, 40.0, 33)), list(rng.normal(size=37) * 5),
        list(rng.normal(size=64) * 50), list(rng.normal(size=9) + top / 4),
    ]  # fmt: skip
    with np.errstate(all="ignore"):
        held = [np.array(row, dtype=np.float64) for row in rows]
        return [np.where(np.isinf(row), row, np.clip(row, -top, top)).astype(form.dtype) for row in held]


@pytest.mark.parametrize("fmt", OPS["softmax"].formats)
@pytest.mark.parametrize("entry", AXIS_SOUND, ids=lambda e: e.qualified)
def test_sound_ones_keep_the_bound_on_extreme_rows(entry: Any, fmt: str) -> None:
    """A sound implementation is within the a-priori bound of its policy on every extreme row, in every format."""
    for x in extreme_rows(fmt):
        got = np.atleast_1d(entry.call(x)).astype(np.float64)
        row = row_of(tuple(x.astype(np.float64).tolist()))
        for value, (true, bound) in zip(got, expected(row, entry.op, fmt, entry.policy), strict=True):
            assert within(float(value), true, bound, fmt), (x, value, mpmath.nstr(true, 20))


@pytest.mark.parametrize("entry", AXIS_SOUND, ids=lambda e: e.qualified)
def test_sound_ones_keep_the_bound_on_long_rows(entry: Any) -> None:
    """Long rows of equal, rising and falling logits stay within the bound: σ(n) does not grow with n."""
    n = 5001
    steps = np.arange(n, dtype=np.float64)
    for x in (np.full(n, -0.3), steps * 1e-3, -steps * 1e-3, 1e4 + steps * 0.25):
        logits = x.astype(np.float32)
        d = logits.max().astype(np.float64) - logits.astype(np.float64)
        s = math.fsum(np.exp(-d).tolist())
        spread = math.fsum((np.exp(-d) * d).tolist()) / s
        slack = (spread + (n - 1 if entry.policy == "textbook" else 8 + 13) + 2 * K + K * math.log(s)) * 2.0**-24
        got = np.asarray(entry.call(logits), dtype=np.float64)
        if entry.op == "softmax":
            true = np.exp(-d) / s
            assert (np.abs(got - true) <= true * (slack + (d + 2) * 2.0**-24) + 2e-45).all()
        else:
            true = -d - math.log(s) if entry.op == "log_softmax" else float(logits.max()) + math.log(s)
            far = d if entry.op == "log_softmax" else 0.0
            assert (np.abs(got - true) <= slack + (far + np.abs(true)) * 2.0**-24).all()


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
def test_sound_ones_keep_the_bound_on_any_row(values: list[float]) -> None:
    """Any float32 row keeps the bound in every sound implementation."""
    x = np.array(values, dtype=np.float32)
    row = Row(tuple(values))
    for entry in AXIS_SOUND:
        got = np.atleast_1d(entry.call(x)).astype(np.float64)
        for value, (true, bound) in zip(got, expected(row, entry.op, "float32", entry.policy), strict=True):
            assert within(float(value), true, bound, "float32"), (entry.qualified, x, value, mpmath.nstr(true, 20))


def true_loss(x: np.ndarray[Any, Any], q: np.ndarray[Any, Any], divisor: Any, fmt: str) -> tuple[Any, Any]:
    """Σ q·(-log p) / divisor and its bound: each term's log_softmax bound, and the two sums'."""
    u, u_f, eta = unit(fmt)
    loss, bound = mpmath.mpf(0), mpmath.mpf(0)
    for values, weights in zip(x.astype(np.float64), q, strict=True):
        row = row_of(tuple(values.tolist()))
        for log_p, d, w in zip(row.log_p, row.d, weights, strict=True):
            if w:
                loss -= w * log_p
                bound += w * (d + row.spread + row.sigma("standard") + K + K * row.log_total) * u
    loss, bound = loss / divisor, bound / divisor
    return loss, bound + abs(loss) * (u * 40 + u_f) + eta


LossCase = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], dict[str, Any], np.ndarray[Any, Any], float]


def loss_cases(fmt: str) -> Iterator[LossCase]:
    """(logits, target, options, q, divisor of the mean) over targets, weights, ignored rows and smoothing."""
    dtype = FORMATS[fmt].dtype
    rng = np.random.default_rng(7)
    top = FORMATS[fmt].max_finite
    for spread in (5.0, 60.0, 700.0, top / 8):
        x = (rng.standard_normal((6, 5)).clip(-3, 3) * spread).astype(dtype)
        target = np.array([0, 4, 2, 2, -100, 1])
        live = (target != -100).astype(float)
        hot = np.eye(5)[np.maximum(target, 0)] * live[:, None]
        yield x, target, {}, hot, live.sum()
        w = np.array([0.5, 2.0, 0.25, 1.0, 4.0])
        yield x, target, {"weight": w.astype(dtype)}, hot * w, (hot * w).sum()
        smooth = (hot * 0.75 + 0.25 / 5) * w * live[:, None]
        yield x, target, {"weight": w.astype(dtype), "label_smoothing": 0.25}, smooth, (hot * w).sum()
        soft = np.array([0.0, 0.5, 0.25, 0.0, 0.25]) * np.ones((6, 1))
        yield x, soft.astype(dtype), {"label_smoothing": 0.5}, soft * 0.5 + 0.1, 6.0


@pytest.mark.parametrize("fmt", SMALL_FORMATS)
@pytest.mark.parametrize("entry", LOSS_SOUND, ids=lambda e: e.qualified)
def test_sound_losses_keep_the_bound(entry: Any, fmt: str) -> None:
    """Every target kind, option and reduction of a sound cross entropy is within its composed bound."""
    for x, target, options, q, divisor in loss_cases(fmt):
        got = {r: entry.call(x, target, reduction=r, **options) for r in ("mean", "sum", "none")}
        for reduction, by in (("mean", divisor), ("sum", 1.0)):
            true, bound = true_loss(x, q, by, fmt)
            assert within(float(got[reduction]), true, bound, fmt), (options, reduction, x)
        for index in range(len(x)):
            true, bound = true_loss(x[index : index + 1], q[index : index + 1], 1.0, fmt)
            assert within(float(got["none"][index]), true, bound, fmt), (options, x[index])


@pytest.mark.parametrize("fmt", SMALL_FORMATS)
@pytest.mark.parametrize("entry", GRAD_SOUND, ids=lambda e: e.qualified)
def test_sound_gradients_keep_the_bound(entry: Any, fmt: str) -> None:
    """p - onehot and p·Σy - y are within one softmax bound and one rounding of 1, probability targets included."""
    u, u_f, eta = unit(fmt)
    for x, target, options, _, _ in loss_cases(fmt):
        if options.get("weight") is not None:
            continue
        soft = target.ndim == 2
        y = target.astype(np.float64) if soft else np.eye(5)[np.maximum(target, 0)]
        got = entry.call(x, target if soft else np.maximum(target, 0)).astype(np.float64)
        for values, ys, gs in zip(x.astype(np.float64), y, got, strict=True):
            row = row_of(tuple(values.tolist()))
            relative = row.spread + row.sigma("standard") + 2 * K + 5
            for p, d, target_share, g in zip(row.p, row.d, ys, gs, strict=True):
                true = p * math.fsum(ys) - target_share
                bound = p * (relative + min(d, 10**6)) * u + 2 * u * target_share + abs(true) * u_f + eta
                assert within(float(g), true, bound, fmt), (x, p, g)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_every_integer_dtype_of_targets_counts_the_same(dtype: Any) -> None:
    """Class ids are numbers whatever integer type carries them; -100 matches no unsigned id."""
    x = np.random.default_rng(1).normal(size=(4, 200)).astype(np.float32)
    target = np.array([3, 120, 100, 127])
    for entry in LOSS_SOUND:
        assert entry.call(x, target.astype(dtype)) == entry.call(x, target)
    if np.dtype(dtype).kind == "u" and np.dtype(dtype).itemsize == 1:
        wrapped = np.array([156], dtype=np.uint8)
        assert find("stable", "cross_entropy").call(x[:1], wrapped) > 0


@pytest.mark.parametrize("entry", LOSS_SOUND, ids=lambda e: e.qualified)
def test_a_loss_survives_intermediate_overflow(entry: Any) -> None:
    """Differences, products with a weight and totals may leave the format's range although the loss does not."""
    top = float(np.finfo(np.float64).max)
    wide = np.array([[top, -top]])
    assert entry.call(wide, np.array([1]), weight=np.array([1.0, 0.25]), reduction="sum") == pytest.approx(top / 2)
    even = np.zeros((3, 2))
    assert entry.call(even, np.zeros(3, int), weight=np.array([top, 1.0])) == pytest.approx(math.log(2))
    assert entry.call(even, np.zeros(3, int), weight=np.array([5e-324, 1.0])) == pytest.approx(math.log(2))
    steep = np.array([[top / 2, -top / 4]] * 4)
    assert entry.call(steep, np.ones(4, int)) == pytest.approx(top / 4 * 3)


@pytest.mark.parametrize("entry", LOSS_SOUND, ids=lambda e: e.qualified)
def test_a_mean_over_no_weight_is_nan(entry: Any) -> None:
    """All rows ignored, or all target weights 0 (smoothing or not): the mean divides by nothing and is NaN."""
    x, target = np.array([[0.0, 1.0]]), np.array([0])
    assert np.isnan(entry.call(x, np.array([-100])))
    for smoothing in (0.0, 0.5):
        assert np.isnan(entry.call(x, target, weight=np.array([0.0, 1.0]), label_smoothing=smoothing))


def test_tiny_losses_keep_their_digits_in_the_log1p_forms() -> None:
    """A loss of 2e-9 is 0 in shifted log-softmax at float32 and right to the last bits in the log1p form."""
    x, target = np.array([[20.0, 0.0]], np.float32), np.array([0])
    assert find("cross_entropy.stable").call(x, target) == 0
    assert find("cross_entropy.log1p").call(x, target) == pytest.approx(math.log1p(math.exp(-20)), rel=3e-7)


SPECIAL = {
    "softmax": ([np.nan] * 2, [0.0, 1.0], None),
    "log_softmax": ([np.nan] * 2, [-np.inf, 0.0], None),
    "logsumexp": (-np.inf, 3.0, np.inf),
}


@pytest.mark.parametrize("fmt", SMALL_FORMATS)
@pytest.mark.parametrize("entry", AXIS_SOUND, ids=lambda e: e.qualified)
def test_special_values(entry: Any, fmt: str) -> None:
    """All -inf, one -inf, +inf and NaN: as the contract defines them; a NaN is never hidden, a row of 9 agrees."""
    dtype = FORMATS[fmt].dtype
    nothing, one_masked, plus = SPECIAL[entry.op]

    def at(values: list[float]) -> Any:
        return np.asarray(entry.call(np.array(values, dtype))).astype(np.float64)

    np.testing.assert_array_equal(at([-np.inf, -np.inf]), nothing)
    np.testing.assert_array_equal(at([-np.inf, 3.0]), one_masked)
    np.testing.assert_array_equal(at([np.inf, 3.0, -np.inf]), np.nan if plus is None else plus)
    for place in range(9):
        values = [0.0] * 9
        values[place] = np.nan
        assert np.isnan(at(values)).all()
        assert np.isnan(at([np.inf if v == 0 else v for v in values])).all()


@pytest.mark.parametrize("entry", AXIS_SOUND, ids=lambda e: e.qualified)
def test_every_axis_and_layout_gives_the_same_bits(entry: Any) -> None:
    """Axis, memory order, strides and read-only inputs do not change a bit, and the input is never written."""
    x = np.random.default_rng(2).normal(size=(3, 4, 5)).astype(np.float32)
    for axis in range(-3, 3):
        want = np.moveaxis(x, axis, -1)
        plain = entry.call(np.ascontiguousarray(want))
        got = entry.call(x, axis)
        np.testing.assert_array_equal(got if entry.op == "logsumexp" else np.moveaxis(got, axis, -1), plain)
    strided = np.repeat(x, 2, axis=-1)[..., ::2]
    backward = x[..., ::-1].copy()[..., ::-1]
    frozen = np.asfortranarray(x)
    frozen.flags.writeable = False
    for view in (strided, backward, frozen):
        np.testing.assert_array_equal(entry.call(view), entry.call(x))


@pytest.mark.parametrize("entry", [*AXIS_SOUND, *(e for e in IMPLEMENTATIONS if e.op in AXIS_OPS and not e.sound)],
                         ids=lambda e: e.qualified)  # fmt: skip
@pytest.mark.parametrize("fmt", FORMATS)
def test_results_have_the_input_format_and_no_warning_leaks(entry: Any, fmt: str) -> None:
    """dtype in is dtype out, the shape is the op's, and nothing is printed or warned about, whatever the values."""
    x = np.array([[1000.0, -1000.0, 0.0], [1.0, 2.0, 3.0]], np.float32)
    with np.errstate(all="ignore"):
        x = x.astype(FORMATS[fmt].dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = entry.call(x)
    assert got.dtype == x.dtype
    assert got.shape == ((2,) if entry.op == "logsumexp" else (2, 3))


@pytest.mark.parametrize("op", AXIS_OPS)
def test_empty_rows(op: str) -> None:
    """An empty row gives an empty softmax and a logsumexp of -inf; no rows give no results."""
    for entry in implementations(op, "stable"):
        got = entry.call(np.zeros((2, 0), np.float32))
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, np.full(2, -np.inf) if op == "logsumexp" else np.zeros((2, 0)))
        assert entry.call(np.zeros((0, 3), np.float32)).shape == ((0,) if op == "logsumexp" else (0, 3))


@pytest.mark.parametrize("entry", LOSS_SOUND, ids=lambda e: e.qualified)
def test_no_rows_give_no_losses(entry: Any) -> None:
    """A batch of no rows has no losses, a sum of 0 and, as in torch, a mean of NaN."""
    x, target = np.zeros((0, 3), np.float32), np.zeros(0, int)
    assert entry.call(x, target, reduction="none").shape == (0,)
    assert entry.call(x, target, reduction="sum") == 0
    assert np.isnan(entry.call(x, target))


f32 = np.float32
FAILURES = [
    ("softmax.naive", ([89.0, 0.0],), {}, f32, "nan"),
    ("softmax.naive", ([12.0, 0.0],), {}, np.float16, "nan"),
    ("softmax.naive", ([-110.0, -111.0],), {}, f32, "nan"),
    ("softmax.naive", ([90.0],), {}, ml_dtypes.bfloat16, "nan"),
    ("log_softmax.naive", ([0.0, -120.0],), {}, f32, "inf"),
    ("log_softmax.log-of-softmax", ([0.0, -120.0],), {}, f32, "inf"),
    ("logsumexp.naive", ([89.0],), {}, f32, "inf"),
    ("logsumexp.naive", ([-110.0],), {}, f32, "inf"),
    ("cross_entropy.naive", ([[89.0, 0.0]], [0]), {}, f32, "nan"),
    ("cross_entropy.naive-index", ([[0.0, 200.0]], [0]), {}, f32, "inf"),
    ("cross_entropy.naive-onehot", ([[200.0, 0.0]], [0]), {}, f32, "nan"),
    ("cross_entropy_grad.naive", ([[89.0, 0.0]], [0]), {}, f32, "nan"),
    ("sigmoid.naive", ([89.0],), {}, f32, "nan"),
    ("log_sigmoid.naive", ([-89.0],), {}, f32, "inf"),
    ("binary_cross_entropy_with_logits.naive", ([20.0], [0.0]), {}, f32, "inf"),
    ("kl_divergence.naive", ([0.0, 1.0], [0.0, 200.0]), {}, f32, "nan"),
    ("softmax_temperature.naive", ([1.0, 0.0],), {"temperature": 0.01}, f32, "nan"),
]


@pytest.mark.parametrize(("name", "args", "options", "dtype", "how"), FAILURES)
def test_naive_forms_fail_where_they_say(name: str, args: Any, options: Any, dtype: Any, how: str) -> None:
    """The docstring's failing input fails as described, while the stable form of the op stays finite."""
    arrays = [np.array(a, dtype if i == 0 or isinstance(a[0], float) else None) for i, a in enumerate(args)]
    naive, stable = find(name), find(f"{name.split('.')[0]}.stable")
    got = np.asarray(naive.call(*arrays, **options)).astype(np.float64)
    assert (np.isnan(got) if how == "nan" else np.isinf(got)).any()
    assert np.isfinite(np.asarray(stable.call(*arrays, **options)).astype(np.float64)).all()


CANCELLING = ("softmax.division-free", "log_softmax.unshifted-lse", "cross_entropy.lse-minus-logit")


@pytest.mark.parametrize("name", CANCELLING)
def test_forms_that_cancel_lose_digits_at_a_common_offset(name: str) -> None:
    """At offset 1e5 the unshifted differences are off by more than 5e-4 in float32, the stable ones by 1e-6."""
    entry, stable = find(name), find(f"{name.split('.')[0]}.stable")
    x = np.array([[1e5, 1e5 - 1, 1e5 - 2]])
    extra = (np.array([0]),) if "cross" in name else ()
    true = stable.call(x, *extra)
    assert np.max(np.abs(entry.call(x.astype(f32), *extra) - true)) > 5e-4
    assert np.max(np.abs(stable.call(x.astype(f32), *extra) - true)) < 1e-6


def test_siblings_against_their_formulas() -> None:
    """The stable sibling operations agree with mpmath to a few roundings over their whole range."""
    x = np.array([-700.0, -80.0, -1.0, -0.0, 1e-3, 3.0, 40.0, 700.0])
    y = np.array([0.0, 1.0, 0.25, 1.0, 0.0, 0.5, 1.0, 0.0])
    with mpmath.workprec(1200):
        exact = [mpmath.mpf(v) for v in x.tolist()]
        sigmoid = [float(1 / (1 + mpmath.exp(-v))) for v in exact]
        log_sigmoid = [float(-mpmath.log1p(mpmath.exp(-v))) for v in exact]
        losses = [
            float(t * mpmath.log1p(mpmath.exp(-v)) * 3 + (1 - t) * mpmath.log1p(mpmath.exp(v)))
            for v, t in zip(exact, y.tolist(), strict=True)
        ]
    np.testing.assert_allclose(find("sigmoid.stable").call(x), sigmoid, rtol=4e-16)
    np.testing.assert_allclose(find("log_sigmoid.stable").call(x), log_sigmoid, rtol=4e-16)
    bce = find("binary_cross_entropy_with_logits.stable").call
    np.testing.assert_allclose(bce(x, y, pos_weight=3.0, reduction="none"), losses, rtol=1e-15)
    assert bce(x, y, weight=2.0) == pytest.approx(2 * np.mean(bce(x, y, reduction="none")))


def test_kl_divergence_and_temperature() -> None:
    """KL follows Σ p(log p - log q) where probabilities underflow; a temperature is a division of the logits."""
    kl = find("kl_divergence.stable").call
    p, q = np.array([[0.0, 1.0, -800.0], [0.0, -np.inf, 2.0]]), np.array([[1.0, 0.0, 900.0], [0.0, 0.0, 1.0]])
    share = 1 / (1 + math.e)  # p = (share, 1 - share, 0), -log q = (899, 900, 0)
    entropy = -share * math.log(share) - (1 - share) * math.log1p(-share)
    np.testing.assert_allclose(kl(p[0], q[0]), share * 899 + (1 - share) * 900 - entropy, rtol=1e-13)
    assert np.isfinite(kl(p, q)).all()
    assert kl(p[0], p[0]) == 0
    tempered, plain = find("softmax_temperature.stable").call, find("softmax.stable").call
    x = np.array([[3.0, 1.0, -1.0], [1e6, 1e6 - 1, 0.0]])
    np.testing.assert_allclose(tempered(x, temperature=0.5, axis=0), plain(x * 2, axis=0), rtol=1e-12)
    top = float(np.finfo(np.float64).max)
    warm = tempered(np.array([top, -top]), temperature=top)
    np.testing.assert_allclose(warm, plain(np.array([2.0, 0.0])), rtol=1e-12)


def test_lookup() -> None:
    """Names are unique within an op; qualified and short names find the same row; unknown ones raise KeyError."""
    names = [entry.qualified for entry in IMPLEMENTATIONS] + [f"{fault.op}.{fault.name}" for fault in ZOO]
    assert len(names) == len(set(names))
    assert find("softmax.online") is find("online", "softmax")
    assert all(entry.family == "stable" for entry in implementations("softmax", "stable"))
    assert len(implementations(family="faulty")) == len(ZOO)
    for wrong in ("no-such", "naive", "softmax.nope"):
        with pytest.raises(KeyError):
            find(wrong)
    with pytest.raises(KeyError):
        find("softmax.naive", "logsumexp")


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_a_negative_temperature_turns_the_largest_logits_round(dtype: type) -> None:
    """The differences of the largest logits overflow; what is taken from them is the minimum."""
    most = np.finfo(dtype).max
    found = find("stable", "softmax_temperature").call(np.array([-most, most, -most], dtype), temperature=-1.0)
    assert found.tolist() == [0.5, 0.0, 0.5]
