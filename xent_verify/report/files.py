"""A directory of files for one report. The same report gives the same bytes (given the same library versions)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from xent_verify.failures import UsageError
from xent_verify.model import Report

__all__ = ["Saved", "save"]

Files = Iterator[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Saved:
    """The files written, and what was left out for want of an optional package."""

    paths: tuple[Path, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Renderer:
    """One kind of output: the packages it needs and a function that yields (file name, bytes)."""

    about: str
    needs: tuple[str, ...]
    files: Callable[[Report], Files]


def save(report: Report, directory: str | os.PathLike[str]) -> Saved:
    """Write every rendering into ``directory``, each file complete or not at all."""
    root = Path(directory)
    paths: list[Path] = []
    skipped: list[str] = []
    for renderer in RENDERERS:
        missing = [package for package in renderer.needs if find_spec(package) is None]
        if missing:
            skipped.append(f"{renderer.about} (needs {', '.join(missing)}: pip install 'xent-verify[report]')")
            continue
        paths += [_write(root / name, content) for name, content in renderer.files(report)]
    return Saved(tuple(paths), tuple(skipped))


def _write(path: Path, content: bytes) -> Path:
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    return path


def _text(name: str, module: str, function: str) -> Callable[[Report], Files]:
    def files(report: Report) -> Files:
        render: Callable[[Report], str] = getattr(import_module(f"xent_verify.report.{module}"), function)
        yield name, render(report).encode()

    return files


def _csv(name: str, function: str) -> Callable[[Report], Files]:
    def files(report: Report) -> Files:
        frame = getattr(import_module("xent_verify.report.frames"), function)(report)
        yield name, frame.to_csv(index=False, lineterminator="\n").encode()

    return files


def _pictures(report: Report) -> Files:
    """The plots as files, and the page that shows them."""
    from xent_verify.report.html import render_html
    from xent_verify.report.plots import drawings

    drawn = drawings(report)
    for drawing in drawn:
        yield drawing.file, drawing.on_white.encode()
    yield "report.html", render_html(report, drawn=drawn).encode()


def _elements(report: Report) -> Files:
    """Parquet where pyarrow is installed, else CSV."""
    from xent_verify.report.frames import elements_frame

    frame = elements_frame(report)
    if find_spec("pyarrow") is None:
        yield "elements.csv", frame.to_csv(index=False, lineterminator="\n").encode()
    else:
        yield "elements.parquet", frame.to_parquet(index=False)


RENDERERS = (
    Renderer("JSON", (), _text("results.json", "json", "to_json")),
    Renderer("summary", (), _text("summary.md", "markdown", "render_markdown")),
    Renderer("findings", (), _text("findings.md", "markdown", "render_findings")),
    Renderer("summary table", (), _csv("summary.csv", "summary_frame")),
    Renderer("regime table", (), _csv("regimes.csv", "regime_frame")),
    Renderer("element table", (), _elements),
    Renderer("plots and page", ("matplotlib", "jinja2"), _pictures),
)
