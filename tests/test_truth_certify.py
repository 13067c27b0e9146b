"""certify and reference: every op, format and regime against Arb; special values; the same bits however the work is cut."""

from __future__ import annotations

import pickle
import runpy
import tracemalloc
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from arb_truth import extreme, outside
from samples import sampled

from xent_verify import reference, ulp_error
from xent_verify.core.enclosure import DECISION, FIELDS, TIERS, Enclosure
from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch
from xent_verify.ops import op_named
from xent_verify.regimes import plan
from xent_verify.truth import certify, engines, exact, parallel, special

OPS = (
    "softmax",
    "log_softmax",
    "logsumexp",
    "cross_entropy",
    "cross_entropy_grad",
    "sigmoid",
    "log_sigmoid",
    "binary_cross_entropy_with_logits",
    "softmax_temperature",
    "kl_divergence",
    "token_logprob",
    "entropy",
    "softplus",
    "logaddexp",
    "logmeanexp",
    "softmax_one",
    "z_loss",
    "attention_softmax",
)
SLOW = ("kl_divergence", *OPS[10:])  # Arb adds up many terms, and these have no fused kernels
LOSSES = ("cross_entropy", "binary_cross_entropy_with_logits")
INF, NAN = np.inf, np.nan


def batches(op: str, fmt: str, profile: str, seed: int, largest: int) -> Iterator[Batch]:
    """An audit's 2-D batches, losses without reduction."""
    for batch in plan(op, fmt, profile=profile, seed=seed):
        options = {key: value for key, value in batch.options.items() if key != "reduction"}
        plain = batch.x.ndim == 2 and 0 < batch.x.size <= largest and options.get("axis", -1) in (-1, 1)
        if op == "binary_cross_entropy_with_logits":
            plain = plain and not options and batch.inputs["target"].shape == batch.x.shape
        if plain:
            yield replace(batch, options=options | ({"reduction": "none"} if op in LOSSES else {}))


def checked(op: str, fmt: str, profile: str, seed: int, largest: int) -> int:
    """Number of values of the plan that Arb confirmed."""
    total = 0
    for batch in batches(op, fmt, profile, seed, largest):
        enclosure = certify(batch)
        narrow = enclosure.units(fmt).radius <= DECISION  # all that tier 3 promises without a proof of irrationality
        assert (enclosure.decided(fmt) | ((enclosure.tier == 3) & narrow)).all(), batch.regime
        count, failed = outside(batch, enclosure)
        assert not failed, (batch.regime, batch.x.shape, batch.options, failed[:5])
        total += count
    return total


@pytest.mark.parametrize(("op", "fmt"), sampled([(op, fmt) for op in OPS for fmt in op_named(op).formats], 4))
def test_a_sample_of_every_regime_against_arb(op: str, fmt: str) -> None:
    """Every enclosure of a seeded sample of all regimes holds Arb's value, and decides."""
    assert checked(op, fmt, "quick", seed=1, largest=60 if op in SLOW else 150) > 20


@pytest.mark.slow
@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("op", OPS)
def test_ten_million_values_against_arb(op: str, fmt: str) -> None:
    """The same for about 190,000 values per op and format, more than 10**7 in all (60 pairs)."""
    enough, largest = (3_000, 500) if op == "kl_divergence" else (190_000, 20_000)  # tiny divergences cost Arb seconds
    total, seed = 0, 100
    while total < enough:
        total += checked(op, fmt, "standard", seed, largest)
        seed += 1


