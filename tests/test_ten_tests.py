"""The ten rewritten tests: what docs/tests.md says of zeros, and that sound kernels pass both forms."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = runpy.run_path(str(ROOT / "examples" / "ten_tests.py"))
PAGE = (ROOT / "docs" / "tests.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", SCRIPT["CASES"], ids=lambda case: case.op)
def test_zeros_pass_the_guessed_tolerance_and_fail_the_derived_limit(case: Any) -> None:
    zeros = np.zeros_like(case.right())
    case.guessed(zeros)
    with pytest.raises(AssertionError):
        case.derived(zeros)
    assert f"| {case.title} | rtol {case.rtol:g}, atol {case.atol:g} | pass | fail |" in PAGE


@pytest.mark.parametrize("case", SCRIPT["CASES"], ids=lambda case: case.op)
def test_a_sound_kernel_passes_both(case: Any) -> None:
    case.guessed(case.right())
    case.derived(case.right())
