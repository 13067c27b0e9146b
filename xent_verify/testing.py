"""Conformance of adapters: does a library's array come and go with its bits, and is what a target does seen?

An adapter's author writes four small targets in the library and a function that opens them::

    def opened(behaviour: str) -> Candidate | None:
        return open_candidate(f"my_targets:{behaviour}", "softmax", arrays="mylib")

    def test_conformance() -> None:
        check_adapter(opened)

``None`` says that the library cannot have such a target (arrays that can't be written to).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.candidates import Candidate
from xent_verify.core.formats import FORMATS, FloatFormat, format_named
from xent_verify.core.model import LAYOUTS, Batch, Malformed, Outcome, Raised, Returned

__all__ = ["BEHAVIOURS", "check_adapter"]

BEHAVIOURS: Mapping[str, str] = {
    "copy": "copy(x): a new array equal to x, of its shape and dtype",
    "softmax": "softmax(x, axis=-1), under whatever name the axis has",
    "write": "write(x): adds 1 to x in place, then returns a new array equal to x",
    "refuse": "refuse(x): raises ValueError('refused')",
}
"""The targets a conformance check needs."""

_SHAPES = ((2, 3), (3,), (1, 1), (2, 1, 4), (17, 5), (0, 3), (3, 0))

Opener = Callable[[str], Candidate | None]


def check_adapter(
    open_fn: Opener, *, formats: Sequence[str] = tuple(FORMATS), behaviours: Sequence[str] = tuple(BEHAVIOURS)
) -> tuple[str, ...]:
    """Check everything; ``AssertionError`` lists what is wrong. Gives back what was checked, in words.

    ``open_fn(behaviour)`` opens a target of ``BEHAVIOURS`` as an implementation of softmax. Formats and shapes that a
    target does not take (``supports``) or refuses by an exception are left out of what was checked; float32 must be taken.
    """
    wrong: list[str] = []
    done: list[str] = []
    for behaviour in behaviours:
        candidate = open_fn(behaviour)
        if candidate is None:
            continue
        with candidate:
            for name, problem in _CHECKS[behaviour](candidate, [format_named(name) for name in formats]):
                if problem:
                    wrong.append(f"{behaviour}, {name}: {problem}")
                elif problem is not None:
                    done.append(f"{behaviour}: {name}")
    if not any(name.startswith(("copy: float32", "copy: float64")) for name in done) and "copy" in behaviours:
        wrong.append("copy: neither float32 nor float64 is taken")
    if wrong:
        raise AssertionError("\n".join(["the adapter does not conform:", *wrong]))
    return tuple(done)


Checked = Iterator[tuple[str, str | None]]
"""(what was checked, "" for right, what is wrong, or None where the target does not take it)."""


def _values(form: FloatFormat, shape: tuple[int, ...]) -> NDArray[Any]:
    """Ordinary numbers, both zeros, subnormals, the ends of the range, infinities and NaN."""
    top, low = form.max_finite, form.smallest_subnormal
    special = [0.0, -0.0, low, -low, form.smallest_normal, top, -top, 1.0, -1.5, 3.0]
    special += [float("nan")] if form.has_nan else []
    special += [float("inf"), float("-inf")] if form.has_inf else []
    flat = np.fromiter(itertools.cycle(special), np.float64, int(np.prod(shape)))
    return form.narrow(flat).reshape(shape)


def _batch(form: FloatFormat, x: NDArray[Any], layout: str = "C", **options: Any) -> Batch:
    return Batch("softmax", form.name, "conformance", {"x": x}, options, layout)


def _copies(candidate: Candidate, forms: Sequence[FloatFormat]) -> Checked:
    for form in forms:
        for shape in _SHAPES:
            yield f"{form.name} {shape}", _copied(candidate, form, _batch(form, _values(form, shape)))
        for layout in LAYOUTS:
            x = np.ascontiguousarray(np.broadcast_to(_values(form, (5,)), (4, 5)))
            yield f"{form.name} layout {layout}", _copied(candidate, form, _batch(form, x, layout))


def _copied(candidate: Candidate, form: FloatFormat, batch: Batch) -> str | None:
    if not candidate.supports(batch):
        return None
    outcome = candidate.call(batch)
    if not isinstance(outcome, Returned):
        return None if isinstance(outcome, Raised) else f"came back as {outcome}"
    if outcome.dtype_name != form.name or outcome.value.shape != batch.x.shape:
        return f"{outcome.dtype_name} {outcome.value.shape} came back"
    nan = np.isnan(form.widen(batch.x))
    if not np.array_equal(np.isnan(form.widen(outcome.value)), nan):
        return "NaN did not come back as NaN"
    if not np.array_equal(form.to_bits(outcome.value)[~nan], form.to_bits(batch.x)[~nan]):
        return "other bits came back"
    return _conduct(outcome)


def _conduct(outcome: Returned) -> str:
    """What the adapter itself must not do."""
    seen = [f"{outcome.mutated} counts as written to"] if outcome.mutated else []
    seen += ["an earlier result counts as changed"] if outcome.earlier_changed else []
    seen += ["a new array counts as the argument"] if outcome.aliases_input else []
    seen += [f"{', '.join(outcome.global_state)} changed"] if outcome.global_state else []
    return "; ".join(seen)


def _along_axes(candidate: Candidate, forms: Sequence[FloatFormat]) -> Checked:
    for form in forms:
        if form.scale:
            continue  # no softmax in a format without a zero
        x = form.narrow(np.array([[0.0, 1.0, 2.0, -1.0], [3.0, 1.0, -1.0, 0.5], [0.0, 0.0, 0.0, 0.0]]))
        for axis in (-1, 0, 1):
            batch = _batch(form, x, axis=axis)
            outcome = candidate.call(batch) if candidate.supports(batch) else None
            if outcome is None or isinstance(outcome, Raised):
                yield f"{form.name} axis {axis}", None
                continue
            e = np.exp(form.widen(x))
            yield (
                f"{form.name} axis {axis}",
                _near(outcome, e / e.sum(axis=axis, keepdims=True), 4 * form.unit_roundoff),
            )


def _near(outcome: Outcome, wanted: NDArray[np.float64], tolerance: float) -> str:
    if not isinstance(outcome, Returned) or outcome.value.shape != wanted.shape:
        return f"came back as {outcome}"
    error = np.abs(outcome.value.astype(np.float64) - wanted).max()
    return "" if error <= max(tolerance, 1e-6) else f"is {error:.2g} away from the softmax along that axis"


def _writes(candidate: Candidate, forms: Sequence[FloatFormat]) -> Checked:
    form = forms[0]
    x = form.narrow(np.arange(6.0).reshape(2, 3))
    kept = x.copy()
    outcome = candidate.call(_batch(form, x))
    if not isinstance(outcome, Returned):
        yield form.name, f"came back as {outcome}"
        return
    yield "seen", "" if outcome.mutated == ("x",) else f"a write to the argument went unseen ({outcome.mutated})"
    yield "kept from the caller", "" if np.array_equal(x, kept) else "the caller's array was written to"


def _refusals(candidate: Candidate, forms: Sequence[FloatFormat]) -> Checked:
    x = forms[0].narrow(np.arange(6.0).reshape(2, 3))
    for _ in range(2):
        outcome = candidate.call(_batch(forms[0], x))
        fine = isinstance(outcome, Raised) and "refused" in outcome.message and not isinstance(outcome, Malformed)
        yield "as a value", "" if fine else f"an exception came back as {outcome}"


_CHECKS: Mapping[str, Callable[[Candidate, Sequence[FloatFormat]], Checked]] = {
    "copy": _copies,
    "softmax": _along_axes,
    "write": _writes,
    "refuse": _refusals,
}
