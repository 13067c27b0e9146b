"""Which calls become vectors: those of the regimes, cut down to a few short rows where that loses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.formats import FloatFormat, format_named
from xent_verify.core.model import Batch
from xent_verify.ops import OPS, Op, op_named
from xent_verify.regimes import PROFILES, REGIMES, plan, regimes_named
from xent_verify.vectors.case import Case, Vectors
from xent_verify.vectors.known import Known, work_out
from xent_verify.verdict.policies import Policy, parse_policy

__all__ = ["STANDARD", "STANDARD_DTYPES", "Selection", "chosen"]

STANDARD_DTYPES = ("float32", "float16", "bfloat16", "float64")

_MEMORY_ASPECTS = ("layout", "state", "sweep")
"""What a call looks like in memory, or follows, does not survive being written down."""

_BY_WIDTH = ("sizes", "long_rows", "named_sizes")
"""Regimes of row lengths: one row of each shows it."""


@dataclass(frozen=True, slots=True)
class Selection:
    """How much: 0 for a limit means all.

    ``rows`` of each call whose rows stand alone, ``longest`` result or input of one call, ``per_regime`` calls of each
    regime and dimension count.
    """

    profile: str = "quick"
    seed: int = 0
    rows: int = 0
    longest: int = 0
    per_regime: int = 0
    sizes: tuple[int, ...] = ()
    regimes: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """As plain data, for the file."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


STANDARD = Selection(rows=3, longest=40, per_regime=3)
"""The committed set."""


def chosen(
    ops: Sequence[str | Op], dtypes: Sequence[str], selection: Selection, policy: str | Policy = "standard"
) -> Vectors:
    """The calls of a selection with everything that is known of them. ``UsageError`` for what cannot be asked."""
    rule = parse_policy(policy)
    _check(ops, selection)
    cases: list[Case] = []
    for op in map(op_named, ops):
        for form in map(format_named, dtypes):
            if form.name in op.formats:
                cases.extend(_cases(op, form, selection, rule))
    if not cases:
        raise UsageError("no case is left: the limits, or the regimes named, leave out every call")
    used = {flag for case in cases for flag in case.flags}
    settings = {"policy": rule.name, **selection.describe()}
    notes = _notes() | {regime.name: regime.about for regime in regimes_named(selection.regimes)}
    return Vectors(tuple(cases), settings, {name: text for name, text in notes.items() if name in used})


def _check(ops: Sequence[str | Op], selection: Selection) -> None:
    if selection.profile not in PROFILES:
        raise UnknownNameError("profile", selection.profile, PROFILES)
    regimes_named(selection.regimes)
    for name in ("rows", "longest", "per_regime"):
        if getattr(selection, name) < 0:
            raise UsageError(f"{name} {getattr(selection, name)}: must be 0 (all) or more")
    for op in map(op_named, ops):
        if op.name not in OPS:
            raise UsageError(f"operation {op.name!r} is not in the table: vectors are made of the package's own")


def _cases(op: Op, form: FloatFormat, selection: Selection, policy: Policy) -> list[Case]:
    by_regime: dict[tuple[str, int], list[tuple[int, Batch]]] = {}
    counts: dict[str, int] = {}
    asked: dict[str, Any] = {"seed": selection.seed, "sizes": selection.sizes, "regimes": selection.regimes}
    for batch in plan(op.name, form, profile=selection.profile, **asked):
        number = counts[batch.regime] = counts.get(batch.regime, -1) + 1
        rare = op.formula is not None and not op.plain(batch)  # options that few implementations have
        if batch.aspect in _MEMORY_ASPECTS or not batch.x.size or rare:
            continue
        short = _cut(op, batch, selection, number)
        if not selection.longest or _length(op, short) <= selection.longest:
            by_regime.setdefault((batch.regime, batch.x.ndim), []).append((number, short))
    result = []
    for (regime, _), batches in by_regime.items():
        for number, batch in _spread(batches, selection.per_regime):
            known = work_out(batch, policy)
            result.append(Case(f"{op.name}.{form.name}.{regime}.{number}", _flags(op, batch, known), batch, known))
    return result


def _length(op: Op, batch: Batch) -> int:
    return max(batch.x.size, int(np.prod(op.result_shape(batch), dtype=np.int64)))


def _spread(batches: list[tuple[int, Batch]], most: int) -> list[tuple[int, Batch]]:
    """Some of them, evenly spaced, the first and the last among them."""
    if not most or len(batches) <= most:
        return batches
    return [batches[int(place)] for place in np.unique(np.linspace(0, len(batches) - 1, most).astype(np.int64))]


def _cut(op: Op, batch: Batch, selection: Selection, number: int) -> Batch:
    """Fewer rows of a two-dimensional call whose rows stand alone and are as good as one another."""
    whole_rows = batch.x.ndim == 2 and "axis" not in batch.options and op.by_row
    per_row = any(np.ndim(value) for value in batch.options.values()) and op.name != "cross_entropy"
    alone = not per_row and (op.result != "loss" or op.option(batch, "reduction") == "none")
    shown = batch.aspect in ("values", "special") or batch.regime in _BY_WIDTH or batch.regime == "probabilities"
    if not (selection.rows and whole_rows and alone and shown):
        return batch
    rows = batch.x.shape[0]
    most = 1 if batch.regime in _BY_WIDTH else selection.rows
    if rows <= most:
        return batch
    picks = [number % rows] if most == 1 else np.unique(np.linspace(0, rows - 1, most).astype(np.int64)).tolist()
    return replace(batch, inputs=op.of_rows(batch.inputs, lambda value: value[picks]))


_EXTRAS = {
    "minus_inf": "an input is -inf",
    "plus_inf_input": "an input is +inf",
    "nan_input": "an input is NaN",
    "subnormal_result": "a right answer is subnormal: it must not be flushed to zero",
    "zero_result": "a true value is so small that it rounds to 0",
    "infinite_result": "a right answer is infinite",
    "convention": "implementations differ here by design: 'special' lists what is accepted",
    "probability_target": "the targets are probabilities",
    "with_options": "options other than axis and reduction",
}


def _notes() -> dict[str, str]:
    return {regime.name: regime.about for regime in REGIMES.values()} | _EXTRAS


def _flags(op: Op, batch: Batch, known: Known) -> tuple[str, ...]:
    form = batch.form
    x, right = form.widen(batch.x), form.widen(known.answer)
    size = np.abs(right)
    target = batch.inputs.get("target")
    true = {
        "minus_inf": bool((x == -np.inf).any()),
        "plus_inf_input": bool((x == np.inf).any()),
        "nan_input": bool(np.isnan(x).any()),
        "subnormal_result": bool(((size > 0) & (size < form.smallest_normal)).any()),
        "zero_result": _any((right == 0) & (known.truth.hi != 0)),
        "infinite_result": _any(np.isinf(right)),
        "convention": bool(known.special),
        "probability_target": target is not None and target.dtype.kind not in "iu" and op.by_row,
        "with_options": any(name not in ("axis", "reduction") for name in batch.options),
    }
    return (batch.regime, *(name for name, holds in true.items() if holds))


def _any(mask: NDArray[np.bool_]) -> bool:
    return bool(np.any(mask))
