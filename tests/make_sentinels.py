"""Finds hard cases for certified truth and stores them: ``python tests/make_sentinels.py`` rewrites data/sentinels.json.

Three kinds, over every op and format: values closest to a rounding boundary, values left by the deepest cancellation,
and values on which a fast tier errs most in units of its bound. Each is stored with its row and the true value to 500
bits (from Arb at 1000).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from arb_truth import _answers
from flint import arb, ctx

from xent_verify.core.enclosure import Enclosure
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch
from xent_verify.regimes import plan
from xent_verify.truth import certify

OPS = (
    "softmax",
    "log_softmax",
    "logsumexp",
    "cross_entropy",
    "cross_entropy_grad",
    "sigmoid",
    "log_sigmoid",
    "binary_cross_entropy_with_logits",
)
DATA = Path(__file__).parent / "data" / "sentinels.json"
BITS = 500


@dataclass(frozen=True)
class Case:
    """One element of one row."""

    kind: str
    score: float
    batch: Batch
    position: int


def usable(batch: Batch) -> Batch | None:
    """2-D batches of short rows with default options but smoothing, one answer per row or logit."""
    known = set(batch.options) <= {"label_smoothing", "reduction"}
    if batch.x.ndim != 2 or not batch.x.size or not 1 < batch.x.shape[1] <= 16 or not known:
        return None
    if "target" in batch.inputs and batch.inputs["target"].shape[0] != batch.x.shape[0]:
        return None
    reduced = batch.op in ("cross_entropy", "binary_cross_entropy_with_logits")
    options = {key: value for key, value in batch.options.items() if key != "reduction"}
    return replace(batch, options=options | ({"reduction": "none"} if reduced else {}))


def row_batch(batch: Batch, r: int) -> Batch:
    """One row of a batch."""
    return replace(batch, inputs={name: value[r : r + 1] for name, value in batch.inputs.items()})


def true_value(batch: Batch, position: int) -> arb:
    """Element of a one-row batch as a ball."""
    values = [np.asarray(v) for v in batch.inputs.values()]
    return _answers(batch, values, values[0][0].astype(np.float64).tolist(), 0)[position]


def scores(batch: Batch, enclosure: Enclosure) -> Iterator[Case]:
    """Every element's hardness, of the first two kinds."""
    flat = enclosure.reshape(-1)
    units = flat.units(batch.fmt)
    with np.errstate(all="ignore"):
        boundary = np.abs((units.head - np.floor(units.head) - 0.5) + units.tail)
        interesting = (flat.tier != 0) & (units.head > 0.25) & (boundary > 0) & (units.head < 2.0**60)
        width = flat.size // batch.x.shape[0]
        for position in np.flatnonzero(interesting & (boundary < 2.0**-12)):
            row = row_batch(batch, position // width)
            yield Case("boundary", float(boundary[position]), row, int(position % width))
        if batch.op in ("logsumexp", "cross_entropy_grad"):
            scale = np.abs(np.where(np.isfinite(batch.x.astype(float)), batch.x.astype(float), 0)).max(axis=1)
            left = np.abs(flat.to_float64()) / np.repeat(np.minimum(scale, 1.0) + 1e-300, width)
            for position in np.flatnonzero((flat.tier != 0) & (left > 0) & (left < 2.0**-20)):
                row = row_batch(batch, position // width)
                yield Case("cancellation", float(left[position]), row, int(position % width))


def errs_most(batch: Batch, enclosure: Enclosure) -> Iterator[Case]:
    """Elements of fast tiers by |true - centre| / radius."""
    flat = enclosure.reshape(-1)
    width = flat.size // batch.x.shape[0]
    ctx.prec = 300
    for position in np.flatnonzero((flat.tier == 1) | (flat.tier == 2))[:400]:
        row = row_batch(batch, position // width)
        ball = true_value(row, int(position % width)) * arb(2) ** -int(flat.exponent[position])
        radius = flat.radius[position].item()
        if 0 < radius < 2.0**-30:
            error = abs(ball - flat.hi[position].item() - arb(flat.lo[position].item()))
            yield Case("error", -float(error.mid()) / radius, row, int(position % width))


def stored(case: Case) -> dict[str, Any]:
    """A case as JSON: raw bits of the inputs, the value as mantissa (hex) and exponent."""
    ctx.prec = 2 * BITS
    mantissa, exponent = true_value(case.batch, case.position).mid().man_exp()
    excess = abs(int(mantissa)).bit_length() - BITS
    digits = int(mantissa) if excess <= 0 else (int(mantissa) + (1 << (excess - 1))) >> excess
    form = FORMATS[case.batch.fmt]
    inputs = {}
    for name, value in case.batch.inputs.items():
        floats = value.dtype.kind not in "iub"
        inputs[name] = {"bits": form.to_bits(value[0]).tolist()} if floats else {"label": int(value[0])}
    return {
        "kind": case.kind,
        "op": case.batch.op,
        "fmt": case.batch.fmt,
        "inputs": inputs,
        "options": dict(case.batch.options),
        "element": case.position,
        "mantissa": hex(digits),
        "exponent": int(exponent) + max(excess, 0),
        "regime": case.batch.regime,
    }


def hardest(op: str, fmt: str, each: int = 3) -> list[Case]:
    """The hardest cases of each kind among an audit's quick batches, one per row at most."""
    found: dict[str, list[Case]] = {"boundary": [], "cancellation": [], "error": []}
    for seed in range(3):
        for batch in plan(op, fmt, profile="quick", seed=seed):
            chosen = usable(batch)
            if chosen is None:
                continue
            enclosure = certify(chosen)
            for case in (*scores(chosen, enclosure), *(errs_most(chosen, enclosure) if not seed else ())):
                found[case.kind].append(case)
    best = []
    for cases in found.values():
        unique = {case.batch.x.tobytes(): case for case in sorted(cases, key=lambda c: -c.score)}
        best += sorted(unique.values(), key=lambda c: c.score)[:each]
    return best


def main() -> None:
    """Search and store."""
    cases = [stored(case) for op in OPS for fmt in FORMATS for case in hardest(op, fmt)]
    DATA.parent.mkdir(exist_ok=True)
    DATA.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    print(f"{len(cases)} cases in {DATA.name}")


if __name__ == "__main__":
    main()
