"""Expected values that other projects print in their tests: ``python benchmarks/expected.py [--out reports/expected.md]``.

Each file of ``benchmarks/expected/`` holds the numbers of one project with their addresses, as claims. They are judged by
``claims``, and every true value is compared with plain mpmath formulas that share nothing with the package but the inputs.
"""

from __future__ import annotations

import argparse
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import mpmath
import numpy as np

from xent_verify.core.formats import FORMATS
from xent_verify.explain import claims

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks" / "expected"
BITS = 4000
SAME = mpmath.mpf(10) ** -28


def plain(claim: Mapping[str, Any]) -> list[Any]:
    """The true values of a claim by textbook formulas in mpmath."""
    form = FORMATS.get(claim.get("literal", ""))

    def numbers(value: Any) -> Any:
        if isinstance(value, list):
            return [numbers(one) for one in value]
        return mpmath.mpf(str(value)) if form is None else mpmath.mpf(float(form.widen(form.narrow(float(value)))))

    keys = ("about", "address", "op", "literal", "printed", "axis", "reduction", "ignore_index", "label_smoothing")
    given = {key: numbers(value) for key, value in claim.items() if key not in keys}
    op = claim["op"]
    if op in LOSSES:
        return LOSSES[op](given, claim)
    first, *more = given.values()
    if op in ELEMENTS:
        return _each(ELEMENTS[op], first, *more)
    shape = np.array(first, object).shape
    rows = [
        np.moveaxis(np.array(one, object), claim.get("axis", -1), -1)
        for one in (first, *more)
        if np.shape(one) == shape
    ]
    flat = [row.reshape(-1, row.shape[-1]).tolist() for row in rows]
    scalars = [np.ravel(np.array(one, object)).tolist() for one in more if np.shape(one) != shape]
    found = [ROWS[op](*row) for row in zip(*flat, *scalars, strict=True)]
    if not isinstance(found[0], list):
        return found
    placed = np.array(found, object).reshape(rows[0].shape)
    return list(np.moveaxis(placed, -1, claim.get("axis", -1)).ravel())


def _each(function: Callable[..., Any], *parts: Any) -> list[Any]:
    return [function(*one) for one in zip(*(np.ravel(np.array(part, object)) for part in parts), strict=True)]


def _softplus(z: Any) -> Any:
    return mpmath.log1p(mpmath.exp(-abs(z))) + max(z, 0)


def _sigmoid(z: Any) -> Any:
    return 1 / (1 + mpmath.exp(-z))


def _log_sum(row: Sequence[Any]) -> Any:
    return max(row) + mpmath.log(mpmath.fsum(mpmath.exp(z - max(row)) for z in row))


def _softmax(row: Sequence[Any]) -> list[Any]:
    return [mpmath.exp(z - _log_sum(row)) for z in row]


def _log_softmax(row: Sequence[Any]) -> list[Any]:
    return [z - _log_sum(row) for z in row]


def _through_softmax(row: Sequence[Any], grad: Sequence[Any]) -> list[Any]:
    p = _softmax(row)
    mean = mpmath.fdot(p, grad)
    return [a * (g - mean) for a, g in zip(p, grad, strict=True)]


def _cross_entropy(given: Mapping[str, Any], claim: Mapping[str, Any]) -> list[Any]:
    """Rows of logits or of log-probabilities; weights, smoothing, ignored labels, reductions."""
    x = given.get("logits", given.get("log_probabilities"))
    rows, targets = (x, claim["target"]) if isinstance(x[0], list) else ([x], [claim["target"]])
    losses, divisor = [], mpmath.mpf(0)
    smooth = mpmath.mpf(float(claim.get("label_smoothing", 0)))
    for place, (row, target) in enumerate(zip(rows, targets, strict=True)):
        log_p = _log_softmax(row) if "logits" in given else row
        weight = given.get("weight", [mpmath.mpf(1)] * len(row))
        if isinstance(target, list):
            shares, counted = (given["target"][place] if rows is x else given["target"]), mpmath.mpf(1)
        elif target == claim.get("ignore_index", -100):
            losses.append(mpmath.mpf(0))
            continue
        else:
            shares, counted = [int(c == target) for c in range(len(row))], weight[target]
        parts = (w * (y * (1 - smooth) + smooth / len(row)) * -z for w, y, z in zip(weight, shares, log_p, strict=True))
        losses.append(mpmath.fsum(parts))
        divisor += counted
    return _reduced(losses, divisor, claim.get("reduction", "mean" if rows is x else "none"))


