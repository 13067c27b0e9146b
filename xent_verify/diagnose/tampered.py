"""Mistakes as changes of one step: any algorithm of any operation, read on floats with a verb that does something else.

A change is ``change(a, right, *arguments)``: the reading, what the verb does by itself, and what it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np

from xent_verify.diagnose import merges
from xent_verify.diagnose.case import Array, Case
from xent_verify.diagnose.inputs import FILLED, MASK_FILLED
from xent_verify.ops.floats import Floats, Number
from xent_verify.ops.forms import LOG2_E
from xent_verify.ops.machine import Machine

__all__ = ["CAPS", "EPSILONS", "STARTS", "STEPS", "WIDTHS", "Changes", "Tampered", "Variants"]

Changes = Mapping[str, Callable[..., Any]]

EPSILONS = (
    1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 2.0**-23, 2.0**-24, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15,
    2.0**-52, 1e-16, 1e-18, 1e-20, 1e-24, 1e-30, 1e-35, 1e-37, 1e-38, 2.0**-126, 1e-40, 1e-45, 2.0**-149,
    1e-100, 1e-300, 2.0**-1022,
)  # fmt: skip
CAPS = (
    5.0, 8.0, 10.0, 15.0, 16.0, 20.0, 30.0, 50.0, 60.0, 64.0, 80.0, 87.0, 88.0, 100.0, 103.0, 500.0, 700.0, 745.0, 1e3, 1e4,
)  # fmt: skip
STARTS = (0.0, -1.0, -1e2, -1e3, -1e4, -3e4, -5e4, -65504.0, -1e5, -1e9, -1e30)
WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
_NARROW = tuple(
    np.dtype(kind)
    for kind in (np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)
)


class Tampered(Floats):
    """A reading in which some verbs are changed; products of rows and vectors are not made of the changed sum."""

    def __init__(self, machine: Machine, trace: list[tuple[str, Array]] | None = None, *, changes: Changes) -> None:
        super().__init__(machine, trace)
        self.before: Number | None = None
        for verb, change in changes.items():
            setattr(self, verb, partial(change, self, getattr(self, verb)))

    def product(self, x: Number, matrix: Number) -> Number:
        changed = self.__dict__.pop("sum", None)
        value: Number = super().product(x, matrix)
        if changed is not None:
            self.__dict__["sum"] = changed
        return value


def _like(a: Tampered, x: Number, value: Any) -> Number:
    return Number(a, np.broadcast_to(np.asarray(value), (*x.v.shape[:-1], 1)).astype(x.v.dtype))


def _stored(a: Tampered, x: Number, dtype: np.dtype[Any]) -> Number:
    return Number(a, x.v.astype(dtype).astype(x.v.dtype))


def _running(a: Tampered, x: Number, dtype: np.dtype[Any]) -> Number:
    narrow = x.v.astype(dtype)
    return Number(a, np.add.accumulate(narrow, axis=-1, dtype=dtype)[..., -1:].astype(x.v.dtype))


def _softmax(values: Array) -> Array:
    e = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


Variants = Iterator[tuple[str, Changes]]


def _no_shift(_: Case) -> Variants:
    yield "exp(x) as it is", {"max": lambda a, _right, x: _like(a, x, 0)}


def _no_branch(_: Case) -> Variants:
    """One formula for small and large arguments."""
    yield "the branch for small x, for every x", {"at_least": lambda _a, _right, x, _n: np.zeros(x.v.shape, np.bool_)}
    yield "the branch for large x, for every x", {"at_least": lambda _a, _right, x, _n: np.ones(x.v.shape, np.bool_)}


def _shift_of_one(_: Case) -> Variants:
    """Of two numbers the first or second is taken for the larger."""
    yield "the first in place of the larger one", {"maximum": lambda _a, _right, x, _y: x}
    yield "the second in place of the larger one", {"maximum": lambda a, _right, _x, y: a.lift(y)}
    yield "x + log1p(exp(y - x))", {"maximum": lambda _a, _right, x, _y: x, "abs": lambda _a, _right, x: x}
    yield "y + log1p(exp(x - y))", {"maximum": lambda a, _right, _x, y: a.lift(y), "abs": lambda _a, _right, x: -x}


def _part_of_maximum(case: Case) -> Variants:
    n = case.op.scores_shape(case.batch)[-1] if case.batch.x.ndim else 1
    for k in WIDTHS:
        if k < n:
            yield f"max(x[:{k}])", {"max": lambda _a, right, x, k=k: right(Number(x.a, x.v[..., :k]))}
            yield f"max(x[-{k}:])", {"max": lambda _a, right, x, k=k: right(Number(x.a, x.v[..., -k:]))}


def _other_maximum(_: Case) -> Variants:
    yield "min(x)", {"max": lambda a, _right, x: _like(a, x, x.v.min(axis=-1, keepdims=True))}
    yield "mean(x)", {"max": lambda a, _right, x: _like(a, x, x.v.mean(axis=-1, keepdims=True))}
    yield "max|x|", {"max": lambda a, _right, x: _like(a, x, np.abs(x.v).max(axis=-1, keepdims=True))}
    yield "max(batch)", {"max": lambda a, _right, x: _like(a, x, x.v.max())}


def _started(_: Case) -> Variants:
    for start in STARTS:
        yield f"max({start:g}, max x)", {"max": lambda a, right, x, start=start: a.maximum(right(x), start)}


def _own_maximum(_: Case) -> Variants:
    """A term of the denominator that is not in the row is left out of the maximum."""
    yield (
        "the row's own maximum",
        {"maximum": lambda _a, right, x, y: x if x.v.shape[-1] == 1 else right(x, y)},
    )


def _early_maximum(_: Case) -> Variants:
    """The maximum of the scores as they were before a step."""

    def remember(a: Tampered, _right: Any, mask: Array, x: Number, y: Any) -> Number:
        a.before = a.lift(x)
        return Floats.where(a, mask, x, y)

    def scaled(a: Tampered, right: Any, x: Number, y: Number) -> Any:
        if y.v.ndim == 0 and a.before is None:
            a.before = x
        return right(x, y)

    def earlier(a: Tampered, right: Any, x: Number) -> Any:
        return right(x if a.before is None or a.before.v.shape != x.v.shape else a.before)

    yield "the maximum over what is masked, too", {"where": remember, "max": earlier}
    yield "the maximum of the scores before they are scaled", {"multiply": scaled, "max": earlier}


def _unscaled(_: Case) -> Variants:
    def unscaled(_a: Tampered, right: Any, x: Number, y: Number) -> Any:
        return x if y.v.ndim == 0 and x.v.ndim else right(x, y)

    yield "products that are not scaled", {"multiply": unscaled}


def _epsilon_in_sum(_: Case) -> Variants:
    for epsilon in EPSILONS:
        yield f"Σ + {epsilon:.3g}", {"sum": lambda _a, right, x, e=epsilon: right(x) + e}
        zero: Changes = {
            "max": lambda a, right, x: a.maximum(right(x), 0),
            "sum": lambda _a, right, x, e=epsilon: right(x) + e,
        }
        yield f"Σ exp(x - max(0, m)) + {epsilon:.3g}", zero


def _epsilon_in_log(_: Case) -> Variants:
    for epsilon in EPSILONS:
        yield f"log(. + {epsilon:.3g})", {"log": lambda _a, right, x, e=epsilon: right(x + e)}
        plain: Changes = {
            "max": lambda a, _right, x: _like(a, x, 0),
            "log": lambda _a, right, x, e=epsilon: right(x + e),
        }
        yield f"log(. + {epsilon:.3g}), no maximum subtracted", plain
        yield f"log(p + {epsilon:.3g})", {"log_softmax": lambda a, _right, x, e=epsilon: a.log(a.softmax(x) + e)}


def _bounded_in_log(_: Case) -> Variants:
    for epsilon in EPSILONS:
        yield f"log(max(., {epsilon:.3g}))", {"log": lambda a, right, x, e=epsilon: right(a.maximum(x, e))}
        yield (
            f"log(max(p, {epsilon:.3g}))",
            {"log_softmax": lambda a, _right, x, e=epsilon: a.log(a.maximum(a.softmax(x), e))},
        )


def _capped(_: Case) -> Variants:
    for cap in CAPS:
        yield f"max(log p, -{cap:g})", {"log_softmax": lambda a, right, x, c=cap: a.maximum(right(x), -c)}
        yield f"logsumexp at most {cap:g}", {"logsumexp": lambda a, right, x, c=cap: -a.maximum(-right(x), -c)}


def _one_minus(_: Case) -> Variants:
    """sigmoid(-x) as 1 - sigmoid(x)."""

    def second(a: Tampered, right: Any, x: Number) -> Any:
        if a.before is not None:
            return 1 - a.before
        a.before = a.store(right(x))
        return a.before

    yield "1 - s of the s that was handed out", {"sigmoid": second}
    yield "1 - sigmoid(-x)", {"sigmoid": lambda a, right, x: 1 - a.store(right(-x))}


def _other_cap(case: Case) -> Variants:
    """Another function than cap tanh(x / cap)."""
    yield "clipped scores", {"tanh": lambda a, _right, x: -a.maximum(-a.maximum(x, -1), -1)}
    yield (
        "(e - 1) / (e + 1), e = exp(2 x / cap)",
        {"tanh": lambda a, _right, x: (a.exp(2 * x) - 1) / (a.exp(2 * x) + 1)},
    )
    for cap in (float(value) for value in _of_kind(case, "cap") if value is not None):
        yield "tanh of scores that are not divided", {"tanh": lambda _a, right, x, c=cap: right(x * c)}
        yield "a tanh that is not multiplied", {"tanh": lambda _a, right, x, c=cap: right(x) / c}


def _of_kind(case: Case, kind: str) -> list[Any]:
    """The values of a call's options of one kind."""
    return [value for name, value in case.batch.options.items() if case.op.options[name].kind == kind]


