"""One row, worked: its steps, the truth to 30 digits, what each implementation gives in each format, what lost it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table
from rich.text import Text

from xent_verify.auditing.recipes import RECIPES, replay, true_quantities
from xent_verify.core.enclosure import Enclosure
from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FORMATS, FloatFormat, format_named
from xent_verify.core.model import Batch
from xent_verify.explain.steps import Step, steps
from xent_verify.implementations import IMPLEMENTATIONS
from xent_verify.implementations.entries import Implementation
from xent_verify.ops import op_named
from xent_verify.report.terminal import console, written
from xent_verify.report.words import array_text, number_text
from xent_verify.truth.decimals import is_bound, shown
from xent_verify.verdict.policies import POLICIES

__all__ = ["Answer", "Explanation", "Truth", "explain", "logits_of", "render", "to_json"]

DTYPES = ("float64", "float32", "float16", "bfloat16")
OPS = ("softmax", "log_softmax", "logsumexp", "cross_entropy")
_DIGITS = {"float64": 16, "float32": 9, "float16": 5, "bfloat16": 4}
_QUANTITY = {"softmax": "p", "log_softmax": "log p", "logsumexp": "L", "cross_entropy": "loss"}


@dataclass(frozen=True, slots=True)
class Truth:
    """The row's true values, 30 digits each; ``loss`` is -log p of the target."""

    p: tuple[str, ...]
    log_p: tuple[str, ...]
    logsumexp: str
    loss: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What one implementation gives in one format, at the element looked at, against the truth of the rounded row."""

    op: str
    implementation: str
    family: str
    dtype: str
    value: float
    error_ulp: float
    bound_ratio: float  # error ÷ the largest error of a sound implementation (policy standard)
    step: str  # the step that lost it; empty for ordinary rounding
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """One row explained. ``looked_at`` is the class that is compared: the target, else the largest logit."""

    logits: tuple[float, ...]
    target: int | None
    looked_at: int
    steps: tuple[Step, ...]  # of the operations' first algorithms
    truth: Truth
    rounded_rows: dict[str, str]  # formats in which the logits are other numbers
    answers: tuple[Answer, ...]


def logits_of(text: str) -> list[float]:
    """``3,1,-1`` as numbers; ``UsageError`` for anything that is not one."""
    words = [word for word in text.replace(",", " ").split() if word]
    try:
        return [float(word.replace("−", "-")) for word in words]
    except ValueError as error:
        raise UsageError(f"logits {text!r}: {error}; should be numbers like 3,1,-1") from None


def explain(logits: Sequence[float], target: int | None = None, dtypes: Sequence[str] = DTYPES) -> Explanation:
    """Work one row. ``UsageError`` for logits that are not finite numbers or a target that is not a class."""
    row = np.asarray([float(value) for value in logits], dtype=np.float64)
    if not row.size or not np.isfinite(row).all():
        raise UsageError(f"logits {list(logits)!r} should be one or more finite numbers")
    if target is not None and not 0 <= target < row.size:
        raise UsageError(f"target {target} should be a class from 0 to {row.size - 1}")
    place = int(np.argmax(row)) if target is None else target
    forms = [format_named(name) for name in dtypes]
    quantities = true_quantities(row, place)
    return Explanation(
        logits=tuple(row.tolist()),
        target=target,
        looked_at=place,
        steps=steps(row, place, tuple(forms)),
        truth=_truth(quantities),
        rounded_rows=_rounded_rows(row, forms),
        answers=tuple(_answers(row, place, forms)),
    )


def _truth(quantities: dict[str, Enclosure]) -> Truth:
    p, log_p, lse, loss = (_digits(quantities[name]) for name in ("p", "log p", "L", "loss"))
    return Truth(p, log_p, lse[0], loss[0])


def _digits(values: Enclosure) -> tuple[str, ...]:
    return tuple(shown(values[i]) for i in range(values.size))


def _rounded_rows(row: NDArray[np.float64], forms: Sequence[FloatFormat]) -> dict[str, str]:
    held = {form.name: form.widen(form.narrow(row)) for form in forms}
    return {name: array_text(values) for name, values in held.items() if (values != row).any()}


def _answers(row: NDArray[np.float64], place: int, forms: Sequence[FloatFormat]) -> list[Answer]:
    answers = []
    for form in forms:
        narrow = form.narrow(row)
        wide = form.widen(narrow)
        if not np.isfinite(wide).all():
            continue
        truth = true_quantities(wide, place)
        offered = [entry for entry in IMPLEMENTATIONS if entry.op in OPS and form.name in entry.formats]
        answers += [_answer(entry, narrow, place, form, truth) for entry in offered]
    order = {op: position for position, op in enumerate(OPS)}
    return sorted(answers, key=lambda answer: order[answer.op])


def _answer(
    implementation: Implementation, row: NDArray[Any], place: int, form: FloatFormat, truth: dict[str, Enclosure]
) -> Answer:
    op = op_named(implementation.op)
    inputs = {op.first: row[None, :]} | ({"target": np.array([place])} if "target" in op.inputs else {})
    with np.errstate(all="ignore"):
        result = np.asarray(implementation.call(*inputs.values()))
    at = place if op.result == "elements" else 0
    value = float(form.widen(result).reshape(-1)[at])
    true = truth[_QUANTITY[op.name]][at]
    error = float(true.error_ulp(value, form))
    call = Batch(op.name, form.name, "explain", inputs)
    limit = float(POLICIES["standard"].limits(op, call, true).error.reshape(-1)[at])
    ratio = error * float(np.ldexp(1.0, int(true.units(form).quantum))) / limit if error else 0.0
    recipe = RECIPES.get(implementation.qualified)
    working = form if form.bits >= 32 or (recipe and recipe.own) else FORMATS["float32"]
    lost = replay(recipe, row, working, truth, place) if recipe and not error <= 1 else None
    step, kind, detail = (lost.step, lost.kind, lost.detail) if lost else ("", "", "")
    family = implementation.family
    return Answer(op.name, implementation.name, family, form.name, value, error, ratio, step, kind, detail)


def to_json(explanation: Explanation) -> str:
    """The explanation as strict JSON (NaN and infinities as strings, every value also as hex)."""
    from xent_verify.report.arrays import plain
    from xent_verify.report.json import compact

    data = asdict(explanation)
    for answer in data["answers"]:
        answer["value_hex"] = answer["value"].hex()
        answer |= {name: plain(answer[name]) for name in ("value", "error_ulp", "bound_ratio")}
    data["steps"] = [
        step | {"true": list(step["true"]), "computed": {k: list(map(plain, v)) for k, v in step["computed"].items()}}
        for step in data["steps"]
    ]
    data["logits_hex"] = [value.hex() for value in explanation.logits]
    data["truth"] = {name: list(value) if isinstance(value, tuple) else value for name, value in data["truth"].items()}
    return compact({"schema": 1} | {key: list(v) if isinstance(v, tuple) else v for key, v in data.items()}) + "\n"


def render(explanation: Explanation, *, color: bool | None = None, width: int | None = None) -> str:
    """The steps, the truth, then one table per op: implementations down, formats across; then what lost the digits."""
    made = console(color=color, width=width)
    for line in _step_lines(explanation.steps):
        made.print(Text(line))
    made.print()
    made.print(_truth_table(explanation))
    made.print(f"logsumexp  {explanation.truth.logsumexp}")
    label = f"loss       {explanation.truth.loss}  = −log p[{explanation.looked_at}]"
    made.print(Text(label))
    for name, text in explanation.rounded_rows.items():
        made.print(Text(f"in {name} the row is {text}: errors there are against the truth of that row", style="dim"))
    for op in OPS:
        answers = [answer for answer in explanation.answers if answer.op == op]
        if answers:
            for table in _op_tables(op, answers, explanation, made.width):
                made.print(table)
            for line in _losses(answers):
                made.print(Text(line))
    if any(not answer.bound_ratio <= 1 for answer in explanation.answers):
        made.print(Text("✗ beyond the limit that sound algorithms keep for this row (policy standard)", style="dim"))
    return written(made)


def _step_lines(worked: Sequence[Step]) -> Iterator[str]:
    """Each step with its true values; below it those of a narrow format, where they show another digit."""
    formats = list(worked[0].computed) if worked else []
    form = next((name for name in ("float32", *formats) if name in formats), "")
    told = f"; below, {form}: what stands behind | differs" if form else ""
    yield f"step by step: true values to {_SHOWN} digits{told}"
    for step in worked:
        head = f"{step.name} = {step.text}"
        yield f"  {head:<18}" + _few([_digits_of(text) for text in step.true])
        values = step.computed.get(form, ())
        marked = [_marked(value, text) for value, text in zip(values, step.true, strict=True)] if values else []
        if any("|" in one for one in marked):
            yield f"  {form:>16}  " + _few(marked)


_SHOWN, _COLUMNS = 9, 4
"""Digits of a step's values, and how many of them."""