@pytest.mark.parametrize("rounds", [25, pytest.param(3000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("op", OPS)
def test_logits_targets_and_options_of_every_size_against_arb(op: str, rounds: int) -> None:
    """Subnormal, huge, negative, zero: what a fast tier cannot bound goes to the exact tier, and all is decided."""
    generator = np.random.default_rng(zlib.crc32(op.encode()))
    for _ in range(rounds):
        batch = extreme(op, str(generator.choice(op_named(op).formats)), generator)
        truth = certify(batch)
        _, failed = outside(batch, truth)
        assert not failed, (batch, failed)
        assert truth.decided(batch.fmt).all() or op == "cross_entropy"  # equal logarithms of both signs: see exact


@pytest.mark.parametrize(
    ("op", "inputs", "options", "value"),
    [
        ("softmax_temperature", {"x": [[5e-324, 0.0]]}, {"temperature": 1.5e-323}, 0.5825702064623147),
        ("softmax_temperature", {"x": [[5e-324, 0.0]]}, {"temperature": -1.5e-323}, 0.4174297935376853),
        (
            "binary_cross_entropy_with_logits",
            {"logits": [[1e300]], "target": [[0.25]]},
            {"weight": np.array(5e-324), "reduction": "none"},
            0.75 * (5e-324 * 1e300),
        ),
        (
            "cross_entropy",
            {"logits": [[0.0, -1e15]], "target": [[0.0, 1e-160]]},
            {"weight": np.array([1e-160, 1e-160]), "reduction": "none"},
            1e-305,
        ),
    ],
)
def test_factors_that_underflow(op: str, inputs: dict, options: dict, value: float) -> None:
    """A product below the range before a large factor: T2 and T3 of the outside check."""
    batch = Batch(op, "float64", "", {name: np.array(part) for name, part in inputs.items()}, options)
    assert certify(batch).rounded("float64").ravel()[0] == pytest.approx(value, rel=1e-9, abs=1e-315)


def test_gradient_of_one_finite_logit_is_exact() -> None:
    """R itself, which may be a tie: 0.5 + 2**-11 rounds to even in float16."""
    x = np.array([[1.0, -np.inf, -np.inf]], np.float16)
    y = np.array([[0.25, 0.5 + 2.0**-11, 2.0**-12]])
    truth = certify(Batch("cross_entropy_grad", "float16", "", {"logits": x, "target": y}))
    assert truth.bounds((0, 0)) == (0.5 + 2.0**-11 + 2.0**-12,) * 2
    assert float(truth.rounded("float16")[0, 0]) == 0.5009765625


@pytest.mark.slow
@pytest.mark.parametrize("op", ["softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_grad"])
def test_compiled_kernels_against_arb(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled engine on every batch, not only on large ones."""
    pytest.importorskip("numba")
    monkeypatch.setattr(engines, "WORTHWHILE", 0)
    assert checked(op, "float64", "standard", seed=7, largest=20_000) > 10_000


@pytest.mark.parametrize("op", ["softmax", "log_softmax", "logsumexp", "sigmoid", "cross_entropy_grad"])
def test_compiled_kernels_on_small_batches(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small sample with the compiled engine."""
    pytest.importorskip("numba")
    monkeypatch.setattr(engines, "WORTHWHILE", 0)
    assert engines.chain(1, quick=False)[0].whole is not None
    assert checked(op, "float64", "quick", seed=8, largest=100) > 100


SPECIAL = np.array([[1.0, 2.0, -INF], [-INF, -INF, -INF], [1.0, INF, -INF], [NAN, 1.0, INF], [3.0, 3.0, 3.0]])


@pytest.mark.parametrize(
    ("op", "target", "expected"),
    [
        ("logsumexp", None, [2.3132616875182228, -INF, INF, NAN, 4.09861228866811]),
        ("cross_entropy", [0, 0, 0, 0, -100], [1.3132616875182228, NAN, NAN, NAN, 0.0]),
        ("cross_entropy", [2, -100, -100, -100, 1], [INF, 0.0, 0.0, 0.0, 1.0986122886681098]),
        ("cross_entropy", [[0.5, 0.5, 0.0]] * 5, [0.8132616875182228, NAN, NAN, NAN, 1.0986122886681098]),
    ],
)
def test_special_values(op: str, target: object, expected: list[float]) -> None:
    """Special rows: NaN wins, 0 * log 0 = 0, ignored rows are not looked at."""
    options = {"reduction": "none"} if target is not None else {}
    got = reference(op, SPECIAL, None if target is None else np.array(target), **options)
    np.testing.assert_allclose(got.rounded("float64"), expected, rtol=1e-15)
    assert (got.tier[~np.isfinite(expected)] == 0).all()


def test_special_elements() -> None:
    """-inf beside a finite logit has p = 0 and log p = -inf; softmax of unsound rows is NaN; sigmoid takes limits."""
    p = reference("softmax", SPECIAL)
    assert p.rounded("float64")[0, 2] == 0.0
    assert p.tier[0, 2] == 0
    assert np.isnan(p.rounded("float64")[1:4]).all()
    assert reference("log_softmax", SPECIAL).rounded("float64")[0, 2] == -INF
    assert reference("sigmoid", [INF, -INF]).rounded("float64").tolist() == [1.0, 0.0]
    assert reference("log_sigmoid", [INF, -INF]).rounded("float64").tolist() == [0.0, -INF]


def test_smoothing_over_a_mask_is_infinite() -> None:
    """Label smoothing gives a masked class some weight: the loss is +inf, and so is a mean that holds it."""
    for reduction in ("none", "mean", "sum"):
        loss = reference("cross_entropy", SPECIAL[:1], np.array([0]), label_smoothing=0.1, reduction=reduction)
        assert (loss.rounded("float64") == INF).all()


def test_mean_over_nothing_is_a_convention() -> None:
    """A mean over no rows, or over weights that add up to 0, is NaN here; a sum is 0."""
    logits, ignored = np.zeros((2, 3)), np.array([-100, -100])
    assert np.isnan(reference("cross_entropy", logits, ignored).rounded("float64"))
    assert reference("cross_entropy", logits, ignored, reduction="sum").rounded("float64") == 0.0
    assert np.isnan(reference("cross_entropy", logits, np.array([0, 0]), weight=np.zeros(3)).rounded("float64"))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,), (2, 0, 3)])
def test_empty_inputs(shape: tuple[int, ...]) -> None:
    """Empty arrays keep their shape; logsumexp of an empty row is -inf."""
    assert reference("softmax", np.zeros(shape)).shape == shape
    lse = reference("logsumexp", np.zeros(shape), axis=-1)
    assert lse.shape == shape[:-1]
    assert lse.rounded("float64").size == 0 or shape[-1] != 0 or (lse.rounded("float64") == -INF).all()


@pytest.mark.parametrize("op", ["softmax", "log_softmax", "logsumexp"])
def test_every_axis(op: str) -> None:
    """An axis is an axis: the answer along it is that of the moved array."""
    x = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    for axis in (0, 1, 2, -1):
        along = reference(op, x, axis=axis).rounded("float32")
        last = reference(op, np.moveaxis(x, axis, -1)).rounded("float32")
        assert np.array_equal(along if op == "logsumexp" else np.moveaxis(along, axis, -1), last)


def fields_equal(a: Enclosure, b: Enclosure) -> bool:
    """Whether two enclosures are the same bits."""
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in FIELDS)


