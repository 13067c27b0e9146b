"""The same inputs, errors and reports on every machine: NumPy's exp and log, which differ by CPU, decide no digit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np
import pytest

from xent_verify.regimes.portable import exp, exp2, log
from xent_verify.verdict.measure import stated

LOWERED = """
import numpy._core._multiarray_umath as umath
print(" ".join(umath.__cpu_dispatch__))
"""
INPUTS = """
import hashlib
from xent_verify.regimes import plan
for op, fmt in (("softmax", "float64"), ("cross_entropy", "float32")):
    digest = hashlib.sha256()
    for batch in plan(op, fmt, profile="quick", seed=0):
        if batch.x.size <= 4096:
            for array in batch.inputs.values():
                digest.update(array.tobytes())
            digest.update(repr(sorted(batch.options.items())).encode())
    print(op, digest.hexdigest())
"""
AUDIT = """
import json
import numpy as np
import xent_verify

def constant(x, axis=-1):
    return np.full_like(x, 0.37)

regimes = ["ordinary", "wide_spread", "underflow_edge", "spikes", "profile_exp"]
made = xent_verify.audit(constant, op="softmax", dtypes=["float32"], profile="quick", regimes=regimes)
report = json.loads(made.to_json())
del report["environment"]
print(json.dumps(report))
"""


def ran(code: str, **environment: str) -> str:
    path = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("code", [INPUTS, AUDIT], ids=["inputs", "report"])
def test_a_machine_without_vector_extensions_gives_the_same(code: str) -> None:
    """With every kernel that NumPy chooses by CPU turned off: the same bits, and of a fixed answer the same report."""
    assert ran(code) == ran(code, NPY_DISABLE_CPU_FEATURES=ran(LOWERED).strip())


@pytest.mark.parametrize(
    ("function", "exact", "low", "high"),
    [
        (exp, mpmath.exp, -700.0, 700.0),
        (exp2, lambda v: mpmath.mpf(2) ** v, -1000.0, 1000.0),
        (log, mpmath.log, 1e-9, 1e9),
    ],
)
def test_portable_functions_are_within_three_ulps(
    function: Callable[[np.ndarray], np.ndarray], exact: Callable[[float], mpmath.mpf], low: float, high: float
) -> None:
    """Enough for inputs, over the whole range."""
    x = np.concatenate([np.linspace(low, high, 400), np.random.default_rng(0).uniform(low, high, 400), [1.0, 2.0, 0.5]])
    with mpmath.workprec(200):
        for value, result in zip(x.tolist(), function(x).tolist(), strict=True):
            assert abs(mpmath.mpf(result) - exact(value)) <= 3 * np.spacing(abs(result))


def test_portable_functions_keep_special_values() -> None:
    """Zero, infinity and NaN come out as they should; powers of two are exact."""
    np.testing.assert_array_equal(exp([-np.inf, 0.0, np.inf, np.nan]), [0.0, 1.0, np.inf, np.nan])
    np.testing.assert_array_equal(exp2(np.arange(-1074.0, 1024.0)), np.ldexp(1.0, np.arange(-1074, 1024)))
    assert log(1.0) == 0.0


def test_a_stated_ratio_stays_on_its_side_of_1() -> None:
    """Rounding to twelve digits neither passes nor fails anybody."""
    assert stated(1.0 + 2.0**-50) > 1
    assert stated(1.0) == 1
    assert stated(0.123456789012345) == 0.123456789012