def _few(texts: Sequence[str]) -> str:
    more = f"… ({len(texts)} values)" if len(texts) > _COLUMNS else ""
    return "  ".join(f"{text:<16}" for text in [*texts[:_COLUMNS], more]).rstrip()


def _digits_of(text: str) -> str:
    """A true value of more digits, rounded to those that are shown; a bound as it is."""
    return text if is_bound(text) else f"{Decimal(text):.{_SHOWN}g}".removesuffix(".0")


def _marked(value: float, true: str, digits: int = _SHOWN) -> str:
    """A value with | before the first digit that differs from the true one."""
    shown_value = f"{value:.{digits}g}"
    if is_bound(true) or not np.isfinite(value):
        return shown_value
    wanted = f"{Decimal(true):.{digits}g}"
    if Decimal(shown_value) == Decimal(wanted):
        return shown_value
    same = next((i for i, (a, b) in enumerate(zip(shown_value, wanted, strict=False)) if a != b), len(wanted))
    same = min(same, len(shown_value))
    return f"{shown_value[:same]}|{shown_value[same:]}"


def _truth_table(explanation: Explanation) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("class", "logit", "p", "log p"):
        table.add_column(name, justify="right" if name in ("class", "logit") else "left")
    rows = zip(explanation.logits, explanation.truth.p, explanation.truth.log_p, strict=True)
    for position, (logit, p, log_p) in enumerate(rows):
        mark = " ←" if position == explanation.target else ""
        table.add_row(f"{position}{mark}", f"{logit:g}", p, log_p)
    return table


