"""Regimes: each yields what it names, in every format, for every operation, within its budget, always the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from samples import in_turn, sampled

from xent_verify.core.failures import UnknownNameError
from xent_verify.core.formats import FORMATS, FloatFormat
from xent_verify.core.model import LAYOUTS, Batch
from xent_verify.ops import OPS
from xent_verify.ops.defined import undefined
from xent_verify.regimes import PROFILES, REGIMES, plan

FORMAT_NAMES = [form.name for form in FORMATS.values() if not form.scale]


def rows_of(regime: str, fmt: str, op: str = "softmax", profile: str = "quick") -> list[np.ndarray]:
    """float64 copies of one regime's two-dimensional batches."""
    form = FORMATS[fmt]
    return [form.widen(b.x) for b in plan(op, fmt, profile=profile, seed=0) if b.regime == regime]


def near(fmt: FloatFormat, values: np.ndarray, edge: float) -> bool:
    return bool((np.abs(values / edge - 1) < max(0.03, 2 * fmt.unit_roundoff)).any())


def log_of(value: float) -> float:
    return math.log(value)


def gaps(x: np.ndarray) -> np.ndarray:
    return x.max(axis=1, keepdims=True) - x


def holds(fmt: FloatFormat, value: float) -> bool:
    return abs(value) <= fmt.max_finite


CLAIMS: dict[str, Callable[[FloatFormat, np.ndarray], bool]] = {
    "ordinary": lambda f, x: bool((np.abs(x) < 60).all()),
    "overflow_edge": lambda f, x: near(f, x, log_of(f.max_finite)),
    "underflow_edge": lambda f, x: near(f, gaps(x)[gaps(x) > 0], -log_of(f.smallest_subnormal) + math.log(2)),
    "dominated": lambda f, x: bool((gaps(x).max(axis=1) > min(4, f.max_finite / 3)).all()),
    "pairs": lambda f, x: x.shape[1] == 2 and bool((x[:, 0] > x[:, 1]).any() and (x[:, 0] < x[:, 1]).any()),
    "common_offset": lambda f, x: bool((gaps(x).max(axis=1) < np.abs(x).max(axis=1)).any()),
    "positions": lambda f, x: {0, x.shape[1] - 1} < set(x.argmax(axis=1).tolist()),
    "wide_spread": lambda f, x: bool((np.abs(x) < 1).any() and (np.abs(x) > min(1e4, f.max_finite / 4)).any()),
    "mixed_scale": lambda f, x: np.ptp(x.max(axis=1)) >= min(600, f.max_finite / 2),
    "very_negative": lambda f, x: bool((x < max(-15.0, 0.49 * f.lowest)).all() and (x == -f.max_finite).any()),
    "sentinels": lambda f, x: bool((x == f.widen(f.narrow(-1e4))).any() or not holds(f, -1e4)),
    "masks": lambda f, x: bool(np.isneginf(x).any() and np.isfinite(x).any(axis=1).all()),
    "all_masked": lambda f, x: bool(np.isneginf(x).all(axis=1).any() and np.isfinite(x).all(axis=1).any()),
    "plus_inf": lambda f, x: bool(np.isposinf(x).any() and np.isfinite(x).all(axis=1).any()),
    "nan": lambda f, x: bool((np.isnan(x).sum(axis=1) == 1).any() and (~np.isnan(x).any(axis=1)).any()),
    "largest": lambda f, x: bool((x == f.max_finite).any() and (x == -f.max_finite).any()),
    "ties": lambda f, x: bool(((x == x.max(axis=1, keepdims=True)).sum(axis=1) > 1).any()),
    "near_ties": lambda f, x: int(f.ulp_distance(f.narrow(x.max(axis=1)), f.narrow(x.min(axis=1))).max()) <= 4,
    "tiny": lambda f, x: (
        bool(((x != 0) & (np.abs(x) < f.smallest_normal)).any())
        and bool(((x == 0) & np.signbit(x)).any()) == f.has_negative_zero
    ),
    "normalised": lambda f, x: bool((x <= 0).all() and np.abs(np.log(np.exp(x).sum(axis=1))).max() < 0.3),
    "integers": lambda f, x: bool((x == np.rint(x)).all()),
    "any_bits": lambda f, x: len(np.unique(np.frexp(x)[1])) >= min(12, f.e_max),
}


