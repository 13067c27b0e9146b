"""Every number of the lesson as text, made from certified truth: template and phrases hold none of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import numpy as np

from lesson import tables
from lesson.arithmetic import correctly_rounded
from lesson.paths import PATHS
from xent_verify.auditing.recipes import true_quantities
from xent_verify.core.formats import FORMATS, FloatFormat
from xent_verify.explain import claims
from xent_verify.explain.claims_truth import quantity_of
from xent_verify.truth import exact
from xent_verify.truth.decimals import shown_interval
from xent_verify.truth.intervals import BigArithmetic

__all__ = ["CLAIMS", "facts"]

CLAIMS = Path(__file__).with_name("tutorial.toml")
"""The tutorial's claims, as in ``reports/claims/tutorial.toml``."""

ROW, TARGET = (3, 1, -1), 0
ONE_DIGIT = "0.9"
PUSHED = {"float32": (3, 30, 89, 100, 710, 1e5), "float64": (3, 30, 89, 710, 740, 1e5)}
OFFSETS = (1e4, 1e8)
ODDS, FAR = 9.0, 40.0
"""exp of the logit whose p is 0.9 against a logit of 0, and a logit whose p rounds to 1."""

PROBABILITIES = ("0.9", "0.1", "1.0")
FORMAT_NAMES = ("float64", "float32", "float16")
_PRECISION = 256


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim of the tutorial: what is claimed, the printed digits with wrong ones bold, the right ones, the truth."""

    quantity: str
    printed: str
    right: str
    true: str
    outcome: str


def facts() -> dict[str, Any]:
    """What the template and the phrases may name."""
    return {
        "claims": [_claimed(verdict) for verdict in claims.check(CLAIMS)],
        "row": _list(ROW),
        "y": _list([int(i == TARGET) for i in range(len(ROW))]),
        "truth": _truth(),
        "dropped": _dropped(),
        "digit": _one_digit(),
        "edges": {name: _edges(FORMATS[name]) for name in FORMAT_NAMES},
        "recipes": tables.recipes(),
        "winner": {name: _pushed(name, 0) for name in PUSHED},
        "loser": {name: _pushed(name, 1) for name in PUSHED},
        "offset": {name: _offset(name) for name in PUSHED},
        "stored": [_stored(c) for c in OFFSETS],
        "cases": {name: _cases(name) for name in PUSHED},
        "cases_p": ", ".join(PROBABILITIES),
        "classes": str(len(ROW)),
        "behind": str(ROW[1]),
        "given": _given(),
        "formats": list(FORMAT_NAMES),
        "paths": PATHS,
        "firsts": {name: tables.firsts(name, FORMAT_NAMES) for name in PATHS},
        "try": _commands(),
    }


def _claimed(verdict: claims.Verdict) -> Claimed:
    numbers = verdict.numbers
    return Claimed(
        verdict.quantity,
        ", ".join(_marked(number) for number in numbers),
        ", ".join(number.right for number in numbers),
        ", ".join(_digits(number.true, 8) for number in numbers),
        verdict.outcome,
    )


def _marked(number: claims.Number) -> str:
    """The printed digits, the wrong ones in bold: they stand together at the end."""
    if not number.wrong_digits:
        return number.printed
    start = min(number.wrong_digits)
    return f"{number.printed[:start]}**{number.printed[start:]}**"


def _truth() -> dict[str, Any]:
    """The tutorial's row: p, log p, log-sum-exp, loss, and the loss rounded to formats."""
    known = true_quantities(np.array(ROW, dtype=np.float64), TARGET)
    loss = known["loss"]
    rounded = {name: float(FORMATS[name].widen(loss.rounded(name))[0]) for name in FORMAT_NAMES}
    return {
        "p": [tables.true_text(known["p"][i], 20) for i in range(len(ROW))],
        "log_p": [_minus(tables.true_text(known["log p"][i], 20)) for i in range(len(ROW))],
        "logits": [_minus(str(value)) for value in ROW],
        "lse": tables.true_text(known["L"][0], 20),
        "loss": tables.true_text(loss[0], 20),
        "short": tables.true_text(loss[0], 4),
        "rounded": [(name, tables.hex_text(value)) for name, value in rounded.items()],
    }


def _dropped() -> dict[str, Any]:
    """The row without its last class: the printed p to the digit."""
    without: list[Any] = [*ROW[:-1], "-inf"]
    softmax, loss = ({"op": "softmax", "logits": without}, {"op": "cross_entropy", "logits": without, "target": TARGET})
    printed = claims.check(CLAIMS)[0].numbers
    share = _values({"op": "softmax", "logits": list(ROW)})[-1]
    change = {"op": "neg_log", "p": str(1 - Decimal(share))}
    return {
        "row": _list([*ROW[:-1], "−∞"]),
        "p": ", ".join(_digits(value, 6) for value in _values(softmax)),
        "printed": ", ".join(number.printed for number in printed),
        "sum": str(sum(Decimal(number.printed) for number in printed)),
        "share": _digits(share, 3),
        "exp": _digits(shown_interval(BigArithmetic(_PRECISION).exp(_number(ROW[-1]))), 3),
        "last": _minus(str(ROW[-1])),
        "loss": _digits(_values(loss)[0], 4),
        "change": _digits(_values(change)[0], 3),
    }