def _op_tables(op: str, answers: Sequence[Answer], explanation: Explanation, width: int) -> Iterator[Table]:
    """Implementations that give the same bits in every format share a row; as many formats side by side as fit."""
    place = f"[{explanation.looked_at}]" if op in ("softmax", "log_softmax") else ""
    dtypes = list(dict.fromkeys(answer.dtype for answer in answers))
    rows: dict[tuple[Any, ...], list[str]] = {}
    by_cell = {(answer.implementation, answer.dtype): answer for answer in answers}
    for name in dict.fromkeys(answer.implementation for answer in answers):
        found = [by_cell.get((name, dtype)) for dtype in dtypes]
        rows.setdefault(tuple(one and (one.value.hex(), one.step) for one in found), []).append(name)
    side = max(1, (width - _NAMES) // _CELL)
    for first in range(0, len(dtypes), side):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column(Text(f"{op}{place}"), overflow="fold", max_width=_NAMES)
        for dtype in dtypes[first : first + side]:
            table.add_column(dtype, justify="right")
        for names in rows.values():
            cells = (_cell(by_cell.get((names[0], dtype)), explanation) for dtype in dtypes[first : first + side])
            table.add_row(Text(", ".join(names)), *cells)
        yield table


_NAMES, _CELL = 26, 27
"""Columns of the names, and of one format."""


def _cell(answer: Answer | None, explanation: Explanation) -> Text:
    """Value and error; ✗ beyond the bound of a sound implementation; | before the digits that differ from the truth."""
    if answer is None:
        return Text("·", style="dim")
    bad = not answer.bound_ratio <= 1
    error = f"{number_text(answer.error_ulp)} ulp" if np.isfinite(answer.value) else "wrong"
    if not bad and not np.isfinite(answer.value):
        error = "right"
    style = "bold red" if bad else "dim"
    wanted = {"softmax": explanation.truth.p, "log_softmax": explanation.truth.log_p}.get(answer.op)
    one = explanation.truth.logsumexp if answer.op == "logsumexp" else explanation.truth.loss
    true = wanted[explanation.looked_at] if wanted else one
    held = answer.dtype in explanation.rounded_rows  # there the truth is another one
    value = f"{answer.value:.9g}" if held else _marked(answer.value, true, _DIGITS.get(answer.dtype, 9))
    return Text(f"{value}  ").append(f"{'✗ ' if bad else ''}{error}", style=style)


def _losses(answers: Sequence[Answer]) -> list[str]:
    """Who lost digits, where and how; implementations and formats that share the reason on one line."""
    dtypes: dict[tuple[str, str, str], list[str]] = {}
    details: dict[tuple[str, str], str] = {}
    for answer in answers:
        if answer.step:
            dtypes.setdefault((answer.implementation, answer.step, answer.kind), []).append(answer.dtype)
            details.setdefault((answer.step, answer.kind), answer.detail)
    names: dict[tuple[str, str, str], list[str]] = {}
    for (name, step, kind), where in dtypes.items():
        names.setdefault((", ".join(where), step, kind), []).append(name)
    return [
        f"  {', '.join(who)} in {where}: {step} {kind}" + (f" ({details[step, kind]})" if details[step, kind] else "")
        for (where, step, kind), who in names.items()
    ]