def _other_square(case: Case) -> Variants:
    """Another number than the logsumexp of the scores whose softmax is taken is squared, or it is added where none is due."""

    def remember(a: Tampered, right: Any, x: Number) -> Any:
        a.before = x
        return right(x)

    for cap in (float(value) for value in _of_kind(case, "cap") if value is not None):
        yield (
            "the logsumexp of scores before their cap",
            {
                "tanh": remember,
                "logsumexp": lambda a, right, x, c=cap: right(x if a.before is None else a.before * c),
            },
        )
    yield "the logarithm to base 2", {"logsumexp": lambda a, right, x: right(x) * a.constant(LOG2_E)}
    yield "the logarithm of the shifted sum alone", {"logsumexp": lambda a, right, x: right(x) - a.max(x)}
    yield "the logsumexp, not squared", {"logsumexp": lambda _a, right, x: Number(x.a, np.sqrt(np.abs(right(x).v)))}
    for scale in (float(value) for value in _of_kind(case, "share") if value):

        def kept(a: Tampered, right: Any, mask: Array, x: Any, y: Any, scale: float = scale) -> Any:
            return right(mask, x, y if a.before is None else scale * a.before**2)

        yield "the square in rows whose label is ignored", {**_after("logsumexp"), "where": kept}


def _rounded_p(_: Case) -> Variants:
    """The logarithm of a probability; of one in the result's format."""
    yield "log(p)", {"log_softmax": lambda a, _right, x: a.log(a.softmax(x))}
    stored: Changes = {
        "softmax": lambda a, right, x: a.store(right(x)),
        "log_softmax": lambda a, _right, x: a.log(a.softmax(x)),
    }
    yield "log(p), p in the result's format", stored


