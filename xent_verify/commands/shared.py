"""Options, progress and output that several verbs have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xent_verify.core.documents import json_of, json_value
from xent_verify.core.failures import UsageError
from xent_verify.core.interrupts import finishing
from xent_verify.core.model import Report
from xent_verify.core.outputs import check_writable, replace_file, state_of

if TYPE_CHECKING:
    from xent_verify.verdict.settings import Settings

__all__ = [
    "Sectioned",
    "checked_place",
    "deliver",
    "json_option",
    "kwargs_of",
    "names_of",
    "options_of",
    "out_option",
    "progress",
    "promise_output",
    "replace_output",
    "settings_of",
    "settings_options",
    "sizes_of",
    "status_of",
    "write",
]


def settings_options(
    *, plan: bool, verdict: bool = True, dtypes: str = "float64, float32, float16, bfloat16"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that become the ``settings`` and ``dtypes`` of a verb; ``dtypes``: what its help names as the default.

    With ``plan`` those on how much to try too, and with ``verdict`` those on what fails or ends an audit.
    """
    formats = click.option("--dtype", "dtypes", default="", help=f"Formats, comma-separated. [default: {dtypes}]")

    def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def given(**options: Any) -> Any:
            dtypes = names_of(options.pop("dtypes")) or None
            own = {name: options.pop(name) for name in _NAMES if name in options}
            return function(dtypes=dtypes, settings=settings_of(own), **options)

        for option in reversed([formats, *_CALLED, *(_PLANNED if plan else []), *(_ENDED if plan and verdict else [])]):
            given = option(given)
        return given

    return decorated


def settings_of(options: dict[str, Any]) -> Settings:
    """``Settings`` of the options below, as click hands them over."""
    from xent_verify.verdict.policies import parse_policy
    from xent_verify.verdict.settings import Settings

    readers: dict[str, Callable[[Any], Any]] = {
        "policy": parse_policy,
        "kwargs": kwargs_of,
        "sizes": sizes_of,
        "regimes": names_of,
        "without": names_of,
        "require": names_of,
        "options": options_of,
    }
    made: dict[str, Any] = {name: readers[name](value) if name in readers else value for name, value in options.items()}
    made["isolated"] = not made.pop("in_process")
    return Settings(**made).checked()


_CALLED = [
    click.option(
        "--policy", default="standard", show_default=True, help="What counts as inaccurate ('list policies')."
    ),
    click.option("--special", default="any", show_default=True, help="Special values: limit, torch, scipy or any."),
    click.option("--flush", default="auto", show_default=True, help="Flush-to-zero rule: auto, forbid, allow."),
    click.option("--seed", default=0, show_default=True, help="Seed of every generator."),
    click.option(
        "--arrays", default="auto", show_default=True, help="numpy, torch, jax, tensorflow, array-api:MODULE or auto."
    ),
    click.option("--kwargs", default="", help="JSON object of keyword arguments for every call."),
    click.option(
        "--result", default="input", show_default=True, help="Format of results, where not that of the inputs."
    ),
    click.option("--call", default="", help="Expression that calls the target, such as 'f(logits, target)[0]'."),
    click.option(
        "--option", "options", multiple=True, help="NAME=VALUE (JSON) of an option that is set inside the target."
    ),
    click.option("--in-place", multiple=True, help="An input that the target overwrites by contract."),
    click.option("--only", default="", help="Calls it is built for, such as 'n <= 65536, contiguous, index labels'."),
    click.option(
        "--device",
        default="cpu",
        show_default=True,
        help="Where arrays of torch, JAX, TensorFlow or CuPy lie, such as cuda.",
    ),
    click.option("--timeout", default=10.0, show_default=True, help="Seconds allowed for one call."),
    click.option("--memory", default=0, help="MB allowed to a target. [default: 3/4 of the machine's, at most 8192]"),
    click.option("--in-process", is_flag=True, help="Run targets in this process: faster, not protected."),
]
_PLANNED = [
    click.option("--profile", default="standard", show_default=True, help="quick, standard or deep."),
    click.option("--sizes", default="", help="Further row lengths to try, comma-separated (a vocabulary's)."),
    click.option("--regimes", default="", help="Only these, comma-separated ('list regimes', or module:attribute)."),
    click.option("--without", default="", help="Not these regimes, comma-separated."),
    click.option(
        "--budget", default=0.0, help="Seconds for the whole audit. [default: 5, 15 or 60 min a format by profile]"
    ),
]
_ENDED = [
    click.option(
        "--require", default="", help="Further requirements, comma-separated: invariance, invariance:K (ulps), a class."
    ),
    click.option("--fail-fast", is_flag=True, help="Stop at the first failure."),
]
_NAMES = (
    "policy", "special", "flush", "seed", "arrays", "kwargs", "device", "timeout", "memory", "in_process", "profile", "sizes",
    "regimes", "fail_fast", "result", "call", "options", "in_place", "only", "without",
    "require", "budget",
)  # fmt: skip


