"""Two targets on the same calls: how far apart, which is nearer the truth, what they differ in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kernels
import numpy as np
import pytest
import targets

from xent_verify import parity
from xent_verify.auditing.parity import DtypeParity, Parity
from xent_verify.cli import run
from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FORMATS
from xent_verify.ops import OPS
from xent_verify.verdict.distances import Distances, log_probabilities

FLOAT32 = FORMATS["float32"]


def compared(a: Any, b: Any, op: str = "softmax", regimes: tuple[str, ...] = ("sizes",), **more: Any) -> DtypeParity:
    """Two targets in float32, on few calls."""
    return parity(a, b, op=op, dtypes=["float32"], profile="quick", regimes=list(regimes), **more).dtypes[0]


def counted(op: str, a: list[float], b: list[float]) -> Distances:
    return Distances.of(OPS[op], FLOAT32, np.array(a), np.array(b), None)[0]


@pytest.fixture(scope="module")
def narrow() -> Parity:
    """NumPy's softmax and one that sums in float16."""
    return parity(
        "stable", kernels.narrow_sums, op="softmax", dtypes=["float32"], profile="quick", regimes=["sizes", "long_rows"]
    )


def test_a_target_is_at_one_with_itself() -> None:
    """No distance, no farthest call, nothing that differs."""
    found = compared("stable", "stable")
    total = found.total
    assert total.elements == total.equal > 1000
    assert (total.max_ulp, total.max_delta, total.outside, total.nearer_a, total.nearer_b) == (0, 0, 0, 0, 0)
    assert (found.farthest, found.differ_in) == (None, ())


def test_the_target_with_wide_sums_is_nearer(narrow: Parity) -> None:
    """Against sums in float16: nearer the truth, in a better class, within the limit where the other is not."""
    (found,) = narrow.dtypes
    assert found.total.nearer_a > 100 * found.total.nearer_b
    assert found.total.ratio_a < 1 < found.total.ratio_b
    assert (found.class_a, found.class_b) == ("standard", "unsound")
    assert "class: a keeps standard; b keeps unsound" in found.differ_in


def test_ratios_of_probabilities_are_counted(narrow: Parity) -> None:
    """A running sum that stalls at 2048 is a ratio of probabilities far outside [0.9, 1.1]."""
    (found,) = narrow.dtypes
    assert found.total.max_delta > 0.1
    assert 0 < found.total.outside < found.total.logs
    assert found.total.mean_kl > 0


def test_the_farthest_call_is_small_and_true(narrow: Parity) -> None:
    """It is one row; both values and the distance are those of the call itself."""
    far = narrow.dtypes[0].farthest
    assert far is not None
    x = next(iter(far.inputs.values()))
    assert x.ndim == 1 or len(x) == 1
    a, b = targets.softmax(x)[far.index], kernels.narrow_sums(x)[far.index]
    assert (far.b, far.ulp) == (float(b), float(FLOAT32.ulp_distance(far.a, far.b)))
    assert abs(far.a - float(a)) < 1e-6
    assert abs(float(far.true_digits) - far.a) < abs(float(far.true_digits) - far.b)


def test_an_order_of_sums_is_told_from_another_exp() -> None:
    """Rows of two have one order of summation: bits that differ there come from elsewhere."""
    split = lambda x, axis=-1: kernels._split(x, axis, 8)  # noqa: E731
    assert any("order of the sum" in line for line in compared(kernels.splits_alike, split).differ_in)

    def by_exp2(x: np.ndarray, axis: int = -1) -> np.ndarray:
        e = np.exp2((x - x.max(axis=axis, keepdims=True)) * np.float32(np.log2(np.e)))
        return e / e.sum(axis=axis, keepdims=True)

    assert any(line.startswith("exp, formula or cast") for line in compared("stable", by_exp2).differ_in)


def test_formulas_are_named() -> None:
    """What each was seen to do stands side by side."""
    found = compared("stable", lambda x, axis=-1: np.log(targets.softmax(x, axis)), op="log_softmax")
    assert any(line.startswith("formula: a shifted") and "log of softmax" in line for line in found.differ_in)


