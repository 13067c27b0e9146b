"""The certificate: what the counts of a domain prove, as strict JSON; and the table over a folder of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xent_verify.core.documents import Node, read_json
from xent_verify.core.formats import format_named
from xent_verify.core.kinds import FAILING
from xent_verify.core.outputs import replace_file
from xent_verify.prove.counts import LOWEST, NOT_ANSWERED, SHIFT, Cells, Counts, Extreme, Gathered, bin_edges
from xent_verify.prove.domain import numbers
from xent_verify.prove.plan import Plan
from xent_verify.prove.widths import FAMILIES
from xent_verify.prove.words import described, number_of
from xent_verify.report.json import compact
from xent_verify.verdict.conventions import PROFILES

__all__ = ["certificate", "file_name", "read_certificate", "severity_of", "table", "write"]

_SCHEMA = 1
_SHOWN = 64
_CONSISTENT = "all -inf"


def certificate(plan: Plan, done: Gathered) -> dict[str, Any]:
    """Everything that chunks prove together; "proved" when they are all of the domain and every row was asked, else "partial"."""
    total = done.total
    whole = len(done) == plan.domain.chunks and not total.unanswered.get(NOT_ANSWERED)
    failures = [_failure(plan, total, kind, whole) for kind in FAILING if total.failing.get(kind)]
    lost = [_lost(plan, how, rows, total) for how, rows in sorted(total.unanswered.items())]
    conduct = [
        {"kind": kind, "severity": severity, "message": message, "first_row": _row(plan, first)}
        for (kind, severity, message), first in sorted(total.hits.items())
    ]
    conduct += [_inconsistent(words) for words in [_words(total)] if len(words.get(_CONSISTENT, [])) > 1]
    failed = lost or any(item["severity"] == "fail" for item in failures + conduct)
    faithful = int(total.histogram[:-LOWEST].sum())
    return {
        "schema": _SCHEMA,
        "kind": "certificate",
        "label": "proved" if whole else "partial",
        "statement": _statement(plan, total, whole),
        "ok": not failed,
        "run": plan.identity,
        "chunks_done": _intervals(done.chunks),
        "rows": total.rows,
        "elements": total.elements,
        "classes": dict(sorted(total.classes.items())),
        "numeric": total.numeric,
        "correctly_rounded": total.correct,
        "faithful": faithful,
        "max_ulp": _extreme(plan, total.best.get("ulp")),
        "max_bound_ratio": _extreme(plan, total.best.get("ratio")),
        "histogram": _histogram(total),
        "failures": failures,
        "unanswered": lost,
        "conduct": conduct,
        "conventions": _words(total),
        "environment": {"instruction_sets": sorted(total.machines)},
    }


def _statement(plan: Plan, total: Counts, whole: bool) -> str:
    which = (
        f"every one of the {plan.domain.size:,} rows of the domain"
        if whole
        else f"{total.rows - total.unanswered.get(NOT_ANSWERED, 0):,} of {plan.domain.size:,} rows"
    )
    answered = total.rows - sum(total.unanswered.values())
    follows = (
        " If the target computes exp(fl(x - max)) of every logit alone and divides by the sum, these are all the arguments "
        "that its exp has in a row of any length; that it does so is not proved here."
        if plan.domain.name == "gaps"
        else ""
    )
    return (
        f"{plan.name} was called on {which}; {answered:,} answers were judged against certified truth. No error that is a "
        "number exceeds max_ulp by more than 2^-26 ulp or 2^-36 of itself; "
        f"bins of the histogram hold errors less {SHIFT:.3g} ulp.{follows}"
    )


def _words(total: Counts) -> dict[str, list[str]]:
    return {
        name: sorted(word for situation, word in total.words if situation == name)
        for name in sorted({situation for situation, _ in total.words} & set(PROFILES["any"]))
    }


def _inconsistent(words: Mapping[str, list[str]]) -> dict[str, Any]:
    text = f"{_CONSISTENT}: the same kind of row is answered {' and '.join(words[_CONSISTENT])}"
    return {"kind": "special_value", "severity": "fail", "message": text, "first_row": None}


def severity_of(plan: Plan, kind: str) -> str:
    """Flushing to zero has a rule of its own; everything else that is wrong fails."""
    return plan.settings.rules.flush_severity(plan.domain.form) if kind == "flushed" else "fail"


def _failure(plan: Plan, total: Counts, kind: str, whole: bool) -> dict[str, Any]:
    features: Mapping[str, Cells] = total.cells.get(kind, {})
    return {
        "kind": kind,
        "severity": severity_of(plan, kind),
        "rows": total.failing[kind],
        "elements": total.classes.get(kind, 0),
        "where": described(plan.domain, total.failing[kind], features, whole=whole),
        "worst": _extreme(plan, total.best.get(kind)),
    }


def _lost(plan: Plan, how: str, rows: int, total: Counts) -> dict[str, Any]:
    few = total.narrowed.get(how)
    record: dict[str, Any] = {"kind": how, "severity": "fail", "rows": rows}
    if few is not None:
        record |= {"narrowed_to_rows": few.rows, "first_row": _row(plan, few.first), "message": few.message}
    return record


def _extreme(plan: Plan, found: Extreme | None) -> dict[str, Any] | None:
    if found is None:
        return None
    record: dict[str, Any] = {"value": _number(found.value), "hex": found.value.hex(), **_row(plan, found.row)}
    record["column"] = found.column
    if found.answer:
        form = plan.domain.form
        bits = np.array(found.answer).astype(form.unsigned)
        record["answer"] = [_number(float(value)) for value in numbers(form, form.from_bits(bits))]
        record["answer_bits"] = [f"0x{int(b):0{form.hex_digits}x}" for b in found.answer]
    return record


def _row(plan: Plan, row: int) -> dict[str, Any]:
    """A row's index and logits, with their bits; structured rows by family and width."""
    domain, form = plan.domain, plan.domain.form
    record: dict[str, Any] = {"row": row}
    if not domain.arity:
        record |= {"family": FAMILIES[row % len(FAMILIES)], "width": row // len(FAMILIES) + 1}
    x = domain.values(np.array([row])).reshape(-1)
    if x.size <= _SHOWN:
        record["x"] = [_number(float(value)) for value in numbers(form, x)]
        record["bits"] = [f"0x{int(b):0{form.hex_digits}x}" for b in form.to_bits(x)]
    return record


def _number(value: float) -> float | str:
    """As strict JSON has it."""
    return value if np.isfinite(value) else str(float(value))


def _histogram(total: Counts) -> list[dict[str, Any]]:
    made = []
    for k in np.nonzero(total.histogram)[0]:
        low, high = bin_edges(int(k))
        exponent = int(k) + LOWEST
        made.append(
            {
                "from": "0" if k == 0 else f"2^{exponent}",
                "below": "inf" if np.isinf(high) else f"2^{exponent + 1}",
                "from_hex": low.hex(),
                "count": int(total.histogram[k]),
            }
        )
    return made


def _intervals(chunks: list[int]) -> list[list[int]]:
    """[first, last] of each run of neighbours."""
    runs: list[list[int]] = []
    for chunk in chunks:
        if runs and chunk == runs[-1][1] + 1:
            runs[-1][1] = chunk
        else:
            runs.append([chunk, chunk])
    return runs


def file_name(made: Mapping[str, Any]) -> str:
    """softmax-naive-bfloat16-pairs.json; a slice says so."""
    run = made["run"]
    target = "".join(c if c.isalnum() or c in "._" else "-" for c in str(run["target"])).strip("-")
    policy = "" if run["policy"] == "standard" else "-" + str(run["policy"]).replace(":", "-").replace(",", "-")
    part = "" if made["label"] == "proved" else f"-chunks-{made['chunks_done'][0][0]}-{made['chunks_done'][-1][1]}"
    return f"{run['op']}-{target}-{run['dtype']}-{run['domain']}{policy}{part}.json"


def write(made: Mapping[str, Any], folder: Path) -> Path:
    """The certificate in a folder, and the folder's table anew."""
    folder.mkdir(parents=True, exist_ok=True)
    path = replace_file(folder / file_name(made), compact(made) + "\n")
    replace_file(folder / "README.md", table(sorted(folder.glob("*.json"))))
    return path


_HEAD = """# Certificates

Whole domains, walked to the end: every input was put to the target and every answer judged against certified truth.
`proved` means all of them; `partial` a slice. Generated: `python benchmarks/prove.py --certificates reports/certificates`
makes those that are missing, and any `xent-verify prove TARGET … --out reports/certificates` adds one; both write this table.
Each row is verified again, in parts, by `tests/test_prove_certificates.py`.

| op | target | dtype | domain | rows | | max ulp | at x | ÷ bound | correctly rounded | what fails |
|---|---|---|---|---:|---|---:|---|---:|---:|---|
"""


def read_certificate(file: Path) -> Node:
    """A certificate's document, what every reader of it needs checked. ``UsageError`` in one line for any other file."""
    made = read_json(file)
    for key, due in (("kind", "certificate"), ("schema", _SCHEMA)):
        if type(made.get(key)) is not type(due) or made.get(key) != due:
            raise made.fail(key, made.get(key), repr(due))
    made.choice("label", ("proved", "partial"), "'proved' or 'partial'")
    run = made.child("run")
    run.made("dtype", format_named)
    if made.count("rows") > run.count("rows") or (made.text("label") == "proved") != (
        made.count("rows") == run.count("rows")
    ):
        raise made.fail("rows", made.get("rows"), f"all of {run.get('rows')} where it is proved, else fewer")
    for key in ("max_ulp", "max_bound_ratio"):
        made.optional(key, _read_extreme)
    return made


def _read_extreme(node: Node) -> None:
    value = node.get("value")
    twin = float(value) if value in ("inf", "nan") else value
    if not isinstance(twin, int | float) or isinstance(twin, bool):
        raise node.fail("value", value, "a number")
    if node.made("hex", float.fromhex).hex() != float(twin).hex():
        raise node.fail("hex", node.get("hex"), f"the hexadecimal float of {value}")
    if "family" in node.fields:
        node.text("family")
        node.count("width")
    elif "bits" not in node.fields:
        node.count("row")
        node.count("column")


def table(files: Iterable[Path]) -> str:
    """The table of certificates, as Markdown."""
    return _HEAD + "".join(_line(file.name, read_certificate(file)) for file in files)


def _line(name: str, made: Node) -> str:
    run, worst, ratio = made.child("run"), made.fields["max_ulp"], made.fields["max_bound_ratio"]
    numeric = made.count("numeric")
    share = made.count("correctly_rounded") / numeric if numeric else 0.0
    failures = [f"{item.text('kind')}: {item.text('where')}" for item in made.children("failures")]
    failures += [f"{item.text('kind')}: {number_of(item.count('rows'))}" for item in made.children("unanswered")]
    cells = [
        run.text("op"), f"[{run.text('target')}]({name})", run.text("dtype"), run.text("domain"), f"{made.count('rows'):,}",
        made.text("label"), _short(worst), f"`{worst['bits']}`".replace("'", "") if worst and "bits" in worst else _place(worst),
        _short(ratio), f"{100 * share:.5f} %", "; ".join(failures) or "nothing",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def _short(found: Mapping[str, Any] | None) -> str:
    return (
        "" if found is None else f"{found['value']:.6g}" if isinstance(found["value"], float) else str(found["value"])
    )


def _place(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    if "family" not in found:
        return f"row {found['row']}, column {found['column']}"
    return f"{found['family']}, n = {found['width']}"
