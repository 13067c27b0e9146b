"""Special values on which implementations may differ (docs/policies.md), and the profiles that fix them.

A *situation* is recognised from the batch; what the target answered is given a word ("nan", "zero", "uniform",
"limit", …). Under ``any`` each word listed for a situation is accepted, but one target must keep to one word; a named
profile accepts only its own. Anything that fits no word is a wrong special value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.failures import UnknownNameError
from xent_verify.core.formats import FORMATS, FloatArray
from xent_verify.core.model import Batch
from xent_verify.core.shapes import full
from xent_verify.ops import Op
from xent_verify.ops.limits import run
from xent_verify.ops.machine import Machine
from xent_verify.ops.op import SHARED
from xent_verify.ops.rows import Rows
from xent_verify.truth import certify

__all__ = ["PROFILES", "QUESTIONABLE", "Situation", "profile_named", "situations"]

ACCEPTED: Mapping[str, tuple[str, ...]] = {
    "all -inf": ("nan", "zero", "uniform", "-inf"),
    "all masked": ("nan", "zero", "uniform"),
    "+inf present": ("nan", "limit"),
    "mean over nothing": ("nan", "zero", "inf"),
    "mean over zero weight": ("nan", "zero", "inf"),
    "-inf under label smoothing": ("inf", "nan", "finite"),
    "zero target on -inf": ("zero times", "nan"),
    "infinite logit": ("limit", "nan"),
    "no softmax": ("nan", "inf", "-inf", "zero", "finite", "other"),
}
"""Words a situation may be answered with under ``any``."""

QUESTIONABLE: Mapping[str, str] = {
    "zero target on -inf": "a zero target on a logit of -inf gives NaN (0 times -inf)",
    "infinite logit": "an infinite logit gives NaN (0 times infinity)",
}
"""Situations in which NaN is accepted and worth a warning, and its words."""

PROFILES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "any": ACCEPTED,
    "limit": {
        "all -inf": ("uniform", "nan"),
        "+inf present": ("limit",),
        "mean over nothing": ("zero", "nan"),
        "-inf under label smoothing": ("inf",),
        "zero target on -inf": ("zero times",),
        "infinite logit": ("limit",),
    },
    "torch": {
        "all -inf": ("nan",),
        "+inf present": ("nan",),
        "mean over nothing": ("nan",),
        "-inf under label smoothing": ("inf",),
        "zero target on -inf": ("nan",),
        "infinite logit": ("nan",),
    },
    "scipy": {
        "all -inf": ("nan",),
        "+inf present": ("nan", "limit"),
        "mean over nothing": ("nan",),
        "-inf under label smoothing": ("inf",),
        "zero target on -inf": ("zero times",),
    },
}


@dataclass(frozen=True, slots=True)
class Situation:
    """One situation in one result: its name, the elements it covers, and the word for each row's answer."""

    name: str
    mask: NDArray[np.bool_]
    words: tuple[str, ...]


def profile_named(name: str) -> Mapping[str, tuple[str, ...]]:
    """The words a profile accepts per situation (those of ``any`` where it says nothing)."""
    if name not in PROFILES:
        raise UnknownNameError("special-value profile", name, PROFILES)
    return {**ACCEPTED, **PROFILES[name]}


def situations(op: Op, batch: Batch, observed: FloatArray, truth_hi: FloatArray) -> list[Situation]:
    """The conventions this result takes part in. ``observed`` and ``truth_hi`` have the result's shape."""
    with np.errstate(all="ignore"):
        if op.result == "elements" and op.by_row and len(op.inputs) == 1 and not op.counted:
            return _row_situations(op, batch, observed, truth_hi)
        found = _smoothed(op, batch, observed, truth_hi)
        found += _loss_situations(op, batch, observed, truth_hi) if op.name == "cross_entropy" else []
        found += _infinite_logits(op, batch, observed, truth_hi) if op.result == "loss" and not op.by_row else []
        found += _of_nothing(op, batch, observed, truth_hi)
        return found + _unsound(op, batch, observed, truth_hi, found)