def test_conventions_are_no_distance() -> None:
    """Rows of only −inf, answered NaN and 0: told as a convention, counted neither as far nor as NaN against a number."""

    def zero(x: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.nan_to_num(targets.softmax(x, axis)) if np.isneginf(x).any() else targets.softmax(x, axis)

    found = compared(targets.softmax, zero, regimes=("all_masked",))
    assert found.total.unlike == 0
    assert any(line.startswith("all -inf: a answers nan; b answers") for line in found.differ_in)


def test_nan_against_a_number_is_beyond_any_distance() -> None:
    """It is counted apart, and no number of ulps is enough for it."""
    total = counted("softmax", [0.5, np.nan, np.nan], [0.5, 0.5, np.nan])
    assert (total.elements, total.equal, total.unlike, total.max_ulp) == (3, 2, 1, 0)
    one = DtypeParity("float32", 1, total, {})
    assert not Parity("a", "b", "softmax", (one,), {}).within(1e9)


def test_counters_of_log_probabilities() -> None:
    """By hand: ratios 1.25 and 1, a zero against a number; KL of the finite ones; losses have the other sign."""
    total = counted("softmax", [0.5, 0.25, 0.0], [0.4, 0.25, 0.1])
    assert (total.logs, total.outside) == (3, 2)
    assert total.max_delta == pytest.approx(np.log(1.25))
    assert total.kl == pytest.approx(1.25 - 1 - np.log(1.25))
    assert counted("cross_entropy", [1.0], [1.5]).kl == pytest.approx(np.exp(0.5) - 1.5)
    assert counted("token_logprob", [-1.5], [-1.0]).kl == pytest.approx(np.exp(-0.5) - 0.5)
    assert log_probabilities(OPS["cross_entropy_grad"], np.zeros(1)) is None
    twice = total + total
    assert (twice.logs, twice.max_delta, twice.mean_kl) == (6, total.max_delta, total.mean_kl)


def test_the_command_says_and_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text on stdout, strict JSON in the file, exit 1 beyond --within, 5 where nothing was compared, 2 for wrong use."""
    place = tmp_path / "parity.json"
    words = ["parity", "stable", "online", "--op", "softmax", "--dtype", "float32", "--profile", "quick"]
    words += ["--regimes", "ordinary", "--in-process"]
    assert run([*words, "--json", str(place)]) == 0
    text = capsys.readouterr().out
    assert "softmax: a is stable, b is online" in text
    assert "nearer" in text
    found = json.loads(place.read_text())
    total = found["dtypes"][0]["total"]
    assert float.fromhex(total["max_delta_hex"]) == total["max_delta"]
    assert total["elements"] == sum(one["elements"] for one in found["dtypes"][0]["regimes"])
    assert run([*words, "--within", str(total["max_ulp"])]) == 0
    assert run([*words, "--within", "0"]) == (1 if total["max_ulp"] else 0)
    assert run([*words, "--only", "n > 100000"]) == 5
    assert run([*words, "--within", "-1"]) == 2
    assert run(["parity", "stable", "onlin", "--op", "softmax"]) == 2


def test_b_may_be_called_in_a_way_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """A trainer's kernel and a server's, which returns a tuple; a setting that B cannot have alone is named."""

    def served(x: Any) -> Any:
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True), None

    plain = compared("stable", served, regimes=("ordinary",))
    assert plain.calls == 0
    picked = compared("stable", served, regimes=("ordinary",), of_b={"call": "f(x)[0]"})
    assert picked.calls
    assert picked.total.max_ulp < 8
    words = [
        "parity",
        "stable",
        "stable",
        "--op",
        "softmax",
        "--dtype",
        "float32",
        "--profile",
        "quick",
        "--regimes",
        "ordinary",
    ]
    assert run([*words, "--in-process", "--b", "call=f(x) * 0.5"]) == 0
    assert "100 % of exp Δ outside" in capsys.readouterr().out
    for wrong in ("policy=exact", "call", "call=f("):
        assert run([*words, "--b", wrong]) == 2


def test_unknown_options_are_named() -> None:
    """``require`` is the audit's: parity says which options it has."""
    with pytest.raises(UsageError, match="option of parity"):
        parity("stable", "naive", op="softmax", require="invariance")