def _one_hot(a: Tampered, right: Any, x: Number, labels: Array) -> Any:
    if labels.shape[-1] != 1:
        return right(x, labels)
    return Number(a, np.where(a.hot(labels, x.v.shape[-1]), x.v, 0 * x.v).sum(axis=-1, keepdims=True))


def _zero_times(_: Case) -> Variants:
    products = {"weigh": lambda _a, _right, q, x: q * x}
    yield "0 times an infinity at a class of probability 0", products
    yield "0 times an infinity beside the label, one-hot", {"take": _one_hot}
    yield "0 log 0 of a rounded p", {**products, "log_softmax": lambda a, _right, x: a.log(a.softmax(x))}


def _small_weights(_: Case) -> Variants:
    for epsilon in EPSILONS:

        def kept(a: Tampered, _right: Any, q: Number, x: Number, e: float = epsilon) -> Number:
            return Number(a, np.where(np.abs(q.v) < e, 0, (q * x).v).astype(x.v.dtype))

        yield f"terms of a weight below {epsilon:.3g} left out", {"weigh": kept}


def _nan_to_zero(_: Case) -> Variants:
    """0 log 0 repaired by 0 for NaN, so that NaN vanish that should stay."""

    def repaired(a: Tampered, _right: Any, q: Number, x: Number) -> Number:
        return Number(a, np.nan_to_num((q * x).v, nan=0.0, posinf=np.inf, neginf=-np.inf))

    yield "0 for NaN products", {"weigh": repaired}
    yield "0 for NaN products of a rounded p", {"weigh": repaired, "log_softmax": lambda a, _r, x: a.log(a.softmax(x))}


