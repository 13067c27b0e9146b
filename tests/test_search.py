"""Search: every kind of failure found and shrunk, worst rows bred; a function of its seed that touches nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch
from xent_verify.regimes.draw import Draw, stream
from xent_verify.search import guided_search, hypothesis_search
from xent_verify.search.moves import MOVES


@dataclass(frozen=True)
class Simple:
    kind: str | None
    score: float


def reference(rows: np.ndarray) -> np.ndarray:
    """softmax in long double, good enough to rank float32 and narrower."""
    wide = rows.astype(np.float64).astype(np.longdouble)
    e = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def naive(batch: Batch) -> Simple:
    """A judge of exp(x) / sum exp(x) in float32 that tells overflow from total underflow."""
    x = batch.x.astype(np.float32)
    with np.errstate(all="ignore"):
        e = np.exp(x)
        total = e.sum(axis=-1, keepdims=True)
        error = np.abs((e / total).astype(np.longdouble) - reference(batch.x))
    if np.isinf(total).any():
        return Simple("overflow", float("inf"))
    return Simple("nan" if (total == 0).any() else None, float(np.nan_to_num(error.max(initial=0), nan=1e30)))


def test_every_kind_is_found_and_shrunk() -> None:
    """The naive softmax overflows at 89 and is 0/0 at -104: one logit each, whole numbers."""
    found = {f.kind: f for f in hypothesis_search("softmax", "float32", naive, examples=400)}
    assert set(found) == {"nan", "overflow"}
    assert found["overflow"].minimal.x.tolist() == [[89.0]]
    assert found["nan"].minimal.x.tolist() == [[-104.0]]
    assert found["overflow"].count > 1
    assert found["overflow"].worst.fmt == "float32"


def test_same_seed_same_findings() -> None:
    """Two runs agree in every bit, also in how often each kind was met."""

    def run(seed: int) -> list[Any]:
        found = hypothesis_search("log_softmax", "float32", naive, seed=seed, examples=120)
        return [(f.kind, f.minimal.x.tobytes(), f.worst.x.tobytes(), f.count) for f in found]

    assert run(1) == run(1)


def test_nothing_of_the_users_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No .hypothesis directory, the same profile and settings as before, and failures raise nothing."""
    monkeypatch.chdir(tmp_path)
    before = hypothesis.settings.default
    home = getattr(hypothesis.configuration, "__hypothesis_home_directory", None)
    hypothesis_search("softmax", "float32", naive, examples=30)
    assert list(tmp_path.iterdir()) == []
    assert hypothesis.settings.default is before
    assert getattr(hypothesis.configuration, "__hypothesis_home_directory", None) == home


def test_a_sound_target_has_no_findings() -> None:
    """Nothing is found where nothing is wrong; a flaky judge does not raise."""
    assert hypothesis_search("softmax", "float16", lambda batch: Simple(None, 0.0), examples=50) == ()
    turns = iter(range(10**6))
    flaky = hypothesis_search("softmax", "float16", lambda b: Simple("x" if next(turns) % 3 == 2 else None, 0.0))
    assert {f.kind for f in flaky} == {"x"}