def _binary(given: Mapping[str, Any], claim: Mapping[str, Any]) -> list[Any]:
    x, y = (np.array(given[key], object) for key in ("logits", "target"))
    weight = np.broadcast_to(np.array(given.get("weight", 1), object), x.shape)
    losses = _each(lambda z, t, w: w * (t * _softplus(-z) + (1 - t) * _softplus(z)), x, y, weight)
    return _reduced(losses, len(losses), claim.get("reduction", "mean"))


def _reduced(losses: list[Any], divisor: Any, reduction: str) -> list[Any]:
    return losses if reduction == "none" else [mpmath.fsum(losses) / (divisor if reduction == "mean" else 1)]


def _attention(given: Mapping[str, Any], claim: Mapping[str, Any]) -> list[Any]:
    found = []
    for query in given["q"]:
        p = _softmax([mpmath.mpf(float(claim["scale"])) * mpmath.fdot(query, key) for key in given["k"]])
        found += [mpmath.fdot(p, column) for column in zip(*given["v"], strict=True)]
    return found


def _entropy_of(given: Mapping[str, Any], _: Mapping[str, Any]) -> list[Any]:
    return [-mpmath.fsum(y * mpmath.log(p) for p, y in zip(given["p"], given["y"], strict=True) if y)]


ELEMENTS: Mapping[str, Callable[..., Any]] = {
    "sigmoid": _sigmoid,
    "log_sigmoid": lambda z: -_softplus(-z),
    "softplus": _softplus,
    "neg_log": lambda p: -mpmath.log(p),
    "vjp(sigmoid)": lambda z, g: g * _sigmoid(z) * _sigmoid(-z),
    "vjp(log_sigmoid)": lambda z, g: g * _sigmoid(-z),
    "vjp(softplus)": lambda z, g: g * _sigmoid(z),
}
ROWS: Mapping[str, Callable[..., Any]] = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "logsumexp": _log_sum,
    "softmax_one": lambda row: _softmax([*row, mpmath.mpf(0)])[:-1],
    "entropy": lambda row: -mpmath.fdot(_softmax(row), _log_softmax(row)),
    "vjp(softmax)": _through_softmax,
    "vjp(log_softmax)": lambda row, g: [a - p * mpmath.fsum(g) for a, p in zip(g, _softmax(row), strict=True)],
    "vjp(logsumexp)": lambda row, g: [g * p for p in _softmax(row)],
}
LOSSES: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], list[Any]]] = {
    "cross_entropy": _cross_entropy,
    "nll": _cross_entropy,
    "binary_cross_entropy_with_logits": _binary,
    "cross_entropy_of_p": _entropy_of,
    "attention": _attention,
}


@dataclass(frozen=True)
class Printed:
    """One printed number: where it stands, what was made of it, and whether the plain formulas give the same truth."""

    address: str
    literal: str
    number: claims.Number
    agreed: bool

    @property
    def ulps(self) -> float | None:
        """|printed - true| in ulps of the literal's format."""
        form = FORMATS.get(self.literal)
        if form is None:
            return None
        true = Decimal(self.number.true)
        return float(abs(Decimal(self.number.printed) - true)) / float(form.ulp(float(true)))


