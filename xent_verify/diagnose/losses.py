"""Mistakes around a right log p: targets, ignored rows, weights, smoothing, reductions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np

from xent_verify.core.formats import FloatArray
from xent_verify.diagnose.case import Array, Case, Prediction
from xent_verify.diagnose.mistake import Mistake
from xent_verify.implementations.targets import Coefficients, Task, coefficients

__all__ = ["MISTAKES", "class_ids", "row_losses"]

_BLOCKS = (8, 16, 32, 64, 128, 256, 512, 1024)


def _instead(case: Case, **changes: Any) -> FloatArray | None:
    """The right loss of a call that differs in some arguments; None where such a call has no answer."""
    try:
        return case.loss(case.log_p, coefficients(replace(case.task, **changes), case.dtype))
    except IndexError:
        return None


def _said(words: str, value: FloatArray | None) -> Iterator[Prediction]:
    if value is not None:
        yield words, value


def class_ids(case: Case) -> tuple[Array, Array]:
    """(class ids, which rows count)."""
    ids = case.task.target.astype(np.int64)
    return ids, ids != case.task.ignore_index


def _relabelled(case: Case, ids: Array) -> FloatArray | None:
    _, live = class_ids(case)
    n = case.rows.shape[1]
    kept = np.where(live, ids, -1)
    inside = (kept >= -n) & (kept < n)
    kept = np.where(live, np.where(inside, kept % n, 0), -100)
    return _instead(case, target=kept, ignore_index=-100)


def _ids_rounded(case: Case, own: bool) -> Iterator[Prediction]:
    """Class ids kept in the logits' own format, or in another floating one."""
    for kind in (np.float16, ml_dtypes.bfloat16, np.float32):
        dtype = np.dtype(kind)
        if (dtype == case.own) == own:
            ids = class_ids(case)[0].astype(dtype).astype(np.int64)
            yield from _said(f"class ids rounded to {dtype.name}", _relabelled(case, ids))


def _ids_changed(case: Case) -> Iterator[Prediction]:
    """Class ids that wrap or are rounded in another type."""
    if case.task.soft:
        return
    ids, _ = class_ids(case)
    n = case.rows.shape[1]
    yield from _ids_rounded(case, own=True)
    for name in ("int16", "uint16", "int8", "uint8"):
        yield from _said(f"class ids kept as {name}", _relabelled(case, ids.astype(name).astype(np.int64) % n))
    flat = np.arange(len(ids)) * n
    kind = case.task.target.dtype
    wrapped = (flat.astype(kind) + case.task.target).astype(np.int64)
    yield from _said(f"row · C + id computed in {kind}", _relabelled(case, wrapped % n))


def _ids_shifted(case: Case) -> Iterator[Prediction]:
    """Class ids off by one, or rounded in a format that is not the logits' own."""
    if case.task.soft:
        return
    ids, _ = class_ids(case)
    n = case.rows.shape[1]
    yield from _ids_rounded(case, own=False)
    for step in (1, -1):
        yield from _said(
            f"class ids {'one too high' if step == 1 else 'one too low'}", _relabelled(case, (ids + step) % n)
        )
    yield from _said("class ids clipped to C - 2", _relabelled(case, np.minimum(ids, max(n - 2, 0))))


def _square(case: Case) -> Iterator[Prediction]:
    """Samples and classes mistaken for one another where N = C."""
    task, (count, n) = case.task, case.rows.shape
    if task.soft or count != n:
        return
    ids, live = class_ids(case)
    safe = np.where(live, ids, 0) % n
    crossed = np.where(live, -case.log_p[safe, np.arange(count)], 0)
    yield "-log p[target, row] in place of -log p[row, target]", case.reduced(crossed)
    spread = np.broadcast_to(ids.astype(case.dtype), case.log_p.shape)
    yield "class ids taken for a row of probabilities", case.reduced(-(spread * case.log_p).sum(axis=1), count)
    if task.weight is not None:
        plain = np.where(live, -case.log_p[np.arange(count), safe], 0)
        weight = np.where(live, task.weight.astype(case.dtype), 0)
        yield "the weights taken per sample", case.reduced(plain * weight, weight.sum())


def _ignoring(case: Case) -> Iterator[Prediction]:
    """Which rows are ignored."""
    task = case.task
    if task.soft:
        return
    ids, live = class_ids(case)
    n, given = case.rows.shape[1], task.ignore_index
    wrapped = np.where(live, ids, ids % n)
    none = -(2**62)
    yield from _said("ignored rows counted, their id taken modulo C", _instead(case, target=wrapped, ignore_index=none))
    for name, other in (("0", 0), (f"C - 1 = {n - 1}", n - 1)):
        counted = np.where(live, ids, other)
        yield from _said(f"ignored rows counted as class {name}", _instead(case, target=counted, ignore_index=none))
    for fixed in (-100, -1, 0, 255, n - 1):
        if fixed != given:
            kept = np.where((ids < 0) & (ids != fixed), ids % n, ids)
            yield from _said(f"ignore_index taken as {fixed}", _instead(case, target=kept, ignore_index=fixed))
            both = np.where(ids == fixed, given, ids)
            yield from _said(f"rows of class {fixed} ignored, too", _instead(case, target=both))
    kind = task.target.dtype
    cast = int(np.array(given).astype(kind).astype(np.int64))
    yield from _said(f"ignore_index converted to {kind} ({cast})", _instead(case, ignore_index=cast))


