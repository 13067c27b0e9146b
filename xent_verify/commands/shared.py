"""Options, progress and output that several verbs have in common."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from xent_verify.failures import UsageError
from xent_verify.model import Report

__all__ = ["audit_options", "deliver", "dtypes_of", "kwargs_of", "progress", "search_options", "sizes_of", "status_of"]


def search_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that decide how a target is called and judged."""
    options = [
        click.option("--dtype", "dtypes", default="", help="Formats, comma-separated. [default: see above]"),
        click.option(
            "--policy", default="standard", show_default=True, help="What counts as inaccurate ('list policies')."
        ),
        click.option("--special", default="any", show_default=True, help="Special values: limit, torch, scipy or any."),
        click.option("--flush", default="auto", show_default=True, help="Flush-to-zero rule: auto, forbid, allow."),
        click.option("--seed", default=0, show_default=True, help="Seed of every generator."),
        click.option("--arrays", default="auto", show_default=True, help="numpy, torch, jax, tensorflow or auto."),
        click.option("--kwargs", "kwargs_text", default="", help="JSON object of keyword arguments for every call."),
        click.option("--device", default="cpu", show_default=True, help="Device for torch targets."),
        click.option("--timeout", default=10.0, show_default=True, help="Seconds allowed for one call."),
        click.option("--in-process", is_flag=True, help="Run targets in this process: faster, not protected."),
    ]
    return _with(options, function)


def audit_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options above, and how much to try."""
    more = [
        click.option("--profile", default="standard", show_default=True, help="quick, standard or deep."),
        click.option("--sizes", default="", help="Row lengths to try besides, comma-separated (a vocabulary's)."),
        click.option(
            "--regimes", default="", help="Only these, comma-separated ('list regimes', or module:attribute)."
        ),
        click.option("--fail-fast", is_flag=True, help="Stop at the first failure."),
    ]
    return search_options(_with(more, function))


out_option = click.option(
    "--out", "-o", default="", help="Write the report: a folder, or one file (.html .md .csv .tex .json .parquet)."
)


def _with(options: list[Callable[..., Any]], function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        function = option(function)
    return function


def dtypes_of(text: str) -> list[str] | None:
    """Comma-separated format names, or None for the default."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    return names or None


def sizes_of(text: str) -> tuple[int, ...]:
    """Comma-separated whole numbers."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if not name.isdecimal():
            raise UsageError(f"--sizes {text!r}: {name!r} is not a whole number (write --sizes 50257,32000)")
    return tuple(dict.fromkeys(map(int, names)))


def kwargs_of(text: str) -> dict[str, Any]:
    """A JSON object; ``UsageError`` for anything else."""
    if not text:
        return {}
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise UsageError(f"--kwargs is not JSON: {error.msg} at column {error.colno} of {text!r}") from error
    if not isinstance(value, dict):
        raise UsageError(f"--kwargs must be a JSON object such as '{{\"axis\": 1}}', not {text!r}")
    return value


def _no_constant(name: str) -> float:
    raise UsageError(f"--kwargs holds {name}, which is not JSON; use a number")


@contextmanager
def progress() -> Iterator[Callable[[str, int], None] | None]:
    """A progress line on a terminal's stderr; nothing when piped."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed} calls"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda text, done: bar.update(task, description=text, completed=done)


def deliver(report: Report, *, json_to: str, out: str) -> None:
    """Write the JSON and the report folder that were asked for, and the findings as text where stdout is free."""
    from xent_verify.report import render_text, save, to_json

    if json_to == "-":
        click.echo(to_json(report), nl=False)
    click.echo(render_text(report), err=json_to == "-", nl=False)  # before anything that can fail
    if json_to not in ("", "-"):
        Path(json_to).write_text(to_json(report), encoding="utf-8")
    if out:
        save(report, Path(out))


def status_of(report: Report) -> int:
    """Exit status of a finished audit: 130 interrupted, 5 nothing checked, 1 failed, 0."""
    if report.settings.get("interrupted"):
        return 130
    if not report.cases:
        return 5
    return 0 if report.ok else 1