def judged(path: Path) -> tuple[dict[str, Any], list[Printed]]:
    """A file's head, and its numbers."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    found = []
    with mpmath.workprec(BITS):
        for claim, verdict in zip(data["claim"], claims.check(path), strict=True):
            for number, value in zip(verdict.numbers, plain(claim), strict=True):
                true = mpmath.mpf(number.true)
                agreed = bool(true == value or abs(true - value) <= SAME * abs(value))
                found.append(Printed(verdict.address, verdict.literal, number, agreed))
    return data, found


def rows(title: str, source: str, found: Sequence[Printed]) -> str:
    """A project's row of the table."""
    wrong = [one for one in found if not one.number.holds]
    exact = sum(one.number.to_its_digits for one in found)
    off = max((one.number.units or 0.0 for one in wrong), default=0.0)
    ulps = max((one.ulps or 0.0 for one in wrong), default=0.0)
    repository, commit = source.split("@")
    cells = (
        title, f"{repository} @ {commit[:12]}", len(found), exact, len(found) - exact - len(wrong), len(wrong),
        _short(off) if wrong else "", _short(ulps) if ulps else "",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}" if value < 1e5 else f"{value:.1e}"


def wrong_lines(found: Sequence[Printed]) -> Iterator[str]:
    """Address, printed, true, distance of each wrong number."""
    for one in found:
        number = one.number
        if not number.holds:
            ulps = "" if one.ulps is None else f"{_short(one.ulps)} {one.literal}"
            yield f"| {one.address} | {number.printed} | {number.true} | {_short(number.units or math.inf)} | {ulps} |"


HEAD = """# Expected values printed in other projects' tests

Made by `python benchmarks/expected.py`, from `benchmarks/expected/*.toml`: {count} numbers of {projects} projects, each
with its address. A number is *right to its digits* where it is the true value rounded to the digits printed. It is *right as a
literal* where it is not, but reads as the correctly rounded value in the format of its test. Every other number is *wrong*.
The true value is that of the inputs as the test's format holds them.

{statement}

| project | source | values | right to their digits | right as literals only | wrong | worst, in last digits | worst, in ulps |
|---|---|---:|---:|---:|---:|---:|---:|
"""
NONE = """**No number speaks against the certified truth.** Plain mpmath formulas at {bits} bits give the same digits as
`claims` for all {count} numbers. The {wrong} wrong ones are the rounding, the truncation or the arithmetic of the program
that printed them."""
SOME = """**{against} numbers need a look:** plain mpmath formulas at {bits} bits do not give the digits of `claims`:
{where}."""
FOOT = """
Some tests print what another definition gives, and are not among the numbers: class weights times a smoothed loss in MLX,
means over the sum of the weights in TensorFlow.js, gradients of targets that do not sum to 1 in TensorFlow.
"""


def report() -> str:
    """The page."""
    table, details, every = [], [], []
    for path in sorted(FOLDER.glob("*.toml")):
        data, found = judged(path)
        every += found
        table.append(rows(data["title"], data["source"], found))
        if lines := list(wrong_lines(found)):
            head = "| where | printed | true | off, in last digits | off, in ulps |\n|---|---:|---:|---:|---:|"
            details.append(f"\n### {data['title']}\n\n{head}\n" + "\n".join(lines) + "\n")
    wrong = sum(not one.number.holds for one in every)
    exact = sum(one.number.to_its_digits for one in every)
    against = [one for one in every if not one.agreed]
    statement = (SOME if against else NONE).format(
        bits=BITS, count=len(every), wrong=wrong, against=len(against), where=", ".join(one.address for one in against)
    )
    total = f"| **all** | | {len(every)} | {exact} | {len(every) - exact - wrong} | {wrong} | | |"
    head = HEAD.format(count=len(every), projects=len(table), statement=statement)
    return head + "\n".join([*table, total]) + "\n" + FOOT + "\n## The wrong numbers\n" + "".join(details)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "expected.md")
    arguments = parser.parse_args()
    text = report()
    arguments.out.write_text(text, encoding="utf-8")
    print(text[: text.index("\n## ")])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
