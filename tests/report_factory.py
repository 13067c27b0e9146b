"""Made-up reports with everything in them: overflow, NaN, long rows, every float format, odd options."""

from __future__ import annotations

import numpy as np

from xent_verify.core.formats import FORMATS
from xent_verify.core.model import DtypeResult, Example, Finding, RegimeResult, Report, TargetResult
from xent_verify.verdict.measure import ERROR_EDGES, MAGNITUDE_EDGES

REGIMES = ("ordinary", "exp_overflow_edge", "huge_offset", "dominated", "long_stall", "masked_suffix")


def example(dtype: str = "float32", *, values=(89.0,), op: str = "softmax", **changes) -> Example:
    """One logit past the overflow edge, as the naive softmax meets it."""
    row = FORMATS[dtype].narrow([list(values)])
    inputs = {"x": row} if op == "softmax" else {"logits": row, "target": np.array([0])}
    fields = {
        "inputs": inputs,
        "options": {},
        "layout": "C",
        "index": (0, 0),
        "true_digits": "1.00000000000000000000000000000",
        "rounded": 1.0,
        "observed": float("nan"),
        "error_ulp": None,
        "bound_ratio": None,
    }
    return Example(**(fields | changes))


def odd_example(dtype: str) -> Example:
    """Everything that is hard to carry: signed zeros, NaN, infinities, subnormals, runs, arrays among the options."""
    form = FORMATS[dtype]
    specials = [0.0, -0.0, form.smallest_subnormal, -form.max_finite, float("-inf"), float("nan"), *[0.1] * 300]
    with np.errstate(all="ignore"):
        row = np.array(specials).astype(form.dtype).reshape(2, -1)
    options = {"axis": 0, "weight": form.narrow([0.25, 1.0]), "label_smoothing": 0.1, "reduction": "none", "none": None}
    return example(
        dtype,
        inputs={"logits": row, "target": np.array([1, -100])},
        options=options,
        layout="strided",
        index=(1, 152),
        rounded=-0.0,
        observed=float("-inf"),
        error_ulp=float("inf"),
        bound_ratio=0.1,
    )


def finding(kind: str = "overflow", severity: str = "fail", **changes) -> Finding:
    fields = {
        "kind": kind,
        "severity": severity,
        "message": "softmax([89]) in float32 should be 1, was nan",
        "count": 120,
        "cases": 4000,
        "regimes": ("exp_overflow_edge", "huge_offset"),
        "minimal": example(),
        "worst": example(values=(3.4e38, -3.4e38)),
        "diagnosis": "exp overflows: the maximum is not subtracted first",
        "script": "import numpy as np\nx = np.array([float.fromhex('0x1.64p+6')], np.float32)\nprint(np.exp(x))\n",
    }
    return Finding(**(fields | changes))


def regime(name: str, rng: np.random.Generator, *, scale: float = 1.0, broken: int = 0) -> RegimeResult:
    """Errors log-normal around ``scale`` ulps, magnitudes spread; ``broken`` cases in class overflow."""
    errors = np.abs(rng.normal(0, 0.35 * scale, 800))
    magnitudes = rng.normal(-6, 10, 800)
    histogram, _, _ = np.histogram2d(errors, magnitudes, bins=(ERROR_EDGES, MAGNITUDE_EDGES))
    return RegimeResult(
        regime=name,
        cases=800 + broken,
        correctly_rounded=int((errors <= 0.5).sum()),
        max_ulp=float(errors.max()),
        max_bound_ratio=float(errors.max() / 4),
        histogram=histogram.astype(np.int64),
        classes={"overflow": broken, "nan": broken // 2} if broken else {},
        tiers=(3, 700, 90, 7),
        worst=example(error_ulp=float(errors.max()), bound_ratio=float(errors.max() / 4), observed=0.5),
        length_max={n: float(errors.max() * (1 + np.log2(n) / 20)) for n in (1, 2, 3, 17, 128, 1000, 4096)},
        measures={"max_absolute_error": float(errors.max()) * 1e-7, "argmax_flips": float(broken)},
    )


def dtype_result(dtype: str, rng: np.random.Generator, *, naive: bool, regimes=REGIMES) -> DtypeResult:
    parts = []
    for position, name in enumerate(regimes):
        bad = naive and name in ("exp_overflow_edge", "huge_offset")
        parts.append(regime(name, rng, scale=(1 + position) * (300 if bad else 1), broken=120 if bad else 0))
    classes: dict[str, int] = {}
    for part in parts:
        for key, count in part.classes.items():
            classes[key] = classes.get(key, 0) + count
    return DtypeResult(
        dtype=dtype,
        cases=sum(part.cases for part in parts),
        max_ulp=max(part.max_ulp for part in parts),
        max_bound_ratio=max(part.max_bound_ratio for part in parts),
        classes=classes,
        signs=(finding(), finding("inaccurate", "warn", minimal=None)) if naive else (),
        regimes=tuple(parts),
        offered={"axis": True, "weight": False},
        unasked=("no subnormal result was reached",),
    )


def report(*, targets=None, dtypes=("float32", "bfloat16"), ops=("softmax", "cross_entropy"), seed: int = 0) -> Report:
    """Naive and stable side by side; the naive one fails."""
    rng = np.random.default_rng(seed)
    settings = {"policy": "standard", "seed": seed, "profile": "quick", "special": "any", "flush": "auto"}
    names = targets or {"softmax": ("naive_softmax", "shifted_softmax"), "cross_entropy": ("ce_of_p", "stable_ce")}
    results = tuple(
        TargetResult(name, op, tuple(dtype_result(d, rng, naive=position == 0) for d in dtypes), settings)
        for op in ops
        for position, name in enumerate(names[op])
    )
    environment = {"python": "3.11.7", "numpy": "2.4.6", "machine": "x86_64", "seconds": 12.5}
    return Report(results, environment)


def passing() -> Report:
    """One clean target."""
    rng = np.random.default_rng(1)
    clean = dtype_result("float32", rng, naive=False)
    return Report((TargetResult("shifted_softmax", "softmax", (clean,), {"seed": 0}),), {})
