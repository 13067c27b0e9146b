"""An audit ends in the time that it is given, and says what it left out."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from xent_verify import audit
from xent_verify.commands.shared import status_of
from xent_verify.core.clock import USUAL, Clock
from xent_verify.core.failures import UsageError
from xent_verify.core.model import Batch, NotOffered
from xent_verify.report.words import coverage, verdict


def slow(x: np.ndarray) -> np.ndarray:
    """A sound softmax that takes its time."""
    time.sleep(0.02)
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def unshifted(x: np.ndarray) -> np.ndarray:
    time.sleep(0.02)
    e = np.exp(x)
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def test_a_budget_bounds_the_whole_audit_and_what_was_left_out_is_said() -> None:
    """Two formats share two seconds; both were asked something, and the verdict says that not all was."""
    start = time.monotonic()
    report = audit(slow, op="softmax", dtypes=["float64", "float32"], profile="quick", budget=2.0)
    assert time.monotonic() - start < 6.0
    for result in report.targets[0].dtypes:
        assert result.cases
        assert "cut short by its budget" in coverage(result)
        assert any(line.startswith("not asked (--budget 2 s): ") and "far_sizes" in line for line in result.unasked)


def test_a_cut_audit_still_finds_and_explains_what_fails() -> None:
    report = audit(unshifted, op="softmax", dtypes=["float32"], profile="quick", budget=3.0)
    assert report.failed
    assert report.findings[0].minimal.true_digits


def test_without_a_budget_an_endless_audit_is_given_up_and_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(USUAL, "quick", 1.0)
    report = audit(slow, op="softmax", dtypes=["float32"], profile="quick")
    assert verdict(report.targets[0].dtypes[0]) == "incomplete"
    assert "--budget allows more" in report.incomplete[0]


def test_companions_that_no_time_was_left_for_are_said() -> None:
    """The plan is short and comes to its end; what is held against it does not."""
    report = audit(slow, op="softmax", dtypes=["float32"], profile="standard", budget=2.0, regimes=["ordinary", "ties"])
    lines = report.targets[0].dtypes[0].unasked
    assert any("companions and laws of" in line for line in lines)
    assert not any("ordinary" in line for line in lines)


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(UsageError, match="budget -1"):
        audit(slow, op="softmax", budget=-1.0)


def test_nothing_is_asked_once_the_time_is_spent() -> None:
    def never(_: object) -> NotOffered:
        raise AssertionError

    call = Batch("softmax", "float32", "", {"x": np.zeros(2, np.float32)})
    assert isinstance(Clock.after(0.0).watched(never)(call), NotOffered)


def test_a_part_of_endless_time_is_endless() -> None:
    assert Clock().part(0.5) == Clock()


DOZING = """
import time
from pathlib import Path
import numpy as np

count = 0

def softmax(x, axis=-1):
    global count
    count += 1
    if {when}:
        time.sleep(600)
    x = x.astype(np.float64)
    e = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
    return (e / e.sum(axis=axis, keepdims=True)).astype(np.float32)
"""


@pytest.mark.parametrize(
    ("when", "status"),
    [("count == 45", 3), ("x.shape[-1] > 60", 3), ("np.isnan(x).any()", 1), ("(x > 80).any()", 1)],
)
def test_a_timeout_alone_leaves_the_audit_incomplete(when: str, status: int, tmp_path: Path) -> None:
    """Long rows are slow (exit 3, which names the option); every NaN, or all large logits: a fault (exit 1)."""
    (tmp_path / "dozing.py").write_text(DOZING.format(when=when))
    report = audit(
        f"{tmp_path / 'dozing.py'}:softmax", op="softmax", dtypes=["float32"], profile="quick", timeout=0.5,
        regimes=("ordinary", "nan", "overflow_edge", "sizes"),
    )  # fmt: skip
    kinds = {finding.kind for finding in report.findings if finding.severity == "fail"}
    assert (status_of(report), kinds) == (status, {"timeout"} if status == 1 else set())
    assert status == 1 or "no answer within 0.5 s (--timeout allows more)" in report.incomplete[0]


def test_a_refusal_is_told_from_a_fault_when_no_time_is_left() -> None:
    """The call that spends the budget raises for its length: whether it refuses that is asked all the same."""

    def refuses(x: np.ndarray) -> np.ndarray:
        if x.shape[-1] > 1000:
            time.sleep(1.5)
            raise ValueError("at most 1000 columns")
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return np.asarray(e / e.sum(axis=-1, keepdims=True))

    report = audit(
        refuses, op="softmax", dtypes=["float32"], profile="quick", budget=1.0, regimes=["ordinary", "long_rows"]
    )
    assert not report.failed
    assert any(finding.kind == "unsupported" and "at most 1000" in finding.message for finding in report.signs)