def _ignored_part(case: Case) -> Iterator[Prediction]:
    """Ignored rows that keep a part in the loss or in its divisor."""
    task = case.task
    if task.soft:
        return
    ids, live = class_ids(case)
    n, count, terms = case.rows.shape[1], len(ids), case.terms_of_loss
    safe = np.where(live, ids, 0) % n
    weight = np.ones(n, case.dtype) if task.weight is None else task.weight.astype(case.dtype)
    share = case.dtype.type(task.label_smoothing)
    hard = np.where(live, -weight[safe] * case.log_p[np.arange(count), safe], 0)
    even = -(weight * case.log_p).sum(axis=1) / n
    right = case.loss(case.log_p, reduction="none") if count > 1 or task.reduction != "none" else None
    losses = None if right is None else right.astype(case.dtype)
    yield "the smoothing term of ignored rows counted", case.reduced((1 - share) * hard + share * even)
    if losses is None or losses.shape != (count,):
        return
    total = losses.sum()
    divisors: list[tuple[str, Any]] = [
        ("all rows, ignored ones included", count),
        ("the sum of weights with ignored rows as class 0", weight[safe].sum()),
        ("the sum of weights with ignored rows modulo C", weight[ids % n].sum()),
        ("the sum of all class weights", weight.sum()),
        ("N times C", count * n),
        ("C", n),
    ]
    if task.reduction == "mean":
        yield "the sum, not divided", case.placed(total)
        for name, divisor in divisors:
            yield f"the sum divided by {name}", case.placed(np.asarray(total / case.dtype.type(divisor)))
        yield "0 for a mean over nothing", case.placed(np.asarray(0.0))
    if task.reduction == "sum":
        mean = total / terms.masses.sum()
        yield "the mean", case.placed(np.asarray(mean))
        yield "the mean times N", case.placed(np.asarray(mean * case.dtype.type(count)))


def _zero_times(case: Case) -> Iterator[Prediction]:
    """Zero coefficients that are multiplied in place of being left out."""
    terms = case.terms_of_loss
    divisor = len(case.rows) if case.task.soft else None
    if not case.task.label_smoothing:
        hidden = np.where(np.isinf(case.log_p).any(axis=1), np.nan, 0)
        kept = np.where(terms.live, row_losses(case) + hidden, 0)
        yield "0·inf from a smoothing term that is switched off", case.reduced(kept, divisor)
    products = (terms.q * -case.log_p).sum(axis=1)
    yield "0·inf or 0·NaN of zero targets, weights or ignored rows", case.reduced(products, divisor)
    yield "0·inf or 0·NaN within rows that count", case.reduced(np.where(terms.live, products, 0), divisor)


def _weighting(case: Case) -> Iterator[Prediction]:
    task = case.task
    if task.weight is None:
        return
    wide = task.weight.astype(np.float64)
    yield from _said("the loss without weights", _instead(case, weight=None))
    yield from _said("the loss with weights scaled to mean 1", _instead(case, weight=wide / wide.mean()))
    yield from _said("the loss with weights scaled to sum 1", _instead(case, weight=wide / wide.sum()))
    yield from _said("the loss with the weights squared", _instead(case, weight=wide**2))
    terms = case.terms_of_loss
    live = terms.live.astype(case.dtype)
    counted = Coefficients(terms.q, terms.live, live, terms.masses_are_weights)
    yield "the weighted sum divided by the number of rows", case.loss(case.log_p, counted)
    plain = coefficients(replace(task, weight=None), case.dtype)
    mixed = Coefficients(plain.q, terms.live, terms.masses, terms.masses_are_weights)
    yield "weights in the divisor only", case.loss(case.log_p, mixed)
    if task.soft:
        masses = (task.target.astype(case.dtype) * task.weight.astype(case.dtype)).sum(axis=1)
        yield "the sum divided by Σ y·w", case.loss(case.log_p, Coefficients(terms.q, terms.live, masses, True))
    share = task.label_smoothing / case.rows.shape[1]
    if share and not task.soft:
        even = terms.q + np.where(terms.live[:, None], share * (1 - wide), 0)
        yield "the uniform part of the smoothing without weights", case.loss(case.log_p, replace(terms, q=even))
        ids, _ = class_ids(case)
        own = wide[np.where(terms.live, ids, 0)][:, None]
        scaled = terms.q + np.where(terms.live[:, None], share * (own - wide), 0)
        yield (
            "the uniform part of the smoothing weighted by the target's weight",
            case.loss(case.log_p, replace(terms, q=scaled)),
        )


