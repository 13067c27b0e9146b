"""The class of a target, and a store that rounds one way."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xent_verify import limits
from xent_verify.auditing.audit import audit
from xent_verify.auditing.findings import Asker, build
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch, Outcome, Returned
from xent_verify.implementations import find
from xent_verify.ops import OPS
from xent_verify.verdict.judge import Rules
from xent_verify.verdict.ledger import Ledger
from xent_verify.verdict.policies import CLASSES, POLICIES, Policy
from xent_verify.verdict.rungs import classes_of

Softmax = Callable[[np.ndarray], np.ndarray]


def wide(x: np.ndarray) -> np.ndarray:
    """In float64, rounded once."""
    w = x.astype(np.float64)
    e = np.exp(w - w.max(axis=1, keepdims=True))
    return FORMATS[x.dtype.name].narrow(e / e.sum(axis=1, keepdims=True))


def careful(x: np.ndarray) -> np.ndarray:
    """Shifted, in float32 for narrow formats."""
    w = x.astype(np.float32)
    e = np.exp(w - w.max(axis=1, keepdims=True))
    return (e / e.sum(axis=1, keepdims=True)).astype(x.dtype)


def rounded_steps(x: np.ndarray) -> np.ndarray:
    """Every intermediate in the format, the sum in float32."""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.astype(np.float32).sum(axis=1, keepdims=True).astype(x.dtype)


def loop(x: np.ndarray) -> np.ndarray:
    """A plain running sum."""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / np.add.accumulate(e, axis=1)[:, -1:]


def from_logsumexp(x: np.ndarray) -> np.ndarray:
    """exp(x - logsumexp(x)), both at their own size."""
    m = x.max(axis=1, keepdims=True)
    return np.exp(x - (m + np.log(np.exp(x - m).sum(axis=1, keepdims=True))))


def unshifted(x: np.ndarray) -> np.ndarray:
    """No maximum subtracted."""
    e = np.exp(x)
    return e / e.sum(axis=1, keepdims=True)


def truncated(x: np.ndarray) -> np.ndarray:
    """bfloat16 by cutting off the low half of a float32."""
    w = x.astype(np.float32)
    e = np.exp(w - w.max(axis=1, keepdims=True))
    bits = (e / e.sum(axis=1, keepdims=True)).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(x.dtype)


def book(softmax: Softmax, fmt: str, rows: Any, policy: Policy = POLICIES["standard"]) -> tuple[Ledger, Asker]:
    """The ledger of a softmax asked for these rows."""

    def ask(batch: Batch) -> Outcome:
        with np.errstate(all="ignore"):
            return Returned(softmax(batch.x), fmt)

    asker, ledger = Asker(OPS["softmax"], ask, Rules(policy), "test", budget=0), Ledger(OPS["softmax"], fmt)
    for x in rows:
        asker.observe(ledger, Batch("softmax", fmt, "test", {"x": np.asarray(x).astype(FORMATS[fmt].dtype)}))
    ledger.close()
    return ledger, asker


ROWS = [
    np.random.default_rng(0).normal(size=(40, 30)) * 5,
    [[300.0] * 2049 + [290.97] * 60_000],  # the running sum stays at 2049: the others are below half its ulp
    [[1000.0, 0.0, 999.0]],
]


@pytest.mark.parametrize(
    ("softmax", "fmt", "keeps"),
    [
        (wide, "bfloat16", "exact"),
        (careful, "float32", "standard"),
        (loop, "float32", "textbook"),
        (from_logsumexp, "float32", "backward"),
        (rounded_steps, "bfloat16", "stored"),
        (unshifted, "float32", "unsound"),
    ],
)
def test_the_class_is_the_strictest_that_all_answers_keep(softmax: Softmax, fmt: str, keeps: str) -> None:
    """Each way to compute softmax has the class that its name has in the docs."""
    assert book(softmax, fmt, ROWS)[0].rungs.name == keeps


@pytest.mark.parametrize("policy", ["standard", "faithful", "native"])
def test_the_class_does_not_depend_on_the_policy_asked(policy: str) -> None:
    """A policy decides what fails, not what class is kept."""
    assert book(loop, "float32", ROWS, POLICIES[policy])[0].rungs.name == "textbook"


def test_without_an_answer_there_is_no_class() -> None:
    """Nothing measured, nothing said."""
    assert Ledger(OPS["softmax"], "float32").rungs.name == ""


def test_wide_formats_have_no_stored_class() -> None:
    """In 32 and 64 bits the format is its own arithmetic."""
    assert set(CLASSES) - set(classes_of(FORMATS["float32"])) == {"stored", "native"}
    assert classes_of(FORMATS["bfloat16"]) == CLASSES


def test_a_finding_of_size_says_which_policy_accepts_it() -> None:
    """The message holds the class and the word to type."""
    ledger, asker = book(rounded_steps, "bfloat16", ROWS)
    texts = [finding.message for finding in build(asker, ledger) if finding.kind == "inaccurate"]
    assert any("--policy stored accepts it" in text for text in texts)


def test_truncation_is_found_by_the_signs_of_its_errors() -> None:
    """Within an ulp everywhere, so no fault of size; all errors lie below the truth, and that is one."""
    ledger, asker = book(truncated, "bfloat16", ROWS)
    assert ledger.rungs.name == "faithful"
    (finding,) = (one for one in build(asker, ledger) if one.severity == "fail")
    assert finding.relation == "bias"
    assert "below the true magnitude" in finding.text


@pytest.mark.parametrize("softmax", [wide, careful])
def test_rounding_to_nearest_is_not_biased(softmax: Softmax) -> None:
    """Errors of a sound store fall on both sides."""
    ledger, _ = book(softmax, "bfloat16", ROWS)
    assert ledger.bias.count > 200
    assert ledger.bias.text == ""


def test_few_errors_prove_no_bias() -> None:
    """199 errors on one side are not yet called a bias."""
    x = np.full((100, 2), 1.0)
    x[:, 1] = 0.3
    ledger, _ = book(truncated, "bfloat16", [x.astype(ml_dtypes.bfloat16)])
    assert 0 < ledger.bias.count <= 200
    assert ledger.bias.text == "" or ledger.bias.count == 200


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-1e4, 1e4, width=16), min_size=1, max_size=40), st.sampled_from(["float32", "bfloat16"]))
def test_standard_lies_within_textbook_and_that_within_backward(row: list[float], fmt: str) -> None:
    """Every limit is at least that of the class before it."""
    x = FORMATS[fmt].narrow(np.array([row]))
    for op in ("softmax", "log_softmax", "logsumexp"):
        found = [limits(op, x, policy=policy) for policy in ("standard", "textbook", "backward")]
        assert (found[0] <= found[1]).all()
        assert (found[1] <= found[2]).all()


def test_backward_allows_a_loss_eight_roundings_of_the_largest_logit() -> None:
    """lse - x_t of logits near 4096 is off by up to 8 u 4096, beside the limit of standard."""
    x, u = np.full((1, 2), 4096.0, np.float32), 2.0**-24
    more = limits("cross_entropy", x, np.array([0]), policy="backward") - limits("cross_entropy", x, np.array([0]))
    assert 7.5 * u * 4096 <= more[()] <= 8.5 * u * 4096


def test_bytes_read_in_the_wrong_order_are_one_failure_and_no_class() -> None:
    """ONNX Runtime reads the bytes of an array of the other byte order as they lie: other numbers, rightly computed."""
    stable = find("stable", "softmax").call
    report = audit(lambda x, axis=-1: stable(x.view(x.dtype.newbyteorder("=")), axis), op="softmax",
                   dtypes=["float32"], profile="quick", regimes=["ordinary", "layouts"])  # fmt: skip
    (result,) = report.targets[0].dtypes
    assert {finding.kind for finding in result.signs if finding.severity == "fail"} == {"layout_dependence"}
    assert result.keeps == "standard"


def at_random(x: np.ndarray, up: float = 0.0) -> np.ndarray:
    """Softmax rounded to either neighbour in bfloat16, to the upper one with its share as probability, plus ``up``."""
    form, p = FORMATS["bfloat16"], np.asarray(find("wide", "softmax").call(x.astype(np.float64)))
    nearest = form.widen(form.narrow(p))
    low = np.where(nearest > p, nearest - form.ulp(p), nearest)
    share = (p - low) / form.ulp(p)
    drawn = np.random.default_rng(zlib.crc32(x.tobytes())).random(p.shape)
    return form.narrow(low + form.ulp(p) * (drawn < np.clip(share + up * (share > 0), 0, 1)))


@pytest.mark.parametrize(("up", "ok"), [(0.0, True), (-1.0, False), (0.3, False)])
def test_stochastic_rounding_is_judged_by_its_frequencies(up: float, ok: bool) -> None:
    """Either neighbour is right; that all are the lower one (oneDNN), or the upper one too often, is a bias."""
    report = audit(
        lambda x: at_random(x, up),
        op="softmax",
        dtypes=["bfloat16"],
        profile="quick",
        regimes=["ordinary"],
        policy="stochastic",
    )
    assert report.ok is ok
    told = [finding.message for finding in report.targets[0].dtypes[0].findings if finding.severity == "fail"]
    assert all("the store is biased" in message for message in told)
