"""What two targets have in common, as text and as strict JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from xent_verify.core.model import Example
from xent_verify.report.arrays import encode_array
from xent_verify.report.json import as_number, compact, free
from xent_verify.report.words import call_text, count_text, number_text, padded, share_text, value_text

if TYPE_CHECKING:
    from xent_verify.auditing.parity import DtypeParity, Farthest, Parity

__all__ = ["render", "to_json"]


def render(parity: Parity) -> str:
    """A paragraph a format."""
    lines = [f"{parity.op}: a is {parity.a}, b is {parity.b}"]
    for one in parity.dtypes:
        lines += ["", f"{one.dtype}: {count_text(one.total.elements)} values of {count_text(one.calls)} calls compared"]
        lines += [f"  {padded(label)}{text}" for label, text in _facts(one) if text]
    return "\n".join(lines) + "\n"


def _facts(one: DtypeParity) -> Iterator[tuple[str, str]]:
    total = one.total
    if not total.elements:
        yield from (("left out", why) for why in one.left_out)
        return
    yield "same", f"{share_text(total.equal / total.elements)} of the values"
    yield (
        "apart",
        f"at most {number_text(total.max_ulp)} ulp"
        + (f"; NaN against a number {count_text(total.unlike)} times" if total.unlike else ""),
    )
    if one.farthest is not None:
        yield "farthest", call_text(_example(one.farthest))
        place = f"[{', '.join(map(str, one.farthest.index))}]" if one.farthest.index else ""
        yield f"  true{place}", one.farthest.true_digits
        yield "  a", value_text(one.farthest.a)
        yield "  b", value_text(one.farthest.b)
    if total.logs:
        share = share_text(total.outside / total.logs)
        yield (
            "log p",
            f"|Δ| at most {total.max_delta:.3g}; {share} of exp Δ outside [0.9, 1.1]; KL about {total.mean_kl:.3g}",
        )
    if total.judged:
        nearer = [share_text(count / total.judged) for count in (total.nearer_a, total.nearer_b)]
        yield "nearer", f"the truth: a in {nearer[0]}, b in {nearer[1]} of {count_text(total.judged)} values judged"
        ratios = f"a {number_text(total.ratio_a)}, b {number_text(total.ratio_b)}"
        yield "÷ limit", f"largest error ÷ limit: {ratios}; class: a {one.class_a or '–'}, b {one.class_b or '–'}"
    yield from (("differ in", line) for line in one.differ_in)
    yield from (("left out", why) for why in one.left_out)


def _example(far: Farthest) -> Example:
    return Example(far.inputs, far.options, far.layout, far.index, far.true_digits, far.a, far.b, None, None)


def to_json(parity: Parity) -> str:
    """``{"schema": 1, "a", "b", "op", "settings", "dtypes": [DTYPE], "environment"}``; the fields are those of the classes."""
    record: dict[str, Any] = {"schema": 1, "a": parity.a, "b": parity.b, "op": parity.op}
    record |= {"settings": free(parity.settings), "dtypes": [_dtype(one) for one in parity.dtypes]}
    return compact(record | {"environment": free(parity.environment)}) + "\n"


def _dtype(one: DtypeParity) -> dict[str, Any]:
    record: dict[str, Any] = {"dtype": one.dtype, "calls": one.calls, "total": _distances(one.total)}
    record |= {"class_a": one.class_a, "class_b": one.class_b, "differ_in": list(one.differ_in)}
    record |= {"left_out": list(one.left_out), "farthest": None}
    if one.farthest is not None:
        far = one.farthest
        record["farthest"] = {
            "inputs": [{"name": name} | encode_array(array) for name, array in far.inputs.items()],
            "options": free(far.options),
            "layout": far.layout,
            "index": list(far.index),
            "true_value": far.true_digits,
        } | {key: value for name in ("a", "b", "ulp") for key, value in as_number(name, getattr(far, name)).items()}
    record["regimes"] = [{"regime": name} | _distances(distances) for name, distances in one.regimes.items()]
    return record


def _distances(distances: Any) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for one in fields(distances):
        value = getattr(distances, one.name)
        record |= {one.name: value} if isinstance(value, int) else as_number(one.name, value)
    return record | as_number("mean_kl", distances.mean_kl)
