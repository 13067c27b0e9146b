"""Write docs/api.md: signatures and docstrings of the public names. ``python docs/make_api.py`` (a test compares)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from xent_verify.core.formats import FloatFormat
from xent_verify.ops import Op

PAGE = Path(__file__).parent / "api.md"

SECTIONS = {
    "Audit and oracle": (
        "xent_verify",
        ("audit", "assert_accurate", "assert_close", "limits", "parity", "reference", "ulp_error"),
    ),
    "What an audit gives": ("xent_verify.auditing.audit", ("AuditReport",)),
    "What a comparison gives": ("xent_verify.auditing.parity", ("Parity", "DtypeParity", "Farthest")),
    "Counters of a comparison": ("xent_verify.verdict.distances", ("Distances",)),
    "What is in it": ("xent_verify.core.model", ("Report", "TargetResult", "DtypeResult", "Finding", "Example")),
    "What the oracle gives": ("xent_verify.truth.reference", ("Reference",)),
    "Enclosures": ("xent_verify", ("Enclosure",)),
    "Failures": ("xent_verify", ("XentVerifyError", "UsageError")),
    "Formats and operations": ("xent_verify", ("FloatFormat", "FORMATS", "OPS")),
    "Reports as tables, text and files": (
        "xent_verify.report",
        (
            "summary_frame",
            "findings_frame",
            "regime_frame",
            "elements_frame",
            "to_json",
            "from_json",
            "save",
            "render_text",
            "render_markdown",
            "render_html",
            "render_latex",
        ),
    ),
    "Hypothesis strategies": ("xent_verify.strategies", ("values", "rows", "logits", "targets", "calls", "batches")),
    "Targets": ("xent_verify.candidates", ("open_candidate", "Candidate")),
    "Conformance of adapters": ("xent_verify.testing", ("check_adapter", "BEHAVIOURS")),
    "Truth of many cases at once": ("xent_verify.truth", ("certify",)),
    "Parts to extend: operations": ("xent_verify.ops", ("Op",)),
    "Parts to extend: regimes": ("xent_verify.regimes", ("Regime",)),
    "Parts to extend: laws": ("xent_verify.laws", ("Law",)),
    "Parts to extend: policies": ("xent_verify.verdict.policies", ("Policy", "parse_policy")),
    "Parts to extend: diagnoses": ("xent_verify.diagnose", ("Mistake",)),
}
"""Heading, module, names."""


def page() -> str:
    """The whole page."""
    parts = [
        "# API",
        "The public names with their docstrings, written by `python docs/make_api.py`. [extending.md](extending.md) shows "
        "the parts in use.",
    ]
    for heading, (module, names) in SECTIONS.items():
        parts += [f"## {heading}", f"From `{module}`."]
        for name in names:
            parts += entry(module, name)
    return "\n\n".join(parts) + "\n"


def entry(module: str, name: str) -> Iterator[str]:
    """One name: a class with its public members, a function, or a value."""
    value = getattr(import_module(module), name)
    yield f"### {name}"
    if inspect.isclass(value):
        yield documented(value, f"{module}.{name}")
        if is_dataclass(value):
            yield "Fields: " + ", ".join(f"`{one.name}: {one.type}`" for one in fields(value)) + "."
        members = [described(member, one) for member, one in vars(value).items() if not member.startswith("_")]
        if any(members):
            yield "\n".join(filter(None, members))
    elif callable(value):
        yield f"```text\n{signature(name, value)}\n```"
        yield documented(value, f"{module}.{name}")
    else:
        yield "\n".join(f"* `{key}`: {about(one)}" for key, one in value.items())


def about(value: Any) -> str:
    """An entry of a table, in a line."""
    if isinstance(value, Op):
        signature = ", ".join([*value.inputs, *(f"{option}={default!r}" for option, default in value.options.items())])
        text = inspect.getdoc(value.formula) or ""
        return f"`{value.name}({signature})`. {' '.join(text.split()).replace('``', '`')}"
    if isinstance(value, FloatFormat):
        return f"p = {value.precision}, e_min = {value.e_min}, e_max = {value.e_max}, dtype `{value.dtype}`"
    return str(value)


def described(name: str, member: Any) -> str:
    """A line for a method, property or classmethod that has a docstring."""
    plain = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
    text = inspect.getdoc(plain) if isinstance(plain, property) or inspect.isfunction(plain) else None
    if not text:
        return ""
    shown = name if isinstance(plain, property) else signature(name, plain)
    return f"* `{' '.join(shown.split())}`: {paragraph(' '.join(text.split()))}"


class _Written:
    """An annotation as the source has it."""

    def __init__(self, text: object) -> None:
        self.text = text if isinstance(text, str) else inspect.formatannotation(text)

    def __repr__(self) -> str:
        return "Strategy" if "SearchStrategy" in self.text else self.text  # Hypothesis writes it in several ways


def signature(name: str, function: Any) -> str:
    """As the source has it, with a line for each parameter where one line is too long."""
    found = inspect.signature(function)
    parameters = [
        one if one.annotation is one.empty else one.replace(annotation=_Written(one.annotation))
        for one in found.parameters.values()
        if one.name not in ("self", "cls")
    ]
    returned = "" if found.return_annotation is found.empty else f" -> {_Written(found.return_annotation)!r}"
    line = f"{name}{inspect.Signature(parameters)}{returned}"
    if len(line) <= 110:
        return line
    rows = [str(one) for one in parameters]
    named = next((number for number, one in enumerate(parameters) if one.kind is one.KEYWORD_ONLY), None)
    if named is not None and not any(one.kind is one.VAR_POSITIONAL for one in parameters):
        rows.insert(named, "*")
    return f"{name}(\n" + "".join(f"    {row},\n" for row in rows) + f"){returned}"


def documented(value: Any, name: str) -> str:
    """The docstring; a name without one is an error."""
    text = inspect.getdoc(value)
    if not text:
        raise ValueError(f"{name} has no docstring")
    return "\n\n".join(map(paragraph, text.split("\n\n")))


def paragraph(text: str) -> str:
    """As Markdown: examples fenced, powers not taken for emphasis."""
    if text.startswith(">>>"):
        return f"```pycon\n{text}\n```"
    parts = text.replace("``", "`").split("`")
    return "`".join(part if number % 2 else part.replace("**", r"\*\*") for number, part in enumerate(parts))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