@pytest.mark.parametrize("fmt", ["float64", "float32"])
@pytest.mark.parametrize("n", [3, 17, 40, 300, 20_000])
def test_same_bits_however_cut(fmt: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows alone, in groups or all at once, by one process or three: the same bits."""
    monkeypatch.setattr(parallel, "WORTHWHILE", 0)
    x = (np.random.default_rng(1).standard_normal((max(4, 9000 // n), n)) * 30).astype(fmt)
    for op in ("softmax", "log_softmax", "logsumexp"):
        whole = certify(Batch(op, fmt, "", {"x": x}))
        assert fields_equal(whole, certify(Batch(op, fmt, "", {"x": x}), jobs=3))
        rows = [certify(Batch(op, fmt, "", {"x": x[r : r + 1]})) for r in range(3)]
        assert fields_equal(whole[:3], Enclosure.concatenate(rows))


@pytest.mark.parametrize("n", [1, 7, 40, 257, 16384, 33000])
def test_same_bits_with_and_without_compiled_kernels(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy and the extra ``fast``: every field of every enclosure."""
    assert engines.accelerated() is not None
    generator, rows = np.random.default_rng(n), max(2, 3000 // n)
    masked = generator.integers(-3, 4, (rows, n)) * 1.0
    masked[:, 1:2] = -np.inf
    for x in (generator.standard_normal((rows, n)) * 5, generator.uniform(-760, 760, (rows, n)), masked):
        for op in ("softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_grad"):
            inputs = {"logits": x, "target": np.zeros(rows, int)} if op.startswith("cross") else {"x": x}
            found = []
            for limit in (1 << 62, 0):
                monkeypatch.setattr(engines, "WORTHWHILE", limit)
                found.append(
                    certify(Batch(op, "float64", "", inputs, {"reduction": "sum"} if op == "cross_entropy" else {}))
                )
            assert fields_equal(*found), (op, n)


@pytest.mark.parametrize("op", ["softmax", "log_softmax", "logsumexp", "log_sigmoid"])
def test_same_bits_whatever_the_machine_makes_of_exp(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine's np.exp and np.log1p differ in the last bit: fields, roundings and errors do not."""
    x = np.random.default_rng(3).standard_normal((60, 33)).astype(np.float32) * 9

    def answers() -> list[bytes]:
        truth = certify(Batch(op, "float32", "", {"x": x}))
        error = certify(Batch(op, "float32", "", {"x": x})).error_ulp(np.zeros(truth.shape, np.float32), "float32")
        return [truth.rounded("float32").tobytes(), error.tobytes(), *(field.tobytes() for field in truth.fields)]

    here = answers()
    for name in ("exp", "log1p"):
        true = getattr(np, name)

        def elsewhere(values: np.ndarray, out: np.ndarray | None = None, true: Any = true) -> np.ndarray:
            result = true(values, out=out)
            result += np.where(np.arange(result.size).reshape(result.shape) % 3 == 0, np.spacing(result), 0.0)
            return result

        monkeypatch.setattr(np, name, elsewhere)
    assert answers() == here


def test_values_are_those_of_the_call() -> None:
    """Arrays that the caller changes afterwards do not change what was certified."""
    x = np.array([[0.0, 1.0, 2.0]], np.float32)
    truth, right = (certify(Batch("softmax", "float32", "", {"x": given})) for given in (x, x.copy()))
    x[:] = 7
    assert np.array_equal(truth.hi, right.hi)


def test_fields_are_made_once() -> None:
    """An enclosure whose fields nobody has read yet keeps its shape through views, pickles, and gives the same bits."""
    batch = Batch("softmax", "float32", "", {"x": np.random.default_rng(8).standard_normal((6, 50)).astype("f4")})
    read, unread = certify(batch), certify(batch)
    assert read.hi is read.hi
    assert unread.reshape(3, 2, 50).moveaxis(-1, 0).shape == (50, 3, 2)
    assert fields_equal(pickle.loads(pickle.dumps(unread)), read)
    with ThreadPoolExecutor(4) as pool:
        fresh = certify(batch)
        for fields in pool.map(lambda _: fresh.fields, range(8)):
            assert all(np.array_equal(a, b) for a, b in zip(fields, read.fields, strict=True))


def test_a_row_of_a_million() -> None:
    """Softmax of 10**6 equal logits is 10**-6, of 2**20 exactly 2**-20; log-softmax of a long row agrees with Arb."""
    assert (reference("softmax", np.zeros(10**6)).rounded("float64") == 1e-6).all()
    assert (reference("softmax", np.full(2**20, 3.5, np.float32)).rounded("float32") == 2.0**-20).all()
    x = np.random.default_rng(2).standard_normal((1, 50_000)) * 8
    for op in ("log_softmax", "logsumexp", "softmax"):
        assert not outside(Batch(op, "float64", "", {"x": x}), certify(Batch(op, "float64", "", {"x": x})))[1]


def test_far_exponents() -> None:
    """p = e**-5000 is enclosed to 2**-78 of itself; far beyond, by an interval above 0."""
    p = reference("softmax", [0.0, -5000.0, -1e6, -1e300])
    assert np.round(p.enclosure.log2_magnitude()[1]) == -7213
    assert p.radius[1] < 2.0**-77
    assert (p.hi[2:] > 0).all()
    assert p.rounded("float64").tolist() == [1.0, 0.0, 0.0, 0.0]


def test_largest_logits() -> None:
    """|x| near 1.8e308: x - m overflows, the true log-softmax (-3.6e308) rounds to -inf, M - M/2 does not."""
    top = np.finfo(np.float64).max
    logs = reference("log_softmax", [top, -top, top / 2])
    assert logs.rounded("float64").tolist() == [0.0, -INF, -top / 2]
    loss = reference("cross_entropy", [[top, -top / 2]], np.array([0]), label_smoothing=0.5)
    assert loss.rounded("float64") == 0.375 * top


def test_ties_broken_by_next_to_nothing() -> None:
    """log-softmax just below a midpoint rounds down, though it is 2**-92 or e**-1e300 away from it."""
    for x in ([2.0**-47, -64.0], [2.0**100, -(2.0**47)], [1e300, -1.0000000000000002e284]):
        row = np.array([x])
        ours, exactly = (f(Batch("log_softmax", "float64", "", {"x": row})) for f in (certify, exact.evaluate))
        assert np.array_equal(ours.rounded("float64"), exactly.rounded("float64"))
        assert (ours.tier == 2).all()


@pytest.mark.parametrize("x", [[2.0**64, 8e-299], [2.0**25 + 2, 2.0**-1000], [2.0**25 + 2, -(2.0**-1000)]])
@pytest.mark.parametrize("fmt", ["float64", "float32"])
def test_rests_that_underflow(x: list[float], fmt: str) -> None:
    """x - m may be a midpoint and next to nothing, more than log S: the side is not guessed."""
    batch = Batch("log_softmax", "float64", "", {"x": np.array([x])})
    ours, exactly = certify(batch, fmt=fmt), exact.evaluate(batch, fmt)
    assert np.array_equal(ours.rounded(fmt), exactly.rounded(fmt))
    assert not outside(batch, ours)[1]


def test_losses_on_midpoints() -> None:
    """Losses that are a midpoint plus e**-300, and gradients that are exactly 0, need no third tier."""
    logits, onehot = np.array([[3.0, 300.0 + 2.0**-40]]), np.array([[1.0, 0.0]])
    for batch in (
        Batch("cross_entropy", "float64", "", {"logits": logits, "target": onehot}, {"reduction": "none"}),
        Batch("cross_entropy", "float32", "", {"logits": logits, "target": onehot}, {"reduction": "none"}),
        Batch(
            "binary_cross_entropy_with_logits",
            "bfloat16",
            "",
            {"logits": np.array([[97.0]]), "target": np.array([[0.5]])},
            {"reduction": "none"},
        ),
        Batch("cross_entropy_grad", "float64", "", {"logits": np.ones((1, 3)), "target": np.full((1, 3), 0.1)}),
    ):
        ours, exactly = certify(batch), exact.evaluate(batch)
        assert (ours.tier < 3).all()
        assert ours.decided(batch.fmt).all()
        assert np.array_equal(ours.rounded(batch.fmt), exactly.rounded(batch.fmt))
        assert not outside(batch, ours)[1]


@pytest.mark.parametrize("fmt", op_named("softmax").formats)
def test_exact_ties_of_tiny_values(fmt: str) -> None:
    """1/n = half the smallest subnormal is a tie, and rounds to 0; one logit less lifts it above."""
    half = -np.log2(FORMATS[fmt].smallest_subnormal) + 1
    if half <= 12:
        n = 2 ** int(half)
        assert (reference("softmax", np.zeros((1, n), FORMATS[fmt].dtype)).rounded(fmt) == 0).all()
        assert (reference("softmax", np.zeros((1, n - 1), FORMATS[fmt].dtype)).rounded(fmt) != 0).all()
    quarters = reference("sigmoid", np.array([0.0], FORMATS[fmt].dtype))
    assert quarters.rounded(fmt).astype(float)[0] == 0.5


def test_gradient_near_cancellation() -> None:
    """At the target of a confident row p - 1 = -exp(-50) keeps its digits, for labels and for one-hot targets."""
    logits = np.array([[50.0, 0.0]])
    for target in (np.array([0]), np.array([[1.0, 0.0]])):
        got = reference("cross_entropy_grad", logits, target).rounded("float64")
        assert got[0, 0] == pytest.approx(-np.exp(-50.0), rel=1e-15)
        assert got[0, 0] == -got[0, 1]


def test_reductions_over_many_rows() -> None:
    """Mean and sum over 10**5 rows are correctly rounded: they agree with exact sums of the rows' enclosures."""
    generator = np.random.default_rng(3)
    logits, target = generator.standard_normal((10**5, 3)), generator.integers(0, 3, 10**5)
    rows = reference("cross_entropy", logits, target, reduction="none")
    total = sum((sum(rows.enclosure.bounds(i)) / 2 for i in range(10**5)), Fraction(0))
    assert reference("cross_entropy", logits, target, reduction="sum").rounded("float64") == float(total)
    assert reference("cross_entropy", logits, target).rounded("float64") == float(total / 10**5)
    assert reference("cross_entropy", logits, target).tier == 2


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_losses_agree_with_the_exact_tier(reduction: str) -> None:
    """Weights, smoothing, ignored rows and probability targets, in every reduction: the exact tier rounds alike."""
    generator = np.random.default_rng(4)
    for fmt in ("float64", "float32", "bfloat16"):
        form = FORMATS[fmt]
        logits = (generator.standard_normal((12, 5)) * 9).astype(form.dtype)
        weight = generator.random(5).astype(form.dtype)
        soft = generator.dirichlet(np.ones(5), 12).astype(form.dtype)
        for target in (generator.choice([0, 1, 4, -100], 12), soft):
            for options in (
                {},
                {"label_smoothing": 0.1},
                {"weight": weight},
                {"weight": weight, "label_smoothing": 0.3},
            ):
                batch = Batch(
                    "cross_entropy", fmt, "", {"logits": logits, "target": target}, options | {"reduction": reduction}
                )
                ours, exactly = (f(batch).rounded(fmt).astype(float) for f in (certify, exact.evaluate))
                assert np.array_equal(ours, exactly), (fmt, options)


def test_classes_on_the_second_axis() -> None:
    """Logits [N, C, d] with targets [N, d]: as torch has it."""
    generator = np.random.default_rng(5)
    logits, target = generator.standard_normal((2, 4, 3)), generator.integers(0, 4, (2, 3))
    flat = np.moveaxis(logits, 1, -1).reshape(6, 4)
    ours = reference("cross_entropy", logits, target, reduction="none").rounded("float64")
    assert np.array_equal(
        ours.ravel(), reference("cross_entropy", flat, target.ravel(), reduction="none").rounded("float64")
    )
    gradient = reference("cross_entropy_grad", logits, target).rounded("float64")
    assert np.array_equal(
        np.moveaxis(gradient, 1, -1).reshape(6, 4),
        reference("cross_entropy_grad", flat, target.ravel()).rounded("float64"),
    )


def test_reference_rounds_to_any_format() -> None:
    """One reference answers for all formats, correctly rounded once: 1/3 in each."""
    third = reference("softmax", [0.0, 0.0, 0.0])
    for name, form in FORMATS.items():
        expected = form.narrow(np.full(3, 1 / 3)) if name != "float64" else np.full(3, 1 / 3)
        assert third.rounded(name).dtype == form.dtype
        assert np.array_equal(third.rounded(name).astype(float), expected.astype(float))
    bf16 = reference("softmax", np.array([1, 2], ml_dtypes.bfloat16))
    assert bf16.batch.fmt == "bfloat16"
    assert bf16.error_ulp(np.array([0.2689414213699951, 0.7310585786300049]), "float64").max() <= 0.5


@pytest.mark.parametrize("fmt", ["float64", "float32", "bfloat16"])
def test_divergences_where_only_one_row_is_masked(fmt: str) -> None:
    """Mass of q where p has none counts, also where the rows agree in all the rest: log(1 + exp g), whatever its size."""
    for gap in (0.0, -1.0, -20.0, -50.0, -80.0):
        p, q = (np.array([row], FORMATS[fmt].dtype) for row in ([3.0, -INF, 3.0], [-1.0, gap - 1.0, -1.0]))
        truth = reference("kl_divergence", p, q)
        expected = reference("logsumexp", np.array([[0.0, gap - np.log(2.0)]])).rounded("float64")
        assert truth.rounded("float64") == pytest.approx(expected, rel=1e-14)
        assert outside(truth.batch, truth.enclosure) == (1, [])


def test_errors_of_answers_from_elsewhere() -> None:
    """``ulp_error`` is |y - t| / ulp(t): known by hand for 1/3 and powers of two, in a format that nobody asked for before."""
    truth = reference("softmax", np.zeros((1, 3), np.float32))
    third = np.float32(1 / 3)
    ulp = 2.0**-25  # of float32 in [1/4, 1/2)
    answers = np.array([[third, np.nextafter(third, np.float32(1)), 0.0]], np.float32)
    expected = [abs(Fraction(float(y)) - Fraction(1, 3)) / Fraction(ulp) for y in answers[0]]
    assert ulp_error(answers, truth, "float32")[0] == pytest.approx([float(e) for e in expected], abs=2.0**-20)
    assert ulp_error(1 / 3 * np.ones((1, 3)), truth, "float64")[0, 0] == pytest.approx(1 / 3)
    assert ulp_error(np.array([[1 / 3, np.nan, np.inf]]), truth, "bfloat16")[0, 0] == pytest.approx(0, abs=1e-6)
    assert np.isnan(ulp_error([[0.0, np.nan, 0.0]], truth, "float32")[0, 1])
    for shape in ((3,), (3, 1), ()):
        with pytest.raises(UsageError, match="has shape"):
            ulp_error(np.zeros(shape), truth, "float32")


def test_reference_refuses_what_it_cannot_mean() -> None:
    """Wrong names, shapes and dtypes are one clear line each."""
    with pytest.raises(UnknownNameError, match="option of softmax 'axes'"):
        reference("softmax", [1.0], axes=0)
    with pytest.raises(UnknownNameError, match="op 'softmx'"):
        reference("softmx", [1.0])
    with pytest.raises(UsageError, match="takes logits and target"):
        reference("cross_entropy", [[1.0]])
    with pytest.raises(UsageError, match="neither in"):
        reference("cross_entropy", [[1.0, 2.0]], np.array([2]))
    with pytest.raises(UsageError, match=r"y has shape \(3,\), not \(2,\)"):
        reference("logaddexp", [1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(UsageError, match="reduction = 'median'"):
        reference("nll", [[0.0, 1.0]], [0], reduction="median")
    with pytest.raises(UsageError, match="dtype"):
        reference("softmax", np.zeros(2, np.longdouble))
    with pytest.raises(UsageError, match="axis = 3"):
        reference("softmax", np.zeros(2), axis=3)
    with pytest.raises(UsageError, match="different lengths"):
        reference("softmax", [[1.0], [1.0, 2.0]])
    with pytest.raises(UsageError, match="different lengths"):
        reference("cross_entropy", [[1.0, 2.0]], [[0.5], [0.5, 0.5]])


@pytest.mark.parametrize(("fmt", "per_logit"), [("float32", 40), ("float64", 40)])
def test_memory_is_the_result_and_a_constant(fmt: str, per_logit: int) -> None:
    """Peak memory beyond the result's own arrays does not grow with the batch, its fields read or not."""
    beyond = []
    for rows in (200, 800):
        x = np.random.default_rng(6).standard_normal((rows, 1000)).astype(fmt)
        certify(Batch("softmax", fmt, "", {"x": x}))  # kernels are loaded once
        tracemalloc.start()
        assert certify(Batch("softmax", fmt, "", {"x": x})).hi.shape == x.shape
        beyond.append(tracemalloc.get_traced_memory()[1] - per_logit * x.size)
        tracemalloc.stop()
    assert beyond[1] < 8e6
    assert beyond[1] - beyond[0] < 2e6


def test_values_by_definition_are_the_same_for_all_tiers() -> None:
    """certify and the exact tier take special values from one place."""
    batch = Batch("log_softmax", "float64", "", {"x": SPECIAL})
    values, decided = special.resolve(batch)
    for answer in (certify(batch), exact.evaluate(batch)):
        assert np.array_equal(answer.hi[decided], values[decided], equal_nan=True)
        assert (answer.tier[decided] == 0).all()


def test_weights_whose_sum_overflows_or_cancels_divide_a_mean() -> None:
    """Three weights near the largest float64: their sum is beyond it, the mean is not; 1e16 + 1 - 1e16 is not 0."""
    logits, target = np.log([[1.0, 3.0]] * 3), np.array([0, 0, 0])
    huge = reference("cross_entropy", logits, target, weight=np.array([1.7e308, 1.0]))
    assert abs(float(huge.rounded("float64")) - np.log(4.0)) < 1e-15
    three = np.log([[1.0, 1.0, 2.0]] * 3)
    mixed = reference("cross_entropy", three, np.array([0, 1, 2]), weight=np.array([1e16, 1.0, -1e16]))
    assert np.isfinite(mixed.rounded("float64"))


@pytest.mark.parametrize(("op", "true"), [("nll", 0.0), ("cross_entropy", np.nan)])
def test_nan_at_another_class_counts_where_a_softmax_is_taken(op: str, true: float) -> None:
    """Beside a weight of 0, too; given log-probabilities are taken one by one."""
    x, weight = np.array([[np.nan, -1.0]], np.float32), np.array([1, 0], np.float32)
    found = reference(op, x, [1], weight=weight, reduction="none").rounded("float32")
    np.testing.assert_array_equal(found, np.array([true], np.float32))


def test_the_sweep_against_arb_runs() -> None:
    """``benchmarks/containment.py``, small: two operations in every format that they define."""
    sweep = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "containment.py"))["main"]
    assert sweep(["--values", "600", "--primitives", "60", "--ops", "softmax,cross_entropy", "--seed", "3"]) == 0


def test_a_divergence_from_a_masked_row_is_certified_without_exact_arithmetic() -> None:
    """q has a little mass where p has none and agrees elsewhere: what precision raised step by step says lies within."""
    rng = np.random.default_rng(3)
    p = rng.normal(size=(200, 7)).astype(np.float32)
    mask = rng.random(p.shape) < 0.3
    mask[:, 0], mask[:, 1] = False, True
    drop = rng.choice([0.0, 5.0, 40.0, 60.0, 200.0], size=p.shape).astype(np.float32)
    near = rng.choice([0.0, 1e-6, 1e-2], size=(200, 1)) * rng.normal(size=p.shape)
    q = (p + near.astype(np.float32)) - np.where(mask, drop, np.float32(0)) + np.float32(2)
    call = Batch(
        "kl_divergence", "float32", "test", {"logits_p": np.where(mask, np.float32(-np.inf), p), "logits_q": q}
    )
    found, true = certify(call), exact.evaluate(call, "float64")
    assert (found.tier == TIERS.index("double-double")).mean() > 0.95
    for place in range(found.size):
        low, high = found.bounds(place)
        least, most = true.bounds(place)
        assert low <= most
        assert least <= high
