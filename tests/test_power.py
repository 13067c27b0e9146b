"""The power of a check: the zoo sorts checks that see faults from checks that wave them through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xent_verify.auditing.power import measure_power
from xent_verify.cli import run
from xent_verify.core.failures import UsageError
from xent_verify.implementations import find


def test_the_usual_tolerances_see_almost_nothing() -> None:
    """Random normal logits with torch's float32 tolerances catch less than a tenth of the zoo, and reject nothing sound."""
    power = measure_power("allclose:1.3e-6,1e-5")
    assert power.share < 0.1
    assert not power.false_alarms


def test_a_check_that_rejects_everything_is_shown_for_it() -> None:
    """Catching all faults is worth nothing when the sound ones are rejected too."""
    power = measure_power(lambda candidate: False, ops=["softmax"])
    assert power.share == 1
    assert len(power.false_alarms) > 3


def test_a_sharper_check_has_more_power() -> None:
    """A check with one overflowing row catches the unshifted forms that ordinary logits do not."""

    def check(candidate: object, op: str) -> None:
        x = np.array([[1000.0, 999.0, 0.0]], np.float32)
        assert np.isfinite(candidate(x)).all()  # type: ignore[operator]

    sharper = measure_power(check, ops=["softmax"])
    assert sharper.share > measure_power("allclose:1e-2,1e-2", ops=["softmax"]).share
    assert not sharper.false_alarms


@pytest.mark.parametrize("text", ["allclose", "allclose:1", "allclose:a,b", "allclose:-1,0", "nothing", "no.module:f"])
def test_checks_that_make_no_sense_are_one_line(text: str) -> None:
    """A malformed check raises UsageError."""
    with pytest.raises(UsageError):
        measure_power(text)


def test_the_verb_reports_and_gates(capsys: pytest.CaptureFixture[str]) -> None:
    """power prints what is let through; --fail-under makes it a gate."""
    assert run(["power", "allclose:1e-5,1e-5", "--op", "logsumexp"]) == 0
    assert "lets through" in capsys.readouterr().out
    assert run(["power", "allclose:1e-5,1e-5", "--op", "logsumexp", "--fail-under", "0.9"]) == 1


def test_a_wide_tolerance_on_long_rows_passes_a_softmax_of_zeros() -> None:
    """rtol = atol = 1e-2 at 16384 classes: no probability is as large as the tolerance."""

    def check(candidate: Callable[..., Any], op: str) -> bool:
        x = np.random.default_rng(0).standard_normal((4, 16384)).astype(np.float32)
        return np.allclose(candidate(x), find("stable", op).call(x), rtol=1e-2, atol=1e-2)

    fooled = {trial.name for trial in measure_power(check, ops=["softmax"]).fooled_by}
    assert fooled == {"zeros", "uniform"}


def test_a_check_that_compares_a_value_with_itself_is_idle() -> None:
    """It passes NaN and zeros as it passes everything else; a check that looks at one sum does not."""

    def looks(candidate: Callable[..., Any], op: str) -> bool:
        return float(np.asarray(candidate(np.zeros((1, 4), np.float32))).sum()) == 1.0

    assert measure_power(lambda candidate: True, ops=["softmax"]).idle
    assert not measure_power(looks, ops=["softmax"]).idle
