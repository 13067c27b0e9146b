"""``xent-verify gate``."""

from __future__ import annotations

import os
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xent_verify.commands.shared import json_option, out_option, progress, promise_output, replace_output, write
from xent_verify.core.failures import UsageError
from xent_verify.core.interrupts import finishing

if TYPE_CHECKING:
    from xent_verify.gate.baseline import Entry
    from xent_verify.gate.gate import GateResult

__all__ = ["command"]


@click.command(name="gate")
@click.option(
    "--config", default="", help="Settings file. [default: xent-verify.toml or pyproject.toml, here or above]"
)
@click.option("--baseline", default="", help="Known findings. [default: as the settings say]")
@click.option("--update-baseline", is_flag=True, help="Write what was found into the baseline and print what changed.")
@click.option("--profile", default="", help="quick, standard or deep, for every target. [default: as the settings say]")
@click.option("--seed", type=int, default=None, help="Seed of every generator. [default: as the settings say]")
@click.option("--policy", default="", help="Policy for every target. [default: as the settings say]")
@click.option("--jobs", default=1, show_default=True, help="Processes that share the targets.")
@json_option()
@out_option
@click.option("--junit", default="", help="Write JUnit XML here.")
@click.option("--sarif", default="", help="Write SARIF here.")
@click.option("--markdown", default="", help="Write Markdown here, for a comment on a pull request.")
@click.option("--github", is_flag=True, help="Print annotations and append to $GITHUB_STEP_SUMMARY.")
def command(
    config: str,
    baseline: str,
    update_baseline: bool,
    profile: str,
    seed: int | None,
    policy: str,
    jobs: int,
    json_to: str,
    out: str,
    junit: str,
    sarif: str,
    markdown: str,
    github: bool,
) -> int:
    """Check every target of the settings; fail on what is new or worse than the baseline.

    \b
    xent-verify gate
    xent-verify gate --junit gate.xml --github
    xent-verify gate --update-baseline
    """
    from xent_verify.gate.baseline import read_baseline
    from xent_verify.gate.gate import gate
    from xent_verify.gate.settings_file import find_settings, read_settings

    outputs = {name: Path(path).absolute() for name, path in _files(junit, sarif, markdown, json_to).items()}
    folder = str(Path(out).absolute()) if out else ""
    _writable(outputs, github)
    path = Path(config) if config else find_settings(Path.cwd())
    settings = read_settings(path, profile=profile, seed=seed, policy=policy)
    known_at = Path(baseline).absolute() if baseline else settings.baseline.absolute()
    if baseline and not known_at.exists() and not update_baseline:
        raise UsageError(f"baseline {baseline}: not found; --update-baseline writes one")
    known = read_baseline(known_at)
    with progress() as show, chdir(settings.folder):
        result = gate(settings, known, jobs=jobs, progress=show)
    when, to_stdout = " (before the update)" if update_baseline else "", json_to == "-"
    verdict = _verdict(result, f"baseline {os.path.relpath(known_at)}{when}" if known else "no baseline")
    with finishing():
        try:
            _tell(result, known, verdict, to_stderr=to_stdout, updating=update_baseline)
        finally:  # also where nobody reads on
            _write(result, outputs, folder, verdict, to_stdout=to_stdout, github=github)
        if update_baseline:
            return _update(result, known_at, to_stderr=to_stdout)
    return result.status


def _files(junit: str, sarif: str, markdown: str, json_to: str) -> dict[str, str]:
    given = {"junit": junit, "sarif": sarif, "markdown": markdown, "json": "" if json_to == "-" else json_to}
    return {name: path for name, path in given.items() if path}


def _writable(outputs: dict[str, Path], github: bool) -> None:
    """Refuse before the work what could not be written after it."""
    for name, path in outputs.items():
        promise_output(path, f"--{name}")
    if "junit" in outputs:
        import xent_verify.report.junit  # noqa: F401  (a missing extra is told now)
    if github and not os.environ.get("GITHUB_STEP_SUMMARY"):
        click.echo("xent-verify: GITHUB_STEP_SUMMARY is not set: no step summary is written", err=True)