@pytest.mark.parametrize(("regime", "fmt"), in_turn(list(CLAIMS), FORMAT_NAMES, 4))
def test_regime_yields_what_it_names(regime: str, fmt: str) -> None:
    """In each format and at each width a regime shows the situation it is named after, computed from the format."""
    form = FORMATS[fmt]
    found = rows_of(regime, fmt)
    if not REGIMES[regime].held(form):
        assert not found
        return
    assert found
    for x in found:
        assert CLAIMS[regime](form, x), x


def test_narrow_and_wide_formats_meet_float32_edges_too() -> None:
    """float64 and float16 rows cross float32's overflow: code that computes in float32 shows."""
    edge = log_of(FORMATS["float32"].max_finite)
    for fmt in ("float64", "float16"):
        assert any(near(FORMATS[fmt], x, edge) for x in rows_of("overflow_edge", fmt))


def describe(batch: Batch) -> tuple[object, ...]:
    def bits(value: object) -> object:
        return (value.dtype.name, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value

    inputs = tuple((k, bits(v)) for k, v in batch.inputs.items())
    options = tuple((k, bits(v)) for k, v in batch.options.items())
    return (batch.regime, batch.aspect, batch.layout, inputs, options)


@pytest.mark.parametrize("op", ["softmax", "cross_entropy"])
def test_plan_is_a_function_of_its_seed(op: str) -> None:
    """Same seed, same bytes; another seed, other values; each format its own."""
    first = [describe(b) for b in plan(op, "float32", profile="quick", seed=3)]
    assert first == [describe(b) for b in plan(op, "float32", profile="quick", seed=3)]
    assert first != [describe(b) for b in plan(op, "float32", profile="quick", seed=4)]


@pytest.mark.parametrize(
    ("profile", "judged", "swept"),
    [("quick", (400, 420_000), (900, 1_500_000)), ("standard", (450, 1_650_000), (3600, 60e6))],
)
@pytest.mark.parametrize("op", ["softmax", "cross_entropy", "binary_cross_entropy_with_logits"])
def test_budget(op: str, profile: str, judged: tuple[int, int], swept: tuple[int, float]) -> None:
    """A profile costs no more than it says: calls and logits that are judged, and those that are swept."""
    counts = {False: [0, 0], True: [0, 0]}
    for batch in plan(op, "float32", profile=profile, seed=0):
        counts[batch.aspect == "sweep"][0] += 1
        counts[batch.aspect == "sweep"][1] += batch.x.size
    assert counts[False][0] <= judged[0]
    assert counts[False][1] <= judged[1]
    assert counts[True][0] <= swept[0]
    assert counts[True][1] <= swept[1]


@pytest.mark.parametrize(
    ("op", "fmt"),
    [(op, fmt) for op in OPS for fmt in ("float64", "bfloat16", "float8_e4m3fn") if fmt in OPS[op].formats],
)
def test_batches_are_calls_of_their_operation(op: str, fmt: str) -> None:
    """Inputs in order and of the format's dtype, options known and different from their defaults, targets valid."""
    entry = OPS[op]
    for batch in plan(op, fmt, profile="quick", seed=0):
        assert undefined(entry, batch) == "", batch.regime
        assert all(a.flags.c_contiguous for a in batch.inputs.values())
        assert REGIMES[batch.regime].applies(entry, FORMATS[fmt])


def test_infinities_and_nan_stay_where_they_are_announced() -> None:
    """Only the mask, infinity and NaN regimes, those of options, and sweeps hold values that are not finite."""
    special = {"masks", "all_masked", "plus_inf", "nan", "masked_classes", "masked_target", "probabilities"}
    special |= {"default_call", "ignored_rows", "state", "every_value", "ranks", "layouts", "options", "crossed"}
    for op in ("softmax", "cross_entropy", "sigmoid"):
        for batch in plan(op, "float16", profile="quick", seed=1):
            assert batch.regime in special or np.isfinite(batch.form.widen(batch.x)).all(), batch.regime


@pytest.mark.parametrize("fmt", ["float32", "bfloat16", "float8_e4m3fn"])
def test_every_rank_axis_and_view_meets_telling_rows(fmt: str) -> None:
    """One to four dimensions, several axes and each real view hold rows whose levels are beyond exp's range of each other."""
    reach = -log_of(FORMATS[fmt].smallest_subnormal)
    met = set()
    for batch in plan("softmax", fmt, profile="quick", seed=0):
        x, axis = batch.form.widen(batch.x), int(batch.options.get("axis", -1))
        if batch.regime in ("ranks", "layouts") and x.size:
            tops = x.max(axis=axis)
            if tops.ndim == 0 or (tops.max() - tops.min() > reach):
                met.add((x.ndim, axis) if batch.regime == "ranks" else batch.layout)
    assert {(1, -1), (2, 0), (3, -1), (3, 0), (3, 1), (4, -1), (4, 1)} <= met
    assert set(LAYOUTS) - {"C", "broadcast"} <= met


def test_sizes_reach_every_power_of_two() -> None:
    """The standard profile has 2**k - 1, 2**k and 2**k + 1 columns up to 2**13, and longer rows that no tile fits."""
    names = ("sizes", "long_rows")
    widths = {b.x.shape[-1] for b in plan("softmax", "float32", profile="standard", regimes=names)}
    assert {2**k + d for k in range(1, 14) for d in (-1, 0, 1)} <= widths
    assert {8195, 10007, 65537, 131075} <= widths


def test_rows_exceed_launch_grids() -> None:
    """More than 65,535 rows occur in each profile."""
    for profile in PROFILES:
        assert max(b.x.shape[0] for b in plan("log_softmax", "float32", profile=profile)) > 65536


def test_layouts_and_axes_are_all_there() -> None:
    """Every memory layout; one to six dimensions; positive and negative axes other than the last."""
    batches = list(plan("logsumexp", "float32", profile="quick"))
    assert {b.layout for b in batches} == set(LAYOUTS)
    assert {b.x.ndim for b in batches} == {1, 2, 3, 4, 5, 6}
    assert {-4, -3, -2, -1, 0, 1, 2} <= {b.options.get("axis") for b in batches}
    broadcast = [b.x for b in batches if b.layout == "broadcast"]
    assert all((x == x[:1]).all() for x in broadcast)


def test_long_rows_give_their_tail_weight() -> None:
    """Whoever drops what comes after the last power of two is off by a large factor, not by a rounding error."""
    for x in rows_of("long_rows", "float32", profile="standard"):
        terms = np.exp(x[1] - x[1].max())
        border = 2 ** ((x.shape[1] - 1).bit_length() - 1)
        assert terms[border:].sum() > 0.4 * terms.sum()


def drawn(op: str, *regimes: str, profile: str = "standard", fmt: str = "float32") -> list[Batch]:
    """The batches of some regimes."""
    return list(plan(op, fmt, profile=profile, regimes=regimes))


def test_options_meet_in_pairs() -> None:
    """Every two options of a loss occur together, and each value of an option also without any other."""
    seen = [frozenset(b.options) for b in drawn("cross_entropy", "crossed")]
    names = ("reduction", "label_smoothing", "weight", "ignore_index")
    for pair in combinations(names, 2):
        assert any(set(pair) <= options for options in seen), pair
    assert {frozenset([name]) for name in names} | {frozenset()} <= {
        frozenset(b.options) for b in drawn("cross_entropy", "options")
    }


def test_options_come_from_their_whole_range() -> None:
    """Tiny shares and 1, divisors of both signs and all sizes, weights of all sizes, shapes and formats."""
    losses = drawn("cross_entropy", "options", "crossed")
    shares = {b.options["label_smoothing"] for b in losses if "label_smoothing" in b.options}
    assert min(shares) < 1e-6
    assert max(shares) == 1
    assert len(shares) > 40
    weights = [b.options["weight"] for b in losses if "weight" in b.options]
    assert {w.dtype.name for w in weights} == {"float64", "float32", "float16"}
    assert max(w.max() for w in weights) > 1e10
    temperatures = {b.options.get("temperature") for b in drawn("softmax_temperature", "options", "crossed")}
    assert min(temperatures) < -1 < 1 < max(temperatures)
    assert min(map(abs, temperatures)) <= 1e-3
    shapes = {np.shape(b.options.get("pos_weight", 1.0)) for b in drawn("binary_cross_entropy_with_logits", "options")}
    assert {(), (5,), (5, 1), (5, 5)} <= shapes


def test_the_defining_option_is_never_left_out() -> None:
    """A softmax with a temperature is always asked for one."""
    assert all("temperature" in b.options for b in plan("softmax_temperature", "float32", profile="quick"))


def test_targets_that_are_no_distribution() -> None:
    """Probability targets sum to less and to more than 1, and some entries are negative."""
    for op in ("cross_entropy", "cross_entropy_grad"):
        rows = [b.inputs["target"] for b in drawn(op, "options") if b.inputs["target"].ndim == 2]
        sums = np.concatenate([row.sum(axis=1) for row in rows])
        assert sums.min() < 0.5
        assert sums.max() > 1.5
        assert min(row.min() for row in rows) < 0


@pytest.mark.parametrize("op", sampled(["softmax", "log_softmax"], 2))
def test_a_profile_has_a_point_in_every_band_of_32_floats(op: str) -> None:
    """The gaps of all rows, from 2**-26 to 104, leave no 32 neighbouring floats without one."""
    form = FORMATS["float32"]
    gaps = np.concatenate([(b.x[:, :1] - b.x[:, 1:]).ravel() for b in drawn(op, "profile_exp")])
    ordinals = np.unique(form.ordinal(gaps))
    assert np.diff(ordinals).max() <= 32
    assert gaps.min() < 2.0**-26 * (1 + 2.0**-17)
    assert gaps.max() > 103.99


def test_profiles_of_other_formats() -> None:
    """All gaps of 16 bits, every binade of float64, and elements of both signs."""
    half = np.concatenate([(b.x[:, :1] - b.x[:, 1:]).ravel() for b in drawn("softmax", "profile_exp", fmt="bfloat16")])
    assert np.diff(np.unique(FORMATS["bfloat16"].ordinal(half))).max() == 1
    double = np.concatenate([b.x[:, 1:].ravel() for b in drawn("softmax", "profile_exp", fmt="float64")])
    assert len(np.unique(np.frexp(double)[1])) > 30
    elements = np.concatenate([b.x for b in drawn("sigmoid", "profile_x", profile="quick")])
    assert (elements > 50).any()
    assert (elements < -50).any()


def test_sums_between_all_small_whole_numbers_are_met() -> None:
    """The logarithm is asked for sums in each tenth of (k, k + 1]."""
    met = set()
    for batch in drawn("log_softmax", "profile_log", profile="quick"):
        met |= set(np.floor(10 * np.exp(batch.x.astype(np.float64)).sum(axis=1)).astype(int).tolist())
    assert set(range(10, 900)) - met == set()


def test_every_length_and_every_number_of_rows() -> None:
    """Three rows of each length up to 2048, known vocabularies beyond; 1 to 130 rows, and more than 2**16."""
    assert [b.x.shape for b in drawn("softmax", "every_size")] == [(3, n) for n in range(1, 2049)]
    assert {32_000, 50_257, 128_256, 151_936, 262_144} <= {b.x.shape[1] for b in drawn("softmax", "far_sizes")}
    rows = {len(b.x) for b in drawn("softmax", "batch_sizes")}
    assert set(range(1, 131)) <= rows
    assert max(rows) > 131_000


def test_lengths_beyond_depend_on_the_seed() -> None:
    """Another seed has other long rows."""
    first, second = (
        {b.x.shape[1] for b in plan("logsumexp", "float32", regimes=("far_sizes",), seed=seed)} for seed in (0, 1)
    )
    assert len(first - second) > 20


def test_every_column_has_a_peak_and_every_stretch_the_mass() -> None:
    """Of rows of 300 and 1025 each column is the maximum once; of long rows each column is in a heavy stretch."""
    for batch in drawn("softmax", "spikes"):
        assert (batch.x.argmax(axis=1) == np.arange(len(batch.x))).all()
    heavy: dict[int, np.ndarray] = {}
    for batch in drawn("softmax", "stretches"):
        found = (batch.x == batch.x.max(axis=1, keepdims=True)).any(axis=0)
        heavy[batch.x.shape[1]] = heavy.get(batch.x.shape[1], np.zeros_like(found)) | found
    assert len(heavy) == 3
    assert all(columns.all() for columns in heavy.values())


def test_targets_of_every_integer_type() -> None:
    """Class indices come in all eight integer types, with ids that 8, 11 and 16 bits do not hold."""
    batches = drawn("cross_entropy", "index_types")
    targets = [b.inputs["target"] for b in batches]
    assert {t.dtype.name for t in targets} == {f"{s}int{k}" for s in ("", "u") for k in (8, 16, 32, 64)}
    assert any(t.dtype == np.uint8 and (t == 156).any() for t in targets)
    assert max(int(t.max()) for t in targets) > 2048
    long = drawn("cross_entropy", "long_rows")
    assert max(int(b.inputs["target"].max()) for b in long) > 65536


def test_ignored_rows_of_every_kind() -> None:
    """The default ignored index, class 0, another class, -1, one that never occurs, and nothing left."""
    batches = [b for b in drawn("cross_entropy", "options", "crossed") if b.inputs["target"].ndim == 1]
    ignored = [(b.options.get("ignore_index", -100), b) for b in batches]
    assert {-100, 0, 4, 5, -1, 255} <= {index for index, _ in ignored}
    assert min(index for index, _ in ignored) < -100
    shares = [(b.inputs["target"] == index).mean() for index, b in ignored]
    assert {0.0, 1.0} <= set(shares)
    assert any(0 < share < 1 for share in shares)


def test_a_narrow_total_overflows() -> None:
    """float16 losses whose sum is infinite although every loss is small."""
    for fmt in ("float16", "float8_e5m2"):
        form = FORMATS[fmt]
        batch = next(b for b in plan("cross_entropy", fmt, profile="quick") if b.regime == "sum_leaves_format")
        loss = np.ptp(form.widen(batch.x), axis=1)
        assert loss.sum() > form.max_finite > 30 * loss.max()


def test_unknown_names_are_usage_errors() -> None:
    """A wrong op or profile is named, with what would be right."""
    with pytest.raises(UnknownNameError, match="did you mean 'softmax'"):
        next(plan("sotfmax", "float32"))
    with pytest.raises(UnknownNameError, match="profile"):
        next(plan("softmax", "float32", profile="slow"))


def test_options_meet_larger_arrays_and_each_other() -> None:
    """A mask of the last axes beside scores of three dimensions, every two options together, NaN beside an option."""
    calls = list(plan("attention_softmax", "float32", profile="quick", regimes=["options", "crossed"]))
    masks = [batch for batch in calls if np.ndim(batch.options.get("mask")) == 2]
    assert any(batch.x.ndim == 3 for batch in masks)
    settable = [name for name, option in OPS["attention_softmax"].options.items() if option.kind != "axis"]
    for pair in combinations(settable, 2):
        assert any(set(pair) <= set(batch.options) for batch in calls), pair
    assert any(batch.options and np.isnan(batch.x).any() for batch in calls)