def _unsound(
    op: Op, batch: Batch, observed: FloatArray, truth_hi: FloatArray, found: list[Situation]
) -> list[Situation]:
    """Results that would need the softmax of a row that has none (+inf, or nothing finite), without a NaN that could show."""
    mask = np.isnan(truth_hi)
    for situation in found:
        mask &= ~situation.mask
    beside = _beside_nan(op, batch, truth_hi.shape) if mask.any() else mask
    if (mask & beside & ~np.isnan(observed)).any():  # undefined whatever stands in place of NaN
        inputs = {name: _without_nan(value) for name, value in batch.inputs.items()}
        beside = beside & ~np.isnan(certify(replace(batch, inputs=inputs)).hi)
    mask &= ~beside
    if not mask.any():
        return []
    return [Situation("no softmax", mask, tuple(_plain_word(value) for value in observed[mask]))]


def _without_nan(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """0 in place of NaN."""
    nan = np.isnan(values.astype(np.float64))
    return np.where(nan, np.zeros((), values.dtype), values) if nan.any() else values


def _beside_nan(op: Op, batch: Batch, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which elements of a result are of rows with a NaN among the inputs; all of them of a result without rows."""
    view = Rows.of_call(op, batch)
    rows = np.zeros(view.count, np.bool_)
    for name, value in batch.inputs.items():
        nan = np.isnan(value.astype(np.float64))
        rows |= np.any(nan) if op.inputs[name] in SHARED else view.touched(nan)
    if op.whole(batch):
        return np.full(shape, bool(rows.any()))
    if shape == view.outer:
        return np.asarray(view.back(rows))
    if len(shape) == len(view.shape) and view.axis is not None:
        return full(np.expand_dims(view.back(rows), view.axis), shape)
    return np.full(shape, bool(rows.any()))


def _of_nothing(op: Op, batch: Batch, observed: FloatArray, truth_hi: FloatArray) -> list[Situation]:
    """NaN in the gradient of a result that is itself undefined, where the gradient is not: that of masked logits is 0.

    So is that of an ignored row, which many multiply by 0: NaN where the row has no softmax.
    """
    mask = np.isnan(observed) & ~np.isnan(truth_hi)
    forward = op.differentiates
    if forward is None or not mask.any():
        return []
    if forward.result != op.result:
        if not op.labels or mask.shape != batch.x.shape:
            return []
        mask &= (_ignored(op, batch) & ~np.isfinite(batch.x.astype(np.float64)).all(axis=-1))[:, None]
        return [Situation("no softmax", mask, ("nan",))] if mask.any() else []
    inputs = {name: value for name, value in batch.inputs.items() if name in forward.inputs}
    mask &= _undefined(forward, replace(batch, op=forward.name, inputs=inputs))
    return [Situation("no softmax", mask, ("nan",))] if mask.any() else []


def _ignored(op: Op, batch: Batch) -> NDArray[np.bool_]:
    """Which rows have the label that is ignored."""
    name = op.option_of("ignored_label")
    labels = batch.inputs.get(op.labels)
    if not name or labels is None or labels.dtype.kind not in "iu":
        return np.zeros(batch.x.shape[:1], np.bool_)
    return np.asarray(labels.astype(object) == int(op.option(batch, name)))


def _undefined(op: Op, batch: Batch) -> NDArray[np.bool_]:
    """Where the first algorithm of an operation, in float64, gives NaN."""
    machine = Machine(*(FORMATS["float64"],) * 3)
    return np.asarray(np.isnan(run(op, next(iter(op.algorithms)), batch, machine)))


def _row_situations(op: Op, batch: Batch, observed: FloatArray, truth_hi: FloatArray) -> list[Situation]:
    axis = int(op.option(batch, "axis")) if "axis" in op.options else -1
    masks = [v for k, v in batch.options.items() if op.options[k].kind == "mask" and v is not None]
    x = batch.x.astype(np.float64)
    for mask in masks:
        x = np.where(mask, x, -np.inf)
    x = np.moveaxis(x, axis, -1)
    y, t = np.moveaxis(observed, axis, -1), np.moveaxis(truth_hi, axis, -1)
    logs = op.name.startswith("log")
    found = []
    empty = x.shape[-1] == 0
    has_nan = np.isnan(x).any(axis=-1)
    all_minus = (x == -np.inf).all(axis=-1) & (not empty)
    plus = (x == np.inf).any(axis=-1) & ~has_nan
    for name, rows in (("all masked" if masks else "all -inf", all_minus), ("+inf present", plus)):
        rows = rows & np.isnan(t).any(axis=-1)
        if not rows.any():
            continue
        words = tuple(_row_word(name, a, b, logs=logs) for a, b in zip(x[rows], y[rows], strict=True))
        mask = full(rows[..., None], x.shape) & np.isnan(t)
        found.append(Situation(name, np.moveaxis(mask, -1, axis), words))
    return found


def _row_word(name: str, x: FloatArray, y: FloatArray, *, logs: bool) -> str:
    """What one row answered."""
    if np.isnan(y).all():
        return "nan"
    top = x == np.inf
    if name != "+inf present":
        if (y == -np.inf).all() and logs:
            return "-inf"
        if (y == 0).all():
            return "zero"
        return "uniform" if _near(y, -np.log(len(y)) if logs else 1 / len(y)) else "other"
    share = -np.log(top.sum()) if logs else 1 / top.sum()
    rest = (y[~top] == (-np.inf if logs else 0)).all()
    return "limit" if rest and _near(y[top], share) else "nan" if np.isnan(y[top]).all() and rest else "other"


def _near(values: FloatArray, wanted: float) -> bool:
    return bool(np.all(np.abs(values - wanted) <= 0.07 * abs(wanted) + 1e-12))


def _loss_situations(op: Op, batch: Batch, observed: FloatArray, truth_hi: FloatArray) -> list[Situation]:
    x, target = batch.x.astype(np.float64), batch.inputs["target"]
    found = []
    reduction = str(op.option(batch, "reduction"))
    smoothing = float(op.option(batch, "label_smoothing"))
    clean = not (np.isnan(x).any() or (x == np.inf).any() or (x == -np.inf).all(axis=1).any())
    if reduction == "mean" and np.isnan(truth_hi).all() and clean:
        name = "mean over zero weight" if smoothing > 0 and _any_live(batch) else "mean over nothing"
        found.append(_single(name, observed, "zero" if observed == 0 else _plain_word(observed)))
    if target.ndim == 2 and smoothing == 0 and clean:
        hit = ((x == -np.inf) & (target.astype(np.float64) == 0)).any(axis=1)
        mask = (hit if reduction == "none" else np.asarray(hit.any())) & np.isfinite(truth_hi)
        if np.any(mask & np.isnan(observed)):
            found.append(Situation("zero target on -inf", mask & np.isnan(observed), ("nan",)))
    return found


def _smoothed(op: Op, batch: Batch, observed: FloatArray, truth_hi: FloatArray) -> list[Situation]:
    """A loss that is infinite where the labels are smoothed: a class of probability 0 has a share of every target."""
    shares = [name for name, option in op.options.items() if option.kind == "share"]
    mask = np.isposinf(truth_hi)
    smoothed = op.result == "loss" and op.by_row and any(float(op.option(batch, name)) > 0 for name in shares)
    if not (smoothed and mask.any()):
        return []
    words = tuple(_plain_word(value) for value in np.atleast_1d(observed[mask]))
    return [Situation("-inf under label smoothing", mask, words)]


def _infinite_logits(op: Op, batch: Batch, observed: FloatArray, truth_hi: FloatArray) -> list[Situation]:
    """NaN of a loss of single numbers at an infinite one, where its limit is 0 or infinite: max(x, 0) - x y is inf - inf.

    An infinity of either sign where the target is no probability: the terms are infinities of both signs.
    """
    where = np.isinf(batch.x.astype(np.float64))
    whole = str(op.option(batch, "reduction")) != "none"
    mask = (where.any() if whole else where) & np.isnan(observed) & ~np.isnan(truth_hi)
    found = [Situation("infinite logit", mask, ("nan",))] if mask.any() else []
    name = op.named("probabilities")
    if name:
        y = batch.inputs[name].astype(np.float64)
        odd = where & ((y < 0) | (y > 1))
        mask = (odd.any() if whole else odd) & np.isinf(observed) & np.isinf(truth_hi) & (observed != truth_hi)
        found += [Situation("no softmax", mask, ("inf",))] if mask.any() else []
    return found


def _any_live(batch: Batch) -> bool:
    """Some target counts, so that with smoothing the sum over rows need not be 0 where the weights of the targets are."""
    ignored = int(batch.options.get("ignore_index", -100))
    return bool((batch.inputs["target"].astype(object) != ignored).any())


def _single(name: str, observed: FloatArray, word: str) -> Situation:
    return Situation(name, np.ones(observed.shape, np.bool_), (word,))


def _plain_word(value: float | FloatArray) -> str:
    return "nan" if np.isnan(value) else "inf" if np.isposinf(value) else "finite" if np.isfinite(value) else "other"
