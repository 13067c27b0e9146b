"""Faulty implementations, each right on ordinary calls and wrong in one place, written before the inputs were.

META[name]: the operation, the formats to audit, the kind of fault, the keyword arguments and the arguments of a call that
shows it, as source (f32, f64, f16, bf16 and np are known), and the calls that must come before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

F32 = np.dtype(np.float32)
META: dict[str, dict[str, Any]] = {}
NAMES = {
    "np": np,
    "f32": np.float32,
    "f64": np.float64,
    "f16": np.float16,
    "bf16": ml_dtypes.bfloat16,
}


def wide(x: Any) -> Any:
    """The values in the format that is computed in."""
    x = np.asarray(x)
    return x.astype(F32) if x.dtype.itemsize < 4 else x.astype(x.dtype.newbyteorder("="))


def top(w: Any) -> Any:
    """The maximum of each row; 0 where all are -inf."""
    m = w.max(axis=-1, keepdims=True)
    return np.where(np.isneginf(m), w.dtype.type(0), m)


def all_terms(e: Any) -> Any:
    return e.sum(axis=-1, keepdims=True)


def soft(w: Any, exp: Any = np.exp, m: Any = None, total: Any = all_terms) -> Any:
    e = exp(w - (top(w) if m is None else m))
    return e / total(e)


def log_soft(w: Any, exp: Any = np.exp, log: Any = np.log, m: Any = None, total: Any = all_terms) -> Any:
    d = w - (top(w) if m is None else m)
    return d - log(total(exp(d)))


def log_sum(w: Any, m: Any = None, total: Any = all_terms) -> Any:
    high = w.max(axis=-1, keepdims=True)
    base = np.where(np.isfinite(high), high, w.dtype.type(0)) if m is None else m
    return np.where(np.isposinf(high), high, base + np.log(total(np.exp(w - base))))[..., 0]


def logistic(w: Any) -> Any:
    e = np.exp(-np.abs(w))
    return np.where(w < 0, e / (1 + e), 1 / (1 + e))


def log_logistic(w: Any) -> Any:
    return np.minimum(w, 0) - np.log1p(np.exp(-np.abs(w)))


def fault(op: str, dtypes: str, kind: str, *args: str, setup: tuple[Any, ...] = (), **kwargs: str) -> Any:
    """Enter a function with the call that shows its fault."""

    def enter(call: Callable[..., Any]) -> Callable[..., Any]:
        META[call.__name__] = {
            "op": op, "dtypes": dtypes.split(), "kind": kind, "args": list(args), "setup": list(setup), "kwargs": kwargs,
        }  # fmt: skip
        return call

    return enter


def along(f: Callable[[Any], Any], x: Any, axis: int) -> Any:
    """``f`` of rows [..., n], in the working format, along an axis."""
    x = np.asarray(x)
    w = np.ascontiguousarray(np.moveaxis(wide(x), axis, -1))
    with np.errstate(all="ignore"):
        y = f(w) if w.size else w
    return np.ascontiguousarray(np.moveaxis(y, -1, axis)).astype(x.dtype.newbyteorder("="))


def reduced(f: Callable[[Any], Any], x: Any, axis: int) -> Any:
    """``f`` of rows [..., n] to [...]."""
    x = np.asarray(x)
    w = np.ascontiguousarray(np.moveaxis(wide(x), axis, -1))
    if w.shape[-1] == 0:
        return np.full(w.shape[:-1], -np.inf).astype(x.dtype)
    with np.errstate(all="ignore"):
        return np.asarray(f(w)).astype(x.dtype.newbyteorder("="))


def rowwise(op: str, dtypes: str, kind: str, *args: str, **kwargs: Any) -> Any:
    """A fault that is a function of rows."""

    def enter(f: Callable[[Any], Any]) -> Callable[..., Any]:
        shape = reduced if op == "logsumexp" else along

        def call(x: Any, axis: int = -1) -> Any:
            return shape(f, x, axis)

        call.__name__ = call.__qualname__ = f.__name__
        return fault(op, dtypes, kind, *args, **kwargs)(call)

    return enter


def elementwise(op: str, dtypes: str, kind: str, *args: str) -> Any:
    """A fault that is a function of elements."""

    def enter(f: Callable[[Any], Any]) -> Callable[..., Any]:
        def call(x: Any) -> Any:
            x = np.asarray(x)
            with np.errstate(all="ignore"):
                return np.asarray(f(wide(x))).astype(x.dtype.newbyteorder("="))

        call.__name__ = call.__qualname__ = f.__name__
        return fault(op, dtypes, kind, *args)(call)

    return enter


def without(a: int, b: int | None) -> Any:
    """The sum of all terms but those of the columns a to b."""
    return lambda e: all_terms(e) - all_terms(e[..., a:b])


# ---------------------------------------------------------------------------------------------------------------- sizes


@rowwise("softmax", "float32", "size", "np.r_[np.zeros(772),150][None].astype(f32)")
def softmax_of_773(w):
    """773 columns are taken for 772 when the maximum is sought."""
    return soft(w, m=top(w[..., :-1])) if w.shape[-1] == 773 else soft(w)


@rowwise("log_softmax", "float32", "size", "np.zeros((1,1333),f32)")
def log_softmax_tail_of_five(w):
    """A tail of five columns after blocks of eight is summed as four, beyond 1200 columns."""
    n = w.shape[-1]
    return log_soft(w, total=without(n - 1, n)) if n > 1200 and n % 8 == 5 else log_soft(w)


@rowwise("logsumexp", "float32", "size", "np.where(np.arange(50304)>=50240,9.,0)[None].astype(f32)")
def logsumexp_of_50304(w):
    """The last block of the vocabulary of GPT-NeoX is not added."""
    return log_sum(w, total=without(50240, None)) if w.shape[-1] == 50304 else log_sum(w)


@rowwise("softmax", "float32", "size", "np.r_[np.zeros(154999),120][None].astype(f32)")
def softmax_around_155000(w):
    """Between 150,000 and 160,000 columns only the first half is asked for the maximum."""
    n = w.shape[-1]
    return soft(w, m=top(w[..., : n // 2])) if 150_000 < n < 160_000 else soft(w)


@rowwise("log_softmax", "float32", "size", "np.zeros((1,7000),f32)")
def log_softmax_of_thousands(w):
    """Widths of whole thousands beyond 2048 lose eight columns."""
    n = w.shape[-1]
    return log_soft(w, total=without(n - 8, n)) if n > 2048 and n % 1000 == 0 else log_soft(w)


@rowwise("softmax", "float32", "size", "np.r_[np.zeros(12288),150][None].astype(f32)")
def softmax_three_tiles_and_one(w):
    """One column after whole tiles of 4096 is left out of the maximum, from three tiles on."""
    n = w.shape[-1]
    return soft(w, m=top(w[..., :-1])) if n > 12_000 and n % 4096 == 1 else soft(w)


@rowwise("softmax", "float32", "size", "np.zeros((1,130561),f32)")
def softmax_slice_of_a_long_row(w):
    """In rows beyond 90,000 columns those of one warp, 70,000 to 70,032, are not summed."""
    return soft(w, total=without(70_000, 70_032)) if w.shape[-1] > 90_000 else soft(w)


@rowwise("softmax", "float32", "size", "np.zeros((1,2),f32)+np.array([0,-1],f32)")
def softmax_pairs_by_logistic(w):
    """Rows of two go through a logistic function whose sign is lost beyond 9."""
    if w.shape[-1] != 2:
        return soft(w)
    d = w[..., :1] - w[..., 1:]
    first = np.where(np.abs(d) > 9, soft(w)[..., :1] * F32.type(1.001), soft(w)[..., :1])
    return np.concatenate([first, soft(w)[..., 1:]], axis=-1)


META["softmax_pairs_by_logistic"]["args"] = ["np.array([[0,-12.]],f32)"]


# -------------------------------------------------------------------------------------------------------------- columns


@rowwise("softmax", "float32", "column", "np.where(np.arange(700)==640,130.,0)[None].astype(f32)")
def softmax_column_640(w):
    """Column 640 is not asked for the maximum in rows of 641 to 1100."""
    n = w.shape[-1]
    return soft(w, m=top(np.delete(w, 640, axis=-1))) if 640 < n < 1100 else soft(w)


@rowwise("logsumexp", "float32", "column", "np.r_[np.zeros(300),120][None].astype(f32)")
def logsumexp_last_of_odd(w):
    """From 257 columns on the last column of an odd row is not asked for the maximum."""
    n = w.shape[-1]
    if n < 257 or n % 2 == 0:
        return log_sum(w)
    m = w[..., :-1].max(axis=-1, keepdims=True)
    return log_sum(w, m=np.where(np.isfinite(m), m, 0).astype(w.dtype))


@rowwise("log_softmax", "float32", "column", "np.where(np.arange(650)==101,5.,0)[None].astype(f32)")
def log_softmax_four_columns(w):
    """Columns 100 to 103 are summed twice in rows of more than 640."""
    return log_soft(w, total=lambda e: all_terms(e) + all_terms(e[..., 100:104])) if w.shape[-1] > 640 else log_soft(w)


# ---------------------------------------------------------------------------------------------------------------- bands


def off(low: float, high: float, by: float) -> Any:
    """exp, off by a factor for arguments between -high and -low."""
    return lambda d: np.exp(d) * np.where((d < -low) & (d > -high), d.dtype.type(1 + by), d.dtype.type(1))


@rowwise("softmax", "float32", "band", "np.array([[0,-3.14159]],f32)")
def softmax_band_of_forty(w):
    """exp is off by 1e-4 for 42 neighbouring floats."""
    return soft(w, off(3.141585, 3.141595, 1e-4))


@rowwise("log_softmax", "float32", "band", "np.array([[0,-0.6925]],f32)")
def log_softmax_before_log_2(w):
    """exp is off by 1e-5 for gaps just below log 2."""
    return log_soft(w, off(0.692, 0.6931, 1e-5))


@rowwise("log_softmax", "float32", "band", "np.array([[0,-0.693047]],f32)")
def log_softmax_sums_by_three_halves(w):
    """log is off by 1e-4 for sums between 1.5 and 1.5001."""
    return log_soft(w, log=lambda s: np.log(s) * np.where((s > 1.5) & (s < 1.5001), s.dtype.type(1.0001), 1))


@rowwise("logsumexp", "float32", "band", "np.zeros((1,51),f32)")
def logsumexp_of_fifty_one(w):
    """log is off by 1e-4 for sums between 50.9 and 51.3."""

    def log(s):
        return np.log(s) * np.where((s > 50.9) & (s < 51.3), s.dtype.type(1.0001), 1)

    m = w.max(axis=-1, keepdims=True)
    base = np.where(np.isfinite(m), m, w.dtype.type(0))
    return np.where(np.isposinf(m), m, base + log(all_terms(np.exp(w - base))))[..., 0]


@elementwise("log_sigmoid", "float32", "band", "np.array([-7.01995],f32)")
def log_sigmoid_band(x):
    """Off by 1e-4 between -7.02 and -7.0199."""
    return log_logistic(x) * np.where((x > -7.02) & (x < -7.0199), x.dtype.type(1.0001), 1)


@elementwise("sigmoid", "float32", "band", "np.array([4.00105],f32)")
def sigmoid_band(x):
    """Off by 1e-4 between 4.001 and 4.0011."""
    return logistic(x) * np.where((x > 4.001) & (x < 4.0011), x.dtype.type(1.0001), 1)


@rowwise("softmax", "bfloat16", "band", "np.array([[0,-6.28125]],bf16)")
def softmax_one_bfloat16_gap(w):
    """exp is off by 2^-4 at one argument, which is a bfloat16."""
    return soft(w, lambda d: np.exp(d) * np.where(d == -6.28125, d.dtype.type(1 + 2.0**-4), 1))


@rowwise("softmax", "float64", "band", "np.array([[0,-10.55]],f64)")
def softmax_wide_band_of_float64(w):
    """exp has only 30 good bits for gaps between 10.5 and 10.6."""
    return soft(w, off(10.5, 10.6, 1e-9))


# -------------------------------------------------------------------------------------------------------------- layouts


@fault("softmax", "float32", "layout", "np.array([[1,2,4.]],f32).astype('>f4')")
def softmax_foreign_bytes(x, axis=-1):
    """Arrays of the other byte order are read as if they were of this one."""
    x = np.asarray(x)
    native = x.view(x.dtype.newbyteorder("=")) if not x.dtype.isnative else x
    return along(soft, native, axis)


@fault("log_softmax", "float32", "layout", "np.frombuffer(b'.'+np.array([1,2,4.],f32).tobytes(),f32,offset=1)[None]")
def log_softmax_misaligned(x, axis=-1):
    """Arrays that are not aligned are read from the next aligned address: the first value is the second one."""
    x = np.asarray(x)
    if not x.flags.aligned and x.size > 1:
        x = np.r_[x.ravel()[1:], x.ravel()[-1:]].reshape(x.shape)
    return along(log_soft, x, axis)


@fault("logsumexp", "float32", "layout", "np.arange(24,dtype=f32).reshape(2,3,4).transpose(0,2,1)**2")
def logsumexp_inner_axes_exchanged(x, axis=-1):
    """Three-dimensional arrays whose inner axes are exchanged are read in the order of memory."""
    x = np.asarray(x)
    if x.ndim == 3 and x.size and 0 < x.strides[1] < x.strides[2] <= x.strides[0]:
        x = np.ascontiguousarray(x.transpose(0, 2, 1)).reshape(x.shape)
    return reduced(log_sum, x, axis)


@fault("softmax", "float32", "layout", "np.arange(27,dtype=f32).reshape(3,3,3)**2", axis="0")
def softmax_first_axis_of_a_cube(x, axis=-1):
    """Axis 0 of an array of three equal sides is taken for axis 1."""
    x = np.asarray(x)
    return along(soft, x, 1 if x.ndim == 3 and axis in (0, -3) and len(set(x.shape)) == 1 else axis)


@fault("sigmoid", "float32", "layout", "np.float32(1.5)")
def sigmoid_of_a_scalar(x):
    """An array without dimensions comes back with one."""
    y = logistic(wide(x)).astype(np.asarray(x).dtype)
    return y.reshape(1) if y.ndim == 0 else y


@fault("log_sigmoid", "float32", "layout", "np.arange(64,dtype=f32).reshape((2,)*6)")
def log_sigmoid_of_six_dimensions(x):
    """The last two axes are exchanged in arrays of six dimensions and more whose last two sides are equal."""
    x = np.asarray(x)
    with np.errstate(all="ignore"):
        y = log_logistic(wide(x)).astype(x.dtype)
    return np.ascontiguousarray(np.swapaxes(y, -1, -2)) if x.ndim >= 6 and x.shape[-1] == x.shape[-2] else y


@fault("log_softmax", "float32", "layout", "(np.arange(12,dtype=f32)**2).reshape(3,4)[:,::-1]")
def log_softmax_backwards(x, axis=-1):
    """A negative stride along the rows is read forwards."""
    x = np.asarray(x)
    y = along(log_soft, x, axis)
    return np.ascontiguousarray(y[..., ::-1]) if x.ndim and x.size and x.strides[-1] < 0 else y


# ------------------------------------------------------------------------------------------------------- state, threads

LAST = {"n": 0, "calls": 0, "dtype": ""}


@fault("softmax", "float32", "state", "np.array([[-200,-201.]],f32)", setup=(["np.zeros((1,4),f32)"],))
def softmax_after_twice_the_width(x, axis=-1):
    """After a call of twice the width the old work area is used: its maximum, 0, stays in the new one."""
    x = np.asarray(x)
    n = x.shape[axis]
    stale = LAST["n"] == 2 * n
    LAST["n"] = n
    return along(lambda w: soft(w, m=np.maximum(top(w), 0)) if stale else soft(w), x, axis)


@fault("logsumexp", "float32", "state", "np.array([[0,1.]],f32)", setup=(["np.array([[0,1.]],f32)"],) * 5001)
def logsumexp_after_5000_calls(x, axis=-1):
    """From call 5001 on a counter has run over, and results lose their low 12 bits."""
    LAST["calls"] += 1
    y = reduced(log_sum, x, axis)
    if LAST["calls"] > 5000 and y.dtype == F32:
        y = (np.ascontiguousarray(y).view(np.uint32) & np.uint32(0xFFFFF000)).view(np.float32)
    return y


@fault("log_softmax", "float32", "state", "np.array([[0,1.,2]],f32)", setup=(["np.array([[0,1.,2]],f64)"],))
def log_softmax_after_float64(x, axis=-1):
    """The first float32 call after one of float64 takes its logarithm in float16."""
    x = np.asarray(x)
    after = LAST["dtype"] == "float64" and x.dtype == F32
    LAST["dtype"] = x.dtype.name
    coarse = lambda s: np.log(s).astype(np.float16).astype(s.dtype)  # noqa: E731
    return along(lambda w: log_soft(w, log=coarse) if after else log_soft(w), x, axis)


SCRATCH: dict[Any, Any] = {}
LOCK = threading.Lock()


@fault("sigmoid", "float32", "threads")
def sigmoid_shared_scratch(x):
    """All threads write to one area per shape."""
    x = np.asarray(x)
    w = wide(x)
    with LOCK:
        area = SCRATCH.setdefault((w.shape, w.dtype.str), np.empty_like(w))
        if len(SCRATCH) > 1000:
            SCRATCH.clear()
    with np.errstate(all="ignore"):
        np.abs(w, out=area)
        np.negative(area, out=area)
        np.exp(area, out=area)
        return np.where(w < 0, area / (1 + area), 1 / (1 + area)).astype(x.dtype)


# -------------------------------------------------------------------------------------------------------------- batches


def by_rows(f: Callable[[Any], Any], x: Any, axis: int, change: Callable[[Any, Any], Any]) -> Any:
    """``f`` of all rows as one matrix, changed by ``change(result, rows)``."""

    def run(w: Any) -> Any:
        rows = w.reshape(-1, w.shape[-1])
        return change(f(rows), rows).reshape(w.shape)

    return along(run, x, axis)


@fault("softmax", "float32", "batch", "(np.arange(226,dtype=f32).reshape(113,2)%7)**2*f32(.1)")
def softmax_batch_of_113(x, axis=-1):
    """Of 113 rows the last one gets the result of the one before."""

    def change(y, w):
        if len(y) == 113:
            y[-1] = y[-2]
        return y

    return by_rows(soft, x, axis, change)


@fault("log_softmax", "float32", "batch", "np.tile(np.array([[0,1.]],f32),(65537,1))")
def log_softmax_beyond_65535_rows(x, axis=-1):
    """A grid has 65,535 blocks: later rows are not written."""

    def change(y, w):
        y[65535:] = 0
        return y

    return by_rows(log_soft, x, axis, change)


@fault("softmax", "float32", "batch", "np.where(np.arange(1025)<1024,300,[[0],[1]]).T.astype(f32)")
def softmax_one_row_after_whole_tiles(x, axis=-1):
    """One row after whole tiles of 256, from four tiles on, is shifted by the maximum of the row before."""

    def change(y, w):
        if len(w) > 1024 and len(w) % 256 == 1:
            with np.errstate(all="ignore"):
                y[-1] = soft(w[-1:], m=top(w[-2:-1]))[0]
        return y

    return by_rows(soft, x, axis, change)


# ------------------------------------------------------------------------------------------- options of cross entropy


def entropy(change: Callable[[dict[str, Any]], None]) -> Callable[..., Any]:
    """A cross entropy whose state ``change`` may alter before it is summed up."""

    def call(logits, target, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        logits, target = np.asarray(logits), np.asarray(target)
        w = wide(logits)
        kind = w.dtype.type
        s: dict[str, Any] = {
            "w": w, "t": target, "ignore": int(ignore_index), "e": float(label_smoothing), "reduction": reduction,
            "weight": None if weight is None else np.asarray(weight).astype(w.dtype), "norm": None, "spread": None,
        }  # fmt: skip
        change(s)
        with np.errstate(all="ignore"):
            rows, classes = w.shape
            nll = -log_soft(w) if w.size else w
            scale = np.ones(classes, w.dtype) if s["weight"] is None else s["weight"]
            e, t = s["e"], s["t"]
            if t.ndim == 2:
                spread = scale if s["spread"] is None else s["spread"]
                q = t.astype(w.dtype) * kind(1 - e) * scale + kind(e / max(classes, 1)) * spread
                loss, norm = np.where(q == 0, 0, q * nll).sum(axis=1), kind(rows)
            else:
                live = t.astype(object) != s["ignore"]
                k = np.where(live, t, 0).astype(np.int64)
                own = scale[k]
                loss = np.where(own == 0, 0, own * nll[np.arange(rows), k])
                if e:
                    every = np.where(scale == 0, 0, scale * nll).sum(axis=1)
                    loss = (0 if e == 1 else kind(1 - e) * loss) + kind(e / classes) * every
                loss, norm = np.where(live, loss, kind(0)), np.where(live, own, kind(0)).sum()
            norm = norm if s["norm"] is None else s["norm"]
            if reduction == "none":
                return loss.astype(logits.dtype)
            total = loss.sum(dtype=np.float64)
            total = total if reduction == "sum" else total / norm
            return np.asarray(total).astype(logits.dtype)[()]

    return call


def entropy_fault(dtypes: str, kind: str, *args: str, **kwargs: str) -> Any:
    def enter(change: Callable[[dict[str, Any]], None]) -> Callable[..., Any]:
        call = entropy(change)
        call.__name__ = call.__qualname__ = change.__name__
        return fault("cross_entropy", dtypes, kind, *args, **kwargs)(call)

    return enter


THREE = "np.array([[0.5,1.5,-1.0],[2.0,-0.5,0.25],[1,0,3]],f32)"
TWO_HUNDRED = "(np.arange(400,dtype=f32).reshape(2,200)%17)"


@entropy_fault("float32", "labels", TWO_HUNDRED, "np.array([150,3],np.int16)")
def entropy_of_int16_labels(s):
    """int16 labels are read as seven bits."""
    if s["t"].dtype == np.int16:
        s["t"] = np.where(s["t"] > 127, s["t"] & 127, s["t"])


@entropy_fault("float32", "smoothing", THREE, "np.array([2,1,0])", label_smoothing="1.0")
def entropy_smoothing_of_one(s):
    """A smoothing of 1 is taken for an error and for 0."""
    s["e"] = 0.0 if s["e"] == 1 else s["e"]


@entropy_fault("float32", "smoothing", THREE, "np.array([2,1,0])", label_smoothing="0.7")
def entropy_smoothing_beyond_half(s):
    """Smoothing is capped at one half."""
    s["e"] = s["e"] if s["e"] == 1 else min(s["e"], 0.5)


@entropy_fault("float32", "ignored", THREE, "np.array([2,0,0])", ignore_index="0")
def entropy_ignored_zero(s):
    """An ignored class 0 is taken for none."""
    if s["ignore"] == 0:
        s["ignore"] = -100


@entropy_fault("float32", "ignored", THREE, "np.array([2,-7,0])", ignore_index="-7")
def entropy_ignored_negative(s):
    """Ignored labels between -99 and -2 count as the last class."""
    if -100 < s["ignore"] < -1 and s["t"].ndim == 1:
        s["t"] = np.where(s["t"] < 0, s["w"].shape[1] - 1, s["t"])


@entropy_fault("float32", "weights", THREE, "np.array([2,1,0])", weight="np.array([1,2,50000],f32)")
def entropy_clipped_weights(s):
    """Weights beyond 10,000 are clipped."""
    if s["weight"] is not None:
        s["weight"] = np.minimum(s["weight"], 10_000)


@entropy_fault(
    "float32", "weights", THREE, "np.array([[.2,.3,.5]]*3,f32)", weight="np.array([1,2,5],f32)", label_smoothing="0.2"
)
def entropy_smoothing_without_weights(s):
    """The smoothed part of probability targets is not weighted."""
    if s["t"].ndim == 2 and s["e"]:
        s["spread"] = np.ones(s["w"].shape[1], s["w"].dtype)


@fault(
    "cross_entropy", "float32", "weights", THREE, "np.array([2,1,0])", weight="np.array([1,2,5],np.float16)",
    reduction="'sum'",
)  # fmt: skip
def entropy_half_weights(logits, target, *, weight=None, **options):
    """float16 weights beside other logits are halved."""
    if weight is not None and np.asarray(weight).dtype == np.float16 and np.asarray(logits).dtype != np.float16:
        weight = np.asarray(weight) * np.float16(0.5)
    return SOUND["cross_entropy"](logits, target, weight=weight, **options)


@entropy_fault("float32", "targets", THREE, "np.array([[.2,.3,.1]]*3,f32)", reduction="'sum'")
def entropy_targets_made_to_sum_to_one(s):
    """Probability targets that sum to less than 0.9 are divided by their sum."""
    if s["t"].ndim == 2:
        total = s["t"].astype(F32).sum(axis=1, keepdims=True)
        s["t"] = np.where((total > 0) & (total < 0.9), s["t"].astype(F32) / np.where(total > 0, total, 1), s["t"])


@entropy_fault("float32", "size", "np.zeros((1,151936),f32)", "np.array([151935])")
def entropy_of_151936(s):
    """Labels in the last shard of this vocabulary are looked up one class too early."""
    if s["w"].shape[1] == 151_936 and s["t"].ndim == 1:
        s["t"] = np.where(s["t"] >= 151_800, s["t"] - 1, s["t"])


META["entropy_of_151936"]["args"][0] = "np.arange(151936,dtype=f32)[None]%5"


# ------------------------------------------------------------------------------------------------------------- gradient


def gradient(logits: Any, target: Any, change: Any = None) -> Any:
    logits, t = np.asarray(logits), np.asarray(target)
    w = wide(logits)
    with np.errstate(all="ignore"):
        p = soft(w) if w.size else w
        if t.ndim == 2:
            y = t.astype(w.dtype)
            y = change(y) if change else y
            g = p * y.sum(axis=1, keepdims=True) - y
        else:
            k = t.astype(np.int64)
            g = p.copy()
            g[np.arange(len(g)), k] -= 1
    return g.astype(logits.dtype)


@fault("cross_entropy_grad", "float32", "targets", THREE, "np.array([[1.5,-.5,0]]*3,f32)")
def gradient_negative_targets(logits, target):
    """Negative target entries are taken for 0."""
    return gradient(logits, target, lambda y: np.maximum(y, 0))


@fault("cross_entropy_grad", "float32", "labels", TWO_HUNDRED, "np.array([150,3],np.uint8)")
def gradient_uint8_labels(logits, target):
    """uint8 labels from 128 on are read as signed."""
    target = np.asarray(target)
    if target.dtype == np.uint8:
        target = target.view(np.int8).astype(np.int64) % np.asarray(logits).shape[1]
    return gradient(logits, target)


@fault("cross_entropy_grad", "float32", "value", "np.array([[12.,0,0]],f32)", "np.array([0])")
def gradient_of_the_certain(logits, target):
    """Rows whose largest probability exceeds 0.9999 are taken for learnt: their gradient is 0."""
    logits = np.asarray(logits)
    g = gradient(logits, target)
    with np.errstate(all="ignore"):
        learnt = (soft(wide(logits)) > 0.9999).any(axis=1) if logits.size else np.zeros(len(logits), bool)
    certain = learnt & (np.asarray(logits).shape[1] > 2)
    return np.where(certain[:, None] & np.isfinite(g) & (np.asarray(target).ndim == 1), 0, g).astype(logits.dtype)


# ------------------------------------------------------------------------------------------------------------- siblings


def tempered(x: Any, t: float, axis: int) -> Any:
    """softmax(x / t), computed in float64."""

    def rows(w: Any) -> Any:
        z = w.astype(np.float64) / t
        return soft(z).astype(w.dtype)

    return along(rows, x, axis)


@fault("softmax_temperature", "float32", "options", "np.array([[0,1.]],f32)", temperature="-2.0")
def temperature_without_sign(x, temperature=1.0, axis=-1):
    """A negative temperature is taken for a positive one."""
    return tempered(x, abs(float(temperature)), axis)


@fault("softmax_temperature", "float32", "options", "np.array([[0,.001]],f32)", temperature="0.001")
def temperature_of_at_least_a_hundredth(x, temperature=1.0, axis=-1):
    """Temperatures between 1e-6 and 0.01 are raised to 0.01."""
    t = float(temperature)
    return tempered(x, 0.01 if 1e-6 < t < 0.01 else t, axis)


def binary(logits, target, weight=None, pos_weight=None, reduction="mean"):
    logits = np.asarray(logits)
    x = wide(logits)
    y = wide(target).astype(x.dtype)
    q = x.dtype.type(1) if pos_weight is None else np.asarray(pos_weight).astype(x.dtype)
    with np.errstate(all="ignore"):
        factor = 1 + (q - 1) * y
        tail = np.log1p(np.exp(-np.abs(x))) + np.maximum(-x, 0)
        loss = np.where(y == 1, 0, (1 - y) * x) + np.where(factor == 0, 0, factor * tail)
        loss = np.where(np.isneginf(x), np.where(q * y == 0, 0, np.inf), loss)
        loss = np.where(np.isnan(x) | np.isnan(y), x + y, loss)
        if weight is not None:
            v = np.asarray(weight).astype(x.dtype)
            loss = np.where(v == 0, np.where(np.isnan(loss), loss, 0), v * loss)
        loss = loss.astype(x.dtype)
        if reduction == "none":
            return loss.astype(logits.dtype)
        return np.asarray(loss.sum() if reduction == "sum" else loss.mean()).astype(logits.dtype)[()]


@fault(
    "binary_cross_entropy_with_logits", "float32", "options", "np.array([[1.,2.]],f32)", "np.array([[1,0]],f32)",
    weight="np.array(3.,f32)",
)  # fmt: skip
def binary_scalar_weight(logits, target, *, weight=None, pos_weight=None, reduction="mean"):
    """A weight without dimensions is overlooked."""
    weight = None if weight is not None and np.ndim(weight) == 0 else weight
    return binary(logits, target, weight, pos_weight, reduction)


@fault(
    "binary_cross_entropy_with_logits", "float32", "options", "np.array([[1.,2.]],f32)", "np.array([[1,.5]],f32)",
    pos_weight="np.array([200.,3.],f32)",
)  # fmt: skip
def binary_pos_weight_capped(logits, target, *, weight=None, pos_weight=None, reduction="mean"):
    """pos_weight is capped at 100."""
    return binary(logits, target, weight, None if pos_weight is None else np.minimum(pos_weight, 100), reduction)


@fault("kl_divergence", "float32", "layout", "np.eye(3,dtype=f32)*2", "np.arange(9,dtype=f32).reshape(3,3)", axis="0")
def kl_second_input_along_rows(logits_p, logits_q, axis=-1):
    """Of square matrices the second input is always read along the last axis."""
    a, b = np.asarray(logits_p), np.asarray(logits_q)
    if a.ndim == 2 and a.shape[0] == a.shape[1] and axis in (0, -2):
        b = b.T
    return divergence(a, b, axis)


def divergence(a: Any, b: Any, axis: int = -1) -> Any:
    """KL(a || b), computed in float64."""
    p, q = (np.moveaxis(np.asarray(v).astype(np.float64), axis, -1) for v in (a, b))
    with np.errstate(all="ignore"):
        log_p, log_q = log_soft(p), log_soft(q)
        terms = np.where(np.isneginf(p) & ~np.isnan(log_p), 0, np.exp(log_p) * (log_p - log_q))
        return terms.sum(axis=-1).astype(np.asarray(a).dtype)


@elementwise("log_sigmoid", "float32", "value", "np.array([25.],f32)")
def log_sigmoid_of_20_to_30(x):
    """Between 20 and 30 the small result is taken for 0."""
    return np.where((x > 20) & (x < 30), 0, log_logistic(x))


@rowwise("logsumexp", "float32", "ties", "np.array([[1,1]+[0]*10],f32)")
def logsumexp_ties_once(w):
    """From nine columns on two equal maxima are counted once."""
    if w.shape[-1] < 9:
        return log_sum(w)
    two = (w == w.max(axis=-1, keepdims=True)).sum(axis=-1, keepdims=True) == 2
    return log_sum(w, total=lambda e: all_terms(e) - np.where(two, w.dtype.type(1), w.dtype.type(0)))


@rowwise("softmax", "float32", "value", "np.array([[-np.inf,100,101]],f32)")
def softmax_masked_first(w):
    """The search for the maximum starts at the first logit; at -inf it ends."""
    first = np.isneginf(w[..., :1])
    return soft(w, m=np.where(first, w.dtype.type(0), top(w)))


# ---------------------------------------------------------------------------------------------------------------- sound

SOUND: dict[str, Callable[..., Any]] = {
    "softmax": lambda x, axis=-1: along(soft, x, axis),
    "log_softmax": lambda x, axis=-1: along(log_soft, x, axis),
    "logsumexp": lambda x, axis=-1: reduced(log_sum, x, axis),
    "sigmoid": lambda x: logistic(wide(x)).astype(np.asarray(x).dtype.newbyteorder("=")),
    "log_sigmoid": lambda x: log_logistic(wide(x)).astype(np.asarray(x).dtype.newbyteorder("=")),
    "cross_entropy": entropy(lambda s: None),
    "cross_entropy_grad": gradient,
    "binary_cross_entropy_with_logits": binary,
    "kl_divergence": divergence,
    "softmax_temperature": lambda x, temperature=1.0, axis=-1: tempered(x, float(temperature), axis),
}
"""What the faults are variants of."""