def _verdict(result: GateResult, held: str) -> str:
    """``gate FAILS: 2 new, 1 known; no baseline``."""
    counts = {
        word: sum(change.word == word for change in result.changes)
        for word in ("new", "worse", "fallen", "improved", "stale")
    }
    verdict = {
        0: "passes",
        1: "FAILS",
        3: "could not be completed",
        5: "checked nothing of what is listed above" if result.unchecked else "has nothing to check: no [[target]]",
        130: "was interrupted",
    }
    numbers = ", ".join(
        [f"{count} {word}" for word, count in counts.items() if count or word == "new"] + [f"{result.known} known"]
    )
    return f"gate {verdict[result.status]}: {numbers}; {held}"


def _tell(result: GateResult, known: tuple[Entry, ...], verdict: str, *, to_stderr: bool, updating: bool) -> None:
    """The findings that count in full, then what changed, then the verdict."""
    from xent_verify.gate.differences import without_changes
    from xent_verify.report import render_text
    from xent_verify.report.github import REPLAY

    if result.report.targets:
        click.echo(render_text(without_changes(result.report)), err=to_stderr, nl=False)
    for change in result.changes:
        click.echo(change.line, err=to_stderr)
    for name in result.unchecked:
        click.echo(f"unchecked: {name}: nothing could be asked", err=to_stderr)
    places = {entry.place for entry in known} - {place for place, _ in result.checked}
    if places:
        click.echo(f"{len(places)} target x dtype of the baseline not checked by this gate", err=to_stderr)
    click.echo(verdict, err=to_stderr)
    failing = [change for change in result.changes if change.fails]
    replayed = [change.entry.kind for change in failing if change.word in ("new", "worse")]
    if failing and not updating:
        if replayed:
            click.echo(f"see one again:        {REPLAY.format(kind=replayed[0])}", err=to_stderr)
        click.echo("update the baseline:  xent-verify gate --update-baseline    (review and commit it)", err=to_stderr)


_RENDERERS = {"json": "to_json", "junit": "render_junit", "sarif": "render_sarif"}


def _write(
    result: GateResult, outputs: dict[str, Path], folder: str, verdict: str, *, to_stdout: bool, github: bool
) -> None:
    from xent_verify import report as shown
    from xent_verify.report.github import command_line

    stale = [change.line for change in result.changes if change.fails and change.word == "stale"]
    told = [verdict, *stale]
    if to_stdout:
        write(shown.to_json(result.report), "-")
    for name, path in outputs.items():
        if name == "markdown":
            replace_output(shown.render_comment(result.report, told), path)
        else:
            render = getattr(shown, _RENDERERS[name])  # looked up when asked for: some need an extra
            replace_output(render(result.report), path)
    if folder:
        shown.save(result.report, Path(folder))
    if github:
        click.echo(shown.render_annotations(result.report), err=to_stdout, nl=False)
        for line in stale:
            click.echo(command_line("error", line, title="xent-verify gate"), err=to_stdout)
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if summary:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(shown.render_step_summary(result.report, told))


def _update(result: GateResult, path: Path, *, to_stderr: bool) -> int:
    from xent_verify.core.environment import instruction_set
    from xent_verify.gate.baseline import differences, replaced, update_baseline

    if result.interrupted:
        click.echo("xent-verify: interrupted: the baseline is left as it was", err=True)
        return result.status
    if result.status == 5 or result.report.incomplete:
        click.echo("xent-verify: not everything was checked: the baseline is left as it was", err=True)
        return result.status
    told: list[str] = []

    def change(held: tuple[Entry, ...]) -> list[Entry]:
        new = replaced(held, result.found, [place for place, _ in result.checked], instruction_set())
        told.extend(differences(held, new))
        return new

    update_baseline(path, change)
    for line in told or ["nothing changed"]:
        click.echo(f"baseline: {line}", err=to_stderr)
    return 0
