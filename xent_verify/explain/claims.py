"""Printed numbers against the truth, to the digits printed: a tutorial, a paper's table, golden test values.

A claims file is TOML. One table per claim::

    title = "A tutorial's numbers"

    [[claim]]
    about = "softmax of the example row"       # optional, shown in the verdict
    op = "softmax"
    logits = [3, 1, -1]
    printed = ["0.88", "0.12", "0.00"]

    [[claim]]
    op = "neg_log"                             # -log p of a given p
    p = "0.9"
    printed = "0.1054"
    stands_for = { op = "cross_entropy", logits = [3, 1, -1], target = 0 }

``op`` is an operation of the table, or one of two on given probabilities: ``neg_log`` (p) and ``cross_entropy_of_p`` (p, y:
-sum y log p, 0 log 0 = 0). Its inputs and options have their own names; ``logits`` names the first input of every operation,
``target`` the second. One row of logits is a list, a batch a list of lists, which is reduced as ``reduction`` says.

* Numbers, quoted or not, are exactly the decimals that are written: 0.1 is one tenth, not a float; 87 % is 0.87. A logit may
  be -inf.
* ``printed`` is quoted, so that its digits are known: "0.00" claims two decimals, "1.3e-5" two digits.
* A claim holds when every printed decimal is the true value rounded to the digits printed; a tie may go either way.
* ``literal`` names a format: the inputs are rounded to it first, and a printed decimal is right, too, where it is read as
  the correctly rounded value in that format, as values are that a program printed.
* ``stands_for`` names the quantity that the number is used for, where that is another one: a number that is right for
  what was computed and wrong for what it stands for is *misapplied*, which counts as wrong.
* ``address`` says where the number stands.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Literal

from xent_verify.core.documents import read_toml, shown
from xent_verify.core.failures import UnknownNameError, UsageError, printable
from xent_verify.explain.claims_truth import Quantity, matches, printed_number, quantity_of, rounded_like, units
from xent_verify.report.terminal import console, written

__all__ = ["Number", "Verdict", "check", "render", "to_json"]

_CLAIM_KEYS = ("about", "address", "printed", "stands_for")
_FILE_KEYS = ("title", "source", "claim")


@dataclass(frozen=True, slots=True)
class Number:
    """One printed number: what it is, what it should be to the same digits, and the truth to 30 digits.

    ``literal``: whether it is right as a literal of the claim's format (None: the claim names none). ``units``: its distance
    from the truth in units of its last digit (None: one of them is infinite).
    """

    name: str
    printed: str
    right: str
    true: str
    holds: bool
    wrong_digits: tuple[int, ...]  # positions in ``printed``; empty where it holds
    literal: bool | None = None
    units: float | None = None

    @property
    def to_its_digits(self) -> bool:
        """Whether it is a right rounding of the truth, as a decimal."""
        return self.right == self.printed


@dataclass(frozen=True, slots=True)
class Verdict:
    """One claim judged."""

    about: str
    quantity: str
    outcome: Literal["holds", "wrong", "misapplied"]
    numbers: tuple[Number, ...]
    hint: str = ""
    literal: str = ""
    address: str = ""

    @property
    def ok(self) -> bool:
        return self.outcome == "holds"


def check(path: str | os.PathLike[str]) -> list[Verdict]:
    """Judge every claim of a file. ``UsageError`` (one line) for a file that cannot be read or understood."""
    source = printable(str(path))
    data = read_toml(path, parse_float=Decimal).fields
    unknown = [key for key in data if key not in _FILE_KEYS]
    if unknown:
        raise UnknownNameError(f"key in {source}", unknown[0], _FILE_KEYS)
    claims = data.get("claim", [])
    if isinstance(claims, dict):
        raise UsageError(f"{source}: [claim] should be [[claim]], with two brackets: a file holds a list of claims")
    if not isinstance(claims, list) or not claims or not all(isinstance(claim, dict) for claim in claims):
        raise UsageError(f"{source} holds no [[claim]] table: nothing to check")
    return [_judged(claim, f"{source}: claim {position}") for position, claim in enumerate(claims, 1)]


def _judged(claim: dict[str, Any], where: str) -> Verdict:
    quantity = quantity_of({key: value for key, value in claim.items() if key not in _CLAIM_KEYS}, where)
    printed = _printed(claim.get("printed"), len(quantity.values), where)
    numbers = tuple(_number(quantity, place, text) for place, text in enumerate(printed))
    intended = _intended(claim, where)
    about, address = claim.get("about", quantity.text), claim.get("address", "")
    for key, text in (("about", about), ("address", address)):
        if not isinstance(text, str):
            raise UsageError(f"{where}: {key} is {shown(text)}, should be a string")
    right = all(number.holds for number in numbers)
    fits = intended is None or _fits(printed, intended, where)
    outcome: Literal["holds", "wrong", "misapplied"] = "wrong" if not right else "holds" if fits else "misapplied"
    hint = "" if intended is None or fits else _hint(quantity, intended, printed, right)
    literal = "" if quantity.form is None else quantity.form.name
    return Verdict(about, quantity.text, outcome, numbers, hint, literal, address)


def _printed(value: Any, count: int, where: str) -> list[str]:
    given = _flat(value) if isinstance(value, list) else [value]
    if value is None or not all(isinstance(item, str | int | Decimal) and not isinstance(item, bool) for item in given):
        raise UsageError(f'{where}: printed is {shown(value)}, should be a number in quotes ("0.88") or a list of them')
    if len(given) != count:
        raise UsageError(f"{where}: {len(given)} numbers printed, the op gives {count}")
    texts = [str(item).strip().replace("−", "-") for item in given]
    for text in texts:
        printed_number(text, f"{where}: printed")
    return texts


def _flat(values: list[Any]) -> list[Any]:
    """The items of nested lists."""
    return [one for value in values for one in (_flat(value) if isinstance(value, list) else [value])]


def _number(quantity: Quantity, place: int, printed: str) -> Number:
    value = quantity.values[place]
    right, holds = rounded_like(value, printed)
    literal = matches(value, printed, quantity.form)
    wrong = () if holds or literal else _wrong_digits(printed, right)
    off = units(value, printed)
    return Number(quantity.names[place], printed, right, value.digits, holds or literal is True, wrong, literal, off)


def _wrong_digits(printed: str, right: str) -> tuple[int, ...]:
    """Where the printed text differs from the right one; all of it where they do not align."""
    if len(printed) != len(right):
        return tuple(range(len(printed)))
    return tuple(position for position, (a, b) in enumerate(zip(printed, right, strict=True)) if a != b)


def _intended(claim: dict[str, Any], where: str) -> Quantity | None:
    given = claim.get("stands_for")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise UsageError(f"{where}: stands_for is {shown(given)}, should be a table: {{ op = …, logits = … }}")
    return quantity_of(given, f"{where}, stands_for")


def _fits(printed: Sequence[str], intended: Quantity, where: str) -> bool:
    if len(intended.values) != len(printed):
        raise UsageError(f"{where}: stands_for gives {len(intended.values)} numbers, printed are {len(printed)}")
    return all(rounded_like(value, text)[1] for value, text in zip(intended.values, printed, strict=True))


def _hint(quantity: Quantity, intended: Quantity, printed: Sequence[str], right: bool) -> str:
    values = [rounded_like(value, text)[0] for value, text in zip(intended.values, printed, strict=True)]
    shown = ", ".join(f"{value} ({true.digits[:14]}…)" for value, true in zip(values, intended.values, strict=True))
    start = f"right for {quantity.text}, but" if right else "and"
    return f"{start} {intended.text} is {shown}"


def to_json(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as strict JSON."""
    from xent_verify.report.json import compact

    claims = [asdict(verdict) | {"ok": verdict.ok} for verdict in verdicts]
    for claim in claims:
        claim["numbers"] = [number | {"wrong_digits": [*number["wrong_digits"]]} for number in claim["numbers"]]
    return compact({"schema": 1, "ok": all(verdict.ok for verdict in verdicts), "claims": claims}) + "\n"