def _smoothing(case: Case) -> Iterator[Prediction]:
    task, n = case.task, case.rows.shape[1]
    epsilon = task.label_smoothing
    if not epsilon:
        return
    yield from _said("the loss without smoothing", _instead(case, label_smoothing=0.0))
    weight = np.ones(n) if task.weight is None else task.weight.astype(np.float64)
    terms = case.terms_of_loss
    live = terms.live[:, None]

    def added(share: Array | float, base: Coefficients = terms) -> FloatArray:
        return case.loss(case.log_p, replace(base, q=base.q + np.where(live, share * weight, 0)))

    if n > 1:
        hardened = coefficients(replace(task, label_smoothing=epsilon * n / (n - 1)), case.dtype)
        yield "ε / (C - 1) for the other classes, 1 - ε for the target", case.loss(case.log_p, hardened)
        yield "ε / (C - 1) for every class", added(epsilon / (n - 1) - epsilon / n)
    for block in _BLOCKS:
        if n % block and n > block:
            padded = -(-n // block) * block
            yield f"ε divided by {padded} (C filled up to a multiple of {block})", added(epsilon / padded - epsilon / n)
    for parts in (2, 4, 8):
        if n >= 2 * parts:
            even = [np.arange(n)[k * (n // parts) : (k + 1) * (n // parts)] for k in range(parts)]
            uneven = np.array_split(np.arange(n), parts) if n % parts else []
            for part, place in (*enumerate(even), *enumerate(uneven)):
                inside = np.isin(np.arange(n), place)
                words = f"the smoothing term over part {part + 1} of {parts} of the classes"
                yield f"{words} (mean)", added(np.where(inside, epsilon / len(place), 0) - epsilon / n)
                yield f"{words} (sum / C)", added(np.where(inside, epsilon / n, 0) - epsilon / n)
    if not task.soft and 0 <= task.ignore_index < n:
        blank = terms.q.copy()
        blank[:, task.ignore_index] = 0
        yield "the class ignore_index left out of the smoothing", case.loss(case.log_p, replace(terms, q=blank))
    yield "1 in place of 1 - ε", case.loss(case.log_p, replace(terms, q=terms.q + _target_part(task, terms, epsilon)))
    yield "ε in place of ε / C", added(epsilon - epsilon / n)


def _target_part(task: Task, terms: Coefficients, scale: float) -> Array:
    hard = coefficients(replace(task, label_smoothing=0.0), terms.q.dtype)
    return np.asarray(scale * hard.q)


def row_losses(case: Case) -> Array:
    terms = case.terms_of_loss
    with np.errstate(all="ignore"):
        return np.where(terms.live, np.where(terms.q == 0, 0, terms.q * -case.log_p).sum(axis=1), 0)


def _probabilities(case: Case) -> Iterator[Prediction]:
    """Probability targets treated as something else."""
    task = case.task
    if not task.soft:
        return
    yield from _said(
        "the loss of the most probable class", _instead(case, target=task.target.astype(np.float64).argmax(axis=1))
    )
    yield from _said("the loss without smoothing", _instead(case, label_smoothing=0.0))
    y = task.target.astype(case.dtype)
    yield "the mean over all N·C products", case.reduced(row_losses(case), y.size)
    entropy = np.where(y > 0, y * np.log(np.where(y > 0, y, 1)), 0).sum(axis=1)
    yield "KL divergence: Σ y·log y added", case.reduced(row_losses(case) + entropy, len(y))
    yield "targets scaled to sum 1", case.reduced(row_losses(case) / y.sum(axis=1), len(y))


MISTAKES: tuple[Mistake, ...] = tuple(
    Mistake(key, sentence, model, "loss", whole=True, special=key == "zero-times-infinity")
    for key, sentence, model in (
        ("zero-times-infinity", "0 is multiplied by an infinity or NaN", _zero_times),
        ("class-ids", "class ids are changed on the way", _ids_changed),
        ("square", "samples and classes are mixed up where there are as many of each", _square),
        ("ignore-index", "the wrong rows are ignored", _ignoring),
        ("ignored-rows", "ignored rows, or the divisor of the mean, are counted wrongly", _ignored_part),
        ("weights", "class weights are applied wrongly", _weighting),
        ("smoothing", "label smoothing is applied wrongly", _smoothing),
        ("probability-targets", "probability targets are treated as something else", _probabilities),
        ("class-ids", "class ids are changed on the way", _ids_shifted),
    )
)
