"""One defect is one finding: kinds under it, formats under it, separate defects apart."""

from __future__ import annotations

import numpy as np
import pytest

from xent_verify import audit
from xent_verify.core.model import Example, Finding, Report, joined
from xent_verify.report import render_text
from xent_verify.report.json import from_json, to_json


def naive(x: np.ndarray, axis: int = -1) -> np.ndarray:
    with np.errstate(all="ignore"):
        e = np.exp(x)
        return e / e.sum(axis, keepdims=True)


def batch_wide(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """The maximum over the whole batch is subtracted."""
    return naive(x - x.max(), axis)


def two_defects(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """No maximum is subtracted, and matrices of three axes are answered without one of them."""
    return naive(x, axis)[0] if x.ndim == 3 else naive(x, axis)


def quick(function: object, *dtypes: str) -> Report:
    return audit(function, op="softmax", dtypes=dtypes or ["float32"], profile="quick")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def report() -> Report:
    return quick(naive, "float32", "bfloat16")


def failing(report: Report) -> list[Finding]:
    return [finding for finding in report.findings if finding.severity == "fail"]


def test_all_that_a_missing_maximum_does_is_one_finding(report: Report) -> None:
    """NaN, underflow, special values and a broken law: kinds of one finding a format, its cause named."""
    assert len(failing(report)) == 2
    for finding in failing(report):
        assert {"nan", "underflow", "special_value"} <= set(finding.kinds)
        assert "no maximum is subtracted" in finding.diagnosis


def test_one_defect_over_all_formats(report: Report) -> None:
    """Both formats stand under one defect, which the terminal tells once."""
    (defect,) = (one for one in report.defects if one.finding.severity == "fail")
    assert list(defect.found) == ["float32", "bfloat16"]
    assert "overflow_edge" in defect.regimes
    assert render_text(report).count("FAIL ") == 1


def test_the_shortest_call_tells_the_defect(report: Report) -> None:
    """The example that leads has no more logits than any of its parts'."""
    for finding in failing(report):
        sizes = [one.minimal.inputs["x"].size for one in (finding, *finding.parts) if one.minimal]
        assert sizes[0] == min(sizes)


def test_json_keeps_the_parts(report: Report) -> None:
    """Written and read again, every kind is there, under the same defect."""
    again = from_json(to_json(report))
    assert [one.kinds for one in again.findings] == [one.kinds for one in report.findings]
    assert to_json(again) == to_json(report)


def test_two_defects_are_two_findings() -> None:
    """A wrong shape is no sign of wrong numbers."""
    assert sorted(finding.kind == "shape" for finding in failing(quick(two_defects))) == [False, True]


def test_numbers_that_are_wrong_in_company_are_told_by_the_relation() -> None:
    """A maximum over the whole batch: whatever its kinds, one finding."""
    (finding,) = failing(quick(batch_wide))
    assert finding.kinds


def test_the_gravest_sign_leads() -> None:
    """A waived sign does not hide one that counts."""
    waived = Finding("nan", "warn", "known", 1, 2, (), defect="one")
    counted = Finding("overflow", "fail", "new", 1, 2, (), defect="one")
    (finding,) = joined([waived, counted])
    assert (finding.kind, finding.severity, finding.kinds) == ("overflow", "fail", ("overflow", "nan"))


def test_a_sign_whose_minimal_example_is_right_does_not_lead() -> None:
    """What only shows in company is told by the sign that compares."""
    right = Example({}, {}, "C", (), "", 0.0, 0.0, 0.3, 0.02)
    alone = Finding("inaccurate", "fail", "a", 1, 2, (), minimal=right, defect="one")
    company = Finding("stateful", "fail", "b", 1, 2, (), relation="repeat", defect="one")
    (finding,) = joined([alone, company])
    assert finding.kind == "inaccurate"  # neither shows by itself: the first
    (finding,) = joined([company, alone])
    assert finding.kind == "stateful"


def test_signs_without_a_defect_stay_apart() -> None:
    """Two exceptions of different origin."""
    one = Finding("exception", "fail", "a", 1, 2, (), raised="A")
    assert len(joined([one, one])) == 2