_SECTIONS = {
    "What is asked": (
        "op", "grad", "dtypes", "profile", "sizes", "regimes", "without", "only", "seed", "open_seed", "budget"
    ),
    "How the target is called": (
        "arrays", "device", "kwargs", "call", "result", "options", "in_place", "timeout", "memory", "in_process"
    ),
    "What counts as wrong": ("policy", "special", "flush", "require", "fail_fast"),
}  # fmt: skip


class Sectioned(click.Command):
    """A verb with so many options that its help lists them under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One section for each heading, and one for the rest."""
        rows = {str(one.name): row for one in self.get_params(ctx) if (row := one.get_help_record(ctx))}
        sections = {title: [rows.pop(name) for name in names if name in rows] for title, names in _SECTIONS.items()}
        for title, found in {**sections, "Output and the rest": list(rows.values())}.items():
            with formatter.section(title):
                formatter.write_dl(found)


def names_of(text: str) -> tuple[str, ...]:
    """Comma-separated names."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def sizes_of(text: str) -> tuple[int, ...]:
    """Comma-separated whole numbers."""
    names = names_of(text)
    for name in names:
        if not name.isdecimal():
            raise UsageError(f"--sizes {text!r}: {name!r} is not a whole number (write --sizes 50257,32000)")
    return tuple(dict.fromkeys(map(int, names)))


_JSON_WORDS = ("true", "false", "null", "NaN", "Infinity")


def options_of(given: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE each, the value as JSON (a bare word is text)."""
    found: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise UsageError(f"--option {text!r}: write NAME=VALUE, such as --option label_smoothing=0.1")
        word = value.strip()
        bare = word.isidentifier() and word not in _JSON_WORDS
        found[name.strip()] = word if bare else json_value(value, f"--option {name.strip()}")
    return found


def kwargs_of(text: str) -> dict[str, Any]:
    """A JSON object; ``UsageError`` for anything else."""
    return json_of(text, "--kwargs").fields if text else {}


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

    with finishing():
        try:
            click.echo(render_text(report), err=json_to == "-", nl=False)  # before anything that can fail
        finally:  # also where nobody reads on
            write(to_json(report), json_to)
            if out:
                save(report, Path(out))
        for line in report.incomplete:
            click.echo(f"xent-verify: not completed: {line}", err=True)


def say(line: str) -> None:
    """One line for people on stdout: printable, and no command to a runner of workflows."""
    from xent_verify.report.safe import command_free, readable

    click.echo(command_free(readable(line)))


def write(text: str, place: str) -> None:
    """Into a file, to stdout ("-"), or nowhere ("")."""
    if place == "-":
        click.echo(text, nl=False)
    elif place:
        replace_output(text, place)


def promise_output(path: str | Path, option: str) -> None:
    """Check, before the work, that a file can be written after it, and remember what is there now."""
    try:
        check_writable(path)
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from None
    _outputs()[Path(path).absolute()] = state_of(path)


def replace_output(text: str, path: str | Path) -> None:
    """Write a file that was promised; that something else wrote to it meanwhile is said."""
    known = _outputs().get(Path(path).absolute())
    if known is not None and state_of(path) != known:
        click.echo(f"xent-verify: {path} was changed by something else while this ran; it is replaced", err=True)
    replace_file(path, text)


def _outputs() -> dict[Path, tuple[int, ...]]:
    found: dict[Path, tuple[int, ...]] = (
        click.get_current_context().find_root().meta.setdefault("xent_verify.core.outputs", {})
    )
    return found


def _promised(ctx: click.Context, parameter: click.Parameter, place: str) -> str:  # noqa: ARG001  (click's signature)
    if place not in ("", "-"):
        promise_output(place, parameter.opts[0])
    return place


def json_option(what: str = "the JSON", **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--json FILE``, checked before the work; the verb's ``json_to``."""
    given = options if options.get("required") else {"default": "", **options}
    return click.option("--json", "json_to", help=f"Write {what} here; '-' for stdout.", callback=_promised, **given)


def checked_place(ctx: click.Context, parameter: click.Parameter, place: str) -> str:  # noqa: ARG001
    if place:
        from xent_verify.report.files import check

        check(place)
    return place


out_option = click.option(
    "--out", "-o", default="", callback=checked_place,
    help="Write the report: a folder, or one file (.html .md .csv .tex .json .parquet).",
)  # fmt: skip


def status_of(report: Report) -> int:
    """Exit status of an audit: 130 interrupted (``cli`` knows how), 1 failed, 3 not completed, 5 nothing checked, 0."""
    if report.interrupted:
        return 130
    if report.failed:
        return 1
    if report.incomplete:
        return 3
    return 0 if report.cases else 5