def scored(function: Any, fmt: str) -> Any:
    """A judge of rows: the largest error in ulps of the format."""
    form = FORMATS[fmt]

    def judge(rows: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            true = reference(rows)
            error = np.abs(np.asarray(function(rows)).astype(np.longdouble) - true) / form.ulp(true.astype(np.float64))
        return np.where(np.isfinite(error), error, -1.0).max(axis=1).astype(np.float64)

    return judge


def stable(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float32) if rows.dtype.itemsize < 4 else rows
    e = np.exp(wide - wide.max(axis=1, keepdims=True))
    return (e / e.sum(axis=1, keepdims=True)).astype(rows.dtype)


def division_free(rows: np.ndarray) -> np.ndarray:
    m = rows.max(axis=1, keepdims=True)
    return np.exp(rows - (m + np.log(np.exp(rows - m).sum(axis=1, keepdims=True))))


def banded(rows: np.ndarray) -> np.ndarray:
    """Right but for gaps within 2**-20 of 20."""
    p = stable(rows)
    gap = np.abs(rows[:, 0] - rows[:, -1]).astype(np.float64)
    return np.where(np.abs(gap[:, None] - 20) < 20 * 2.0**-20, 2 * p, p)


def random_best(judge: Any, fmt: str, n: int, count: int) -> float:
    """What the same number of uniformly drawn bit patterns reaches."""
    draw = Draw(FORMATS[fmt], stream("uniform"))
    top = int(draw.fmt.ordinal(np.asarray(draw.fmt.max_finite, dtype=draw.fmt.dtype)))
    return float(judge(draw.fmt.from_ordinal(draw.rng.integers(-top, top + 1, (count, n)))).max())


@pytest.mark.parametrize("n", [2, 8])
def test_breeding_beats_uniform_ordinals(n: int) -> None:
    """The division-free softmax loses all digits at a large offset: bred rows get there, random bits do not."""
    judge = scored(division_free, "float32")
    best = guided_search("float32", judge, lengths=(n,), evaluations=20_000).best
    assert best.score > 100 * random_best(judge, "float32", n, 20_000)
    assert np.abs(best.row).min() > 1e6


def test_a_thin_band_is_found() -> None:
    """A fault within 2**-20 of a round gap is found although nothing leads to it."""
    found = guided_search("float32", scored(banded, "float32"), lengths=(2,), evaluations=60_000)
    assert found.best.score > 1e6


def all_rows(fmt: str, n: int) -> np.ndarray:
    """Every row of finite values of a small format."""
    form = FORMATS[fmt]
    top = int(form.ordinal(np.asarray(form.max_finite, dtype=form.dtype)))
    values = np.arange(-top, top + 1)
    return form.from_ordinal(np.stack(np.meshgrid(*[values] * n, indexing="ij"), axis=-1).reshape(-1, n))


def narrow_accumulator(rows: np.ndarray) -> np.ndarray:
    """Everything rounded to the row's own format, sums included."""
    e = np.exp(rows - rows.max(axis=1, keepdims=True))
    total = e[:, :1]
    for k in range(1, rows.shape[1]):
        total = total + e[:, k : k + 1]
    return e / total


@pytest.mark.parametrize("fmt", ["float8_e4m3fn", "float8_e5m2"])
def test_small_domains_are_searched_to_the_maximum(fmt: str) -> None:
    """On all pairs of an 8-bit format the search reaches at least 95 % of the true maximum."""
    judge = scored(narrow_accumulator, fmt)
    truly = float(judge(all_rows(fmt, 2)).max())
    assert guided_search(fmt, judge, lengths=(2,), evaluations=20_000).best.score >= 0.95 * truly


def test_search_is_a_function_of_its_seed() -> None:
    """Same seed: the same rows, scores and curve; the number of evaluations is kept; the curve rises."""
    judge = scored(stable, "float32")
    one, two = (guided_search("float32", judge, lengths=(1, 2, 9), evaluations=3000, seed=7) for _ in range(2))
    assert [(x.score, x.row.tobytes()) for x in one.niches] == [(x.score, x.row.tobytes()) for x in two.niches]
    assert one.curve == two.curve
    assert one.evaluations == 3000
    scores = [score for _, score in one.curve]
    assert scores == sorted(scores)
    assert one.best.score == scores[-1]


def test_niches_keep_different_worst_cases() -> None:
    """Rows of other lengths, spreads and levels survive beside the best one."""
    found = guided_search("bfloat16", scored(narrow_accumulator, "bfloat16"), lengths=(2, 16), evaluations=8000)
    assert len(found.niches) > 5
    assert {niche.n for niche in found.niches} == {2, 16}


@pytest.mark.parametrize("fmt", [form.name for form in FORMATS.values() if not form.scale])
def test_rows_put_to_the_judge_are_rows_of_the_format(fmt: str) -> None:
    """Never NaN, never +inf, never masked altogether; long rows too."""
    seen: list[bool] = []

    def judge(rows: np.ndarray) -> np.ndarray:
        wide = FORMATS[fmt].widen(rows)
        seen.append(rows.dtype == FORMATS[fmt].dtype and bool(np.isfinite(wide).any(axis=1).all()))
        seen.append(not np.isnan(wide).any() and not np.isposinf(wide).any())
        return np.abs(wide).max(axis=1, initial=0.0, where=np.isfinite(wide))

    guided_search(fmt, judge, lengths=(1, 3, 5000), evaluations=1500)
    assert all(seen)


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.__name__)
def test_moves_leave_their_arguments_alone(move: Any) -> None:
    """A move returns new rows of the same shape."""
    draw = Draw(FORMATS["float32"], stream("moves", move.__name__))
    rows = draw.fmt.widen(draw.narrow(draw.rng.normal(size=(50, 6)) * 10))
    rows[3, 2] = -np.inf
    before = rows.copy()
    with np.errstate(all="ignore"):
        result = move(draw, rows, rows[::-1].copy())
    assert result.shape == rows.shape
    assert (rows == before).all()
    assert (result != before).any()