def _one_digit() -> dict[str, str]:
    """What a probability printed to one digit says about its loss."""
    half = Decimal("0.05")
    low, high = Decimal(ONE_DIGIT) - half, Decimal(ONE_DIGIT) + half
    loss, most, least = (_values({"op": "neg_log", "p": str(p)})[0] for p in (ONE_DIGIT, low, high))
    true = _values({"op": "cross_entropy", "logits": list(ROW), "target": TARGET})[0]
    off = 100 * abs(Decimal(loss) / Decimal(true) - 1)
    ends = {"low": str(low), "high": str(high), "least": _digits(least, 3), "most": _digits(most, 3)}
    return ends | {"p": ONE_DIGIT, "loss": _digits(loss, 4), "off": _digits(str(off), 2)}


def _edges(form: FloatFormat) -> dict[str, str]:
    """Where exp leaves the format: above, into the subnormal range, to 0; and the unit roundoff."""
    eta = form.e_min - form.precision + 1
    return {
        "overflow": _log_of(int(form.max_finite)),
        "subnormal": _log_of(1 << -form.e_min),
        "zero": _log_of(1 << (1 - eta)),
        "u": tables.number_text(form.unit_roundoff, least=0),
        "max": _label(form.max_finite),
    }


def _log_of(value: int) -> str:
    a = BigArithmetic(_PRECISION)
    return tables.true_text(exact.enclose([a.log(a.number(value))])[0], 6)


def _pushed(fmt: str, place: int) -> tables.Grid:
    rows = [(f"t = {_label(t)}", (t, *ROW[1:]), place) for t in PUSHED[fmt]]
    return tables.grid(rows, FORMATS[fmt])


def _offset(fmt: str) -> tables.Grid:
    return tables.grid([(f"c = {_label(c)}", [z + c for z in ROW], TARGET) for c in OFFSETS], FORMATS[fmt])


def _stored(c: float) -> dict[str, Any]:
    """What a row with an offset becomes in float32."""
    form = FORMATS["float32"]
    held = form.widen(form.narrow(np.array([z + c for z in ROW])))
    loss = true_quantities(held, TARGET)["loss"]
    return {
        "c": _label(c),
        "wanted": _list([int(z + c) for z in ROW]),
        "held": _list([int(value) for value in held]),
        "hex": ", ".join(tables.hex_text(value) for value in held),
        "ulp": f"{float(form.ulp(c)):.9g}",
        "loss": tables.true_text(loss[0]),
    }


def _cases(fmt: str) -> tables.Grid:
    """Rows of two classes whose probabilities are 0.9, 0.1 and all but 1."""
    form = FORMATS[fmt]
    odds = correctly_rounded("log", ODDS, fmt)
    rows = [(odds, 0), (odds, 1), (FAR, 0)]
    return tables.grid([(f"p ≈ {p}", (z, 0), place) for p, (z, place) in zip(PROBABILITIES, rows, strict=True)], form)


def _given() -> dict[str, Any]:
    """Probabilities as decimals and as floats: the loss of each, and how it magnifies an error in p."""
    far = true_quantities(np.array([FAR, 0.0]), 0)["loss"][0]
    return {
        "rows": [_probability(p) for p in PROBABILITIES if float(p) < 1],
        "odds": _label(ODDS),
        "far": _label(FAR),
        "sure": PROBABILITIES[-1],
        "far_loss": tables.true_text(far, 4),
    }


def _probability(p: str) -> dict[str, str]:
    form = FORMATS["float32"]
    held = float(form.widen(form.narrow(float(p))))
    loss = _values({"op": "neg_log", "p": p})[0]
    held_loss = _values({"op": "neg_log", "p": str(Decimal(held))})[0]
    magnified = str(1 / Decimal(loss))
    texts = {"loss": _digits(loss, 12), "held_loss": _digits(held_loss, 12), "magnified": _digits(magnified, 3)}
    return texts | {"p": p, "hex": tables.hex_text(held), "held": _digits(str(Decimal(held)), 12)}


def _commands() -> list[str]:
    rows = ((ROW, TARGET), ((PUSHED["float32"][2], *ROW[1:]), 1), ([z + OFFSETS[0] for z in ROW], TARGET))
    return [f"xent-verify explain {_plain(row)} --target {target}" for row, target in rows]


def _values(table: dict[str, Any]) -> list[str]:
    """A quantity's true values to 30 digits."""
    return [value.digits for value in quantity_of(table, "lesson").values]


def _number(value: float) -> Any:
    return BigArithmetic(_PRECISION).number(value)


def _digits(text: str, count: int) -> str:
    """A decimal rounded to so many digits; integers as they are."""
    number = Decimal(text)
    if number == number.to_integral_value() and abs(number) < 10:
        return f"{int(number)}"
    rounded = Context(prec=count).plus(number)
    return f"{rounded:f}" if -5 < rounded.adjusted() < 12 else f"{rounded:e}"


def _label(value: float) -> str:
    digits, mark, power = f"{value:g}".partition("e")
    return f"{digits}e{int(power)}" if mark else digits


def _list(values: Sequence[Any]) -> str:
    return "[" + ", ".join(_minus(str(value)) for value in values) + "]"


def _minus(text: str) -> str:
    """With a typographic minus sign."""
    return text.replace("-", "−")


def _plain(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