def _other_base(_: Case) -> Variants:
    yield "log2 in place of log", {"log": lambda a, _right, x: a.log2(x)}
    yield "log10 in place of log", {"log": lambda a, _right, x: Number(a, np.log10(x.v))}
    yield "2^x in place of exp", {"exp": lambda a, _right, x: a.exp2(x)}


def _log_of_sum(_: Case) -> Variants:
    yield "log(1 + e)", {"log1p": lambda a, _right, x: a.log(1 + x)}


def _bounded_exp(_: Case) -> Variants:
    for cap in CAPS:
        yield f"exp(max(x, -{cap:g}))", {"exp": lambda a, right, x, c=cap: right(a.maximum(x, -c))}
        yield f"exp(min(x, {cap:g}))", {"exp": lambda a, right, x, c=cap: right(-a.maximum(-x, -c))}
        yield (
            f"exp(x) taken for 0 below -{cap:g}",
            {"exp": lambda a, right, x, c=cap: Number(a, np.where(x.v < -c, 0, right(x).v).astype(x.v.dtype))},
        )


def _part_of_sum(case: Case) -> Variants:
    n = case.op.scores_shape(case.batch)[-1] if case.batch.x.ndim else 1
    for k in sorted({n - 1, n // 2, *WIDTHS, *(n // w * w for w in WIDTHS)}):
        if 0 < k < n:
            yield f"Σ over x[:{k}] of {n}", {"sum": lambda _a, right, x, k=k: right(Number(x.a, x.v[..., :k]))}


def _narrow_sum(case: Case) -> Variants:
    for dtype in _NARROW:
        if dtype.itemsize < case.dtype.itemsize:
            yield f"Σ as a running sum in {dtype.name}", {"sum": lambda a, _right, x, t=dtype: _running(a, x, t)}
            yield f"Σ rounded to {dtype.name}", {"sum": lambda a, right, x, t=dtype: _stored(a, right(x), t)}


def _narrow_steps(case: Case) -> Variants:
    """One intermediate is narrow."""
    for dtype in _NARROW:
        if dtype.itemsize < case.dtype.itemsize:
            for verb, words in (
                ("product", "products"),
                ("exp", "exponentials"),
                ("log", "logarithms"),
                ("take", "values at places"),
            ):
                yield (
                    f"{words} rounded to {dtype.name}",
                    {verb: lambda a, right, *x, t=dtype: _stored(a, right(*x), t)},
                )
            yield f"p rounded to {dtype.name}", {"softmax": lambda a, right, x, t=dtype: _stored(a, right(x), t)}
            yield (
                f"weights rounded to {dtype.name} before the weighted sum",
                {"mix": lambda a, right, w, v, t=dtype: right(_stored(a, w, t), v)},
            )


def _narrow_products(case: Case) -> Variants:
    def running(a: Tampered, _right: Any, x: Number, matrix: Number, t: np.dtype[Any]) -> Number:
        changed = a.__dict__.get("sum")
        a.sum = partial(_running, a, dtype=t)  # type: ignore[method-assign]
        value: Number = Floats.product(a, x, matrix)
        del a.sum
        if changed is not None:
            a.__dict__["sum"] = changed
        return value

    for dtype in _NARROW if case.op.named("matrix") else ():
        if dtype.itemsize < case.dtype.itemsize:
            yield f"products added up in {dtype.name}", {"product": partial(running, t=dtype)}


def _padding(case: Case) -> Variants:
    """Rows filled up to a multiple of a tile with scores of 0."""
    n = case.op.scores_shape(case.batch)[-1] if case.batch.x.ndim else 1
    for tile, fill in ((tile, fill) for tile in WIDTHS for fill in (0.0, -1e4) if n % tile):
        missing = -n % tile

        def peak(a: Tampered, right: Any, x: Number, fill: float = fill) -> Number:
            a.before = a.maximum(right(x), fill)
            return a.before

        def total(a: Tampered, right: Any, e: Number, fill: float = fill, missing: int = missing) -> Any:
            return right(e) if a.before is None else right(e) + missing * a.exp(a.lift(fill) - a.before)

        yield f"{missing} more scores of {fill:g}, to a multiple of {tile}", {"max": peak, "sum": total}


def _filled(case: Case) -> Variants:
    for number in (*FILLED, -case.form.max_finite, -case.arithmetic.max_finite):

        def where(_a: Tampered, right: Any, mask: Array, x: Any, y: Any, fill: float = number) -> Any:
            return right(mask, x, fill if isinstance(y, float) and y == -np.inf else y)

        yield f"{number:g} for masked logits", {"where": where}


def _merged(case: Case) -> Variants:
    """Sums of chunks that are brought together wrongly; the sum or the weighted sum that is not rescaled as the maximum rises."""
    n = case.op.scores_shape(case.batch)[-1] if case.batch.x.ndim else 1
    for number, (name, _) in enumerate(merges.chunks(np.zeros((1, n)))):
        for words, merge in merges.MERGES:

            def of(x: Number, number: int = number, merge: merges.Merge = merge) -> tuple[Array, Array]:
                parts = list(merges.chunks(x.v))[number][1]
                return merge(*merges.parted(parts))

            yield (
                f"{name}, {words}",
                {
                    "logsumexp": lambda a, _right, x, of=of: Number(a, of(x)[0] + np.log(of(x)[1])),
                    "log_softmax": lambda a, _right, x, of=of: Number(a, (x.v - of(x)[0]) - np.log(of(x)[1])),
                    "softmax": lambda a, _right, x, of=of: Number(a, np.exp(x.v - of(x)[0]) / of(x)[1]),
                },
            )
    for width in WIDTHS if case.op.named("values") else ():
        if 8 <= width < n:

            def late(a: Tampered, right: Any, x: Number, width: int = width) -> Any:
                tops = np.maximum.reduceat(x.v, np.arange(0, x.v.shape[-1], width), axis=-1)
                risen = np.repeat(np.maximum.accumulate(tops, axis=-1), width, axis=-1)[..., : x.v.shape[-1]]
                a.before = Number(a, np.exp(right(x).v - risen))
                return right(x)

            def scaled(a: Tampered, right: Any, weights: Number, vectors: Number) -> Any:
                return right(weights if a.before is None else weights * a.before, vectors)

            def total(a: Tampered, right: Any, e: Number) -> Any:
                return right(e if a.before is None else e * a.before)

            yield (
                f"the weighted sum over chunks of {width} not rescaled as the maximum rises",
                {"max": late, "mix": scaled},
            )
            yield f"the sum over chunks of {width} not rescaled as the maximum rises", {"max": late, "sum": total}


def _blocks(case: Case) -> Variants:
    """The mean of the means of blocks, and other counts than the row's length."""
    n = case.op.scores_shape(case.batch)[-1] if case.batch.x.ndim else 1
    for width in WIDTHS:
        if 1 < width < n and n % width:

            def means(a: Tampered, _right: Any, x: Number, width: int = width) -> Any:
                starts = np.arange(0, x.v.shape[-1], width)
                sizes = np.diff([*starts, x.v.shape[-1]])
                each = np.add.reduceat(x.v, starts, axis=-1) / sizes
                return Number(a, (each.mean(axis=-1, keepdims=True) * x.v.shape[-1]).astype(x.v.dtype))

            yield f"blocks of {width}", {"sum": means}


def _counts(_: Case) -> Variants:
    yield "the finite ones alone", {"width": lambda _a, _right, x: np.isfinite(x.v).sum(axis=-1, keepdims=True)}
    yield "n - 1", {"width": lambda _a, right, x: right(x) - 1}
    yield "n + 1", {"width": lambda _a, right, x: right(x) + 1}
    for tile in WIDTHS:
        yield f"n filled up to a multiple of {tile}", {"width": lambda _a, right, x, t=tile: -(-right(x) // t) * t}


def _after(verb: str, **late: Callable[..., Any]) -> Changes:
    """Verbs that change once another one was used."""

    def mark(a: Tampered, right: Any, *given: Any) -> Any:
        a.before = right(*given)
        return a.before

    def only_then(change: Callable[..., Any]) -> Callable[..., Any]:
        return lambda a, right, *given: right(*given) if a.before is None else change(a, right, *given)

    return {verb: mark, **{name: only_then(change) for name, change in late.items()}}


def _of_chosen(case: Case) -> Variants:
    """What is done to the chosen weights, and which are chosen."""
    if not case.op.counted:
        return
    yield (
        "a softmax of the chosen weights in place of a division by their sum",
        _after("take", divide=lambda a, _right, x, _y: Number(a, _softmax(x.v))),
    )
    for epsilon in EPSILONS:
        yield (
            f"the chosen weights' sum + {epsilon:.3g}",
            _after("take", sum=lambda _a, right, x, e=epsilon: right(x) + e),
        )
    for k in WIDTHS:
        yield f"the largest of x[:{k}]", {"ranking": lambda _a, right, x, k=k: right(Number(x.a, x.v[..., :k]))}


def _part_of_smoothing(case: Case) -> Variants:
    """The sum over all classes after the log-softmax sees a part of them."""
    n = case.op.scores_shape(case.batch)[-1] if case.batch.x.ndim else 1
    for k in sorted({n // 2, -(-n // 2), n // 4, *(n // w * w for w in WIDTHS if w > 4)}):
        if 0 < k < n:
            for words, factor in (("mean", n / k), ("sum", 1.0)):
                some = _after(
                    "log_softmax", sum=lambda _a, right, x, k=k, f=factor: right(Number(x.a, x.v[..., :k])) * f
                )
                yield f"the {words} over the first {k} of {n} classes", some


def _twice(_: Case) -> Variants:
    yield "softmax(softmax(x))", {"softmax": lambda _a, right, x: right(right(x))}


def _unguarded(_: Case) -> Variants:
    yield "no guard for an infinite maximum", {}


STEPS: tuple[tuple[str, str, Callable[[Case], Variants], bool], ...] = (
    ("no-shift", "no maximum is subtracted before exp", _no_shift, False),
    ("infinity-minus-infinity", "an infinite maximum is subtracted from itself", _unguarded, True),
    ("exp-of-x", "one formula is used for arguments of either sign, however large", _no_branch, False),
    ("log-of-sum", "log(1 + e) takes the place of log1p(e): a small e is lost", _log_of_sum, False),
    ("maximum-of-the-row", "the maximum leaves out a term of the denominator", _own_maximum, False),
    ("first-or-second", "the first or second is subtracted in place of the larger one", _shift_of_one, False),
    ("part-of-the-row", "the maximum is taken over a part of the row", _part_of_maximum, False),
    ("floored-maximum", "the running maximum does not start at -inf", _started, False),
    ("early-maximum", "the maximum is not that of the scores that it is subtracted from", _early_maximum, False),
    ("other-maximum", "something else than the row's maximum is subtracted", _other_maximum, False),
    ("log-of-rounded-p", "the logarithm of a rounded probability is taken", _rounded_p, False),
    ("zero-times-infinity", "0 is multiplied by an infinity or NaN", _zero_times, True),
    ("nan-replaced", "NaN is left out or replaced on the way", _nan_to_zero, True),
    ("small-terms", "small terms are left out of a sum", _small_weights, False),
    ("mask-filled", MASK_FILLED, _filled, False),
    ("not-scaled", "the scale is left out", _unscaled, False),
    ("capped", "log p or logsumexp is bounded", _capped, False),
    ("one-minus", "1 - p is taken of a rounded p", _one_minus, False),
    ("other-cap", "the cap is another function than c tanh(x / c)", _other_cap, False),
    ("other-square", "another number than the squared logsumexp is added", _other_square, False),
    ("epsilon-in-log", "an epsilon is added inside the logarithm", _epsilon_in_log, False),
    ("clipped-p", "probabilities are clipped before the logarithm", _bounded_in_log, False),
    ("epsilon-in-denominator", "an epsilon is added to the sum", _epsilon_in_sum, False),
    ("bounded-exp", "the argument of exp is bounded", _bounded_exp, False),
    ("softmax-twice", "softmax is applied once too often, or not finished", _twice, False),
    ("wrong-base", "base-2 functions take the place of exp or log", _other_base, False),
    ("part-of-the-sum", "the normaliser sees a part of the row", _part_of_sum, False),
    ("padding", "padding takes part in the sum", _padding, False),
    ("wrong-merge", "partial sums are brought together wrongly", _merged, False),
    ("mean-of-blocks", "blocks of unequal length are averaged", _blocks, False),
    ("count", "another number takes the place of the row's length", _counts, False),
    ("chosen", "the largest weights are chosen or normalised wrongly", _of_chosen, False),
    ("smoothing", "label smoothing is applied wrongly", _part_of_smoothing, False),
    ("narrow-accumulator", "the sum is accumulated in a narrower format", _narrow_sum, False),
    ("narrow-products", "products are added up in a narrower format", _narrow_products, False),
    ("narrow-work", "intermediates are kept in a narrow format", _narrow_steps, False),
)
"""Key, sentence, the changes of its variants, whether it is about special values; the most specific first."""