def render(verdicts: Sequence[Verdict], *, color: bool | None = None, width: int | None = None) -> str:
    """The verdicts for people: wrong digits marked with ^ below them, then how many hold."""
    from rich.text import Text

    made = console(color=color, width=width)
    for verdict in verdicts:
        sign, style = _SIGNS[verdict.outcome]
        made.print(Text(f"{sign} {verdict.outcome:<10}", style=style).append(f" {verdict.about}", style="bold"))
        if verdict.about != verdict.quantity:
            made.print(Text(f"    {verdict.quantity}", style="dim"))
        for line in _number_lines(verdict.numbers, verdict.literal):
            made.print(Text(line))
        if verdict.hint:
            made.print(Text(f"    {verdict.hint}"))
    good = sum(verdict.ok for verdict in verdicts)
    made.print(f"\n{good} of {len(verdicts)} claims hold.")
    return written(made)


_SIGNS = {"holds": ("✓", "green"), "wrong": ("✗", "bold red"), "misapplied": ("✗", "bold yellow")}


def _judgement(number: Number, literal: str) -> str:
    """Which of the two holds: the decimal to its digits, the literal of the format."""
    if not number.holds:
        return f"should be {number.right}"
    if not literal:
        return "right"
    if not number.to_its_digits:
        return f"right as {literal}, to its digits {number.right}"
    return f"right to its digits{' and' if number.literal else ', not'} as {literal}"


def _number_lines(numbers: Sequence[Number], literal: str) -> list[str]:
    name, text = (max(len(getattr(number, field)) for number in numbers) for field in ("name", "printed"))
    verdicts = [_judgement(number, literal) for number in numbers]
    wide = max(map(len, verdicts))
    lines = []
    for number, verdict in zip(numbers, verdicts, strict=True):
        shown = f"    {number.name:<{name}}  printed {number.printed:<{text}}  {verdict:<{wide}}  true {number.true}"
        lines.append(shown)
        if number.wrong_digits:
            marks = "".join("^" if i in number.wrong_digits else " " for i in range(len(number.printed)))
            lines.append(f"    {'':<{name}}          {marks}".rstrip())
    return lines
