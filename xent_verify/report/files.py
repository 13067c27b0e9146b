"""A directory of files for one report. The same report gives the same bytes (given the same library versions)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from xent_verify.core.failures import MissingExtraError, UsageError
from xent_verify.core.model import Report
from xent_verify.core.outputs import check_folder, check_writable, replace_file

__all__ = ["Saved", "check", "save"]

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


def save(report: Report, place: str | os.PathLike[str]) -> Saved:
    """Write every rendering into a directory, or one file where ``place`` ends as one; each complete or not at all.

    One file: ``.html`` ``.md`` ``.csv`` ``.tex`` ``.json`` ``.parquet``. Raises ``MissingExtraError`` where that one
    file needs an optional package, ``UsageError`` where nothing can be written.
    """
    root = Path(place)
    if root.suffix in SINGLE and not root.is_dir():
        return _single(report, root)
    paths: list[Path] = []
    skipped: list[str] = []
    for renderer in RENDERERS:
        missing = [package for package in renderer.needs if find_spec(package) is None]
        if missing:
            skipped.append(f"{renderer.about} (needs {', '.join(missing)}: pip install 'xent-verify[report]')")
            continue
        paths += [_write(root / name, content) for name, content in renderer.files(report)]
    return Saved(tuple(paths), tuple(skipped))


_FILE_NAME = re.compile(r"\.[a-z]{2,4}")
"""A suffix as names of files have it; a folder of such a name is given with a slash behind it."""


def check(place: str | os.PathLike[str]) -> None:
    """Refuse, before the work, a place that ``save`` could not write to: closed, or of a kind that needs a package."""
    root = Path(place)
    if root.suffix not in SINGLE or root.is_dir():
        if _FILE_NAME.fullmatch(root.suffix) and not root.is_dir() and not str(place).endswith(("/", os.sep)):
            raise UsageError(f"{place}: a report is a folder or one of {' '.join(SINGLE)}, not {root.suffix}")
        check_folder(root)
        return
    for package in SINGLE[root.suffix].needs:
        if find_spec(package) is None:
            raise MissingExtraError(package, "report", f"writing {root.suffix}")
    check_folder(root.parent)
    if root.exists():
        check_writable(root)


def _single(report: Report, path: Path) -> Saved:
    check(path)
    renderer = SINGLE[path.suffix]
    ((_, content),) = renderer.files(report)
    return Saved((_write(path, content),), ())


def _write(path: Path, content: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    return replace_file(path, content)


def _text(name: str, module: str, function: str) -> Callable[[Report], Files]:
    def files(report: Report) -> Files:
        render: Callable[[Report], str] = getattr(import_module(f"xent_verify.report.{module}"), function)
        yield name, render(report).encode()

    return files


def _csv(name: str, function: str) -> Callable[[Report], Files]:
    def files(report: Report) -> Files:
        from xent_verify.report.safe import cells, readable

        frame = cells(getattr(import_module("xent_verify.report.frames"), function)(readable(report)))
        yield name, frame.to_csv(index=False, lineterminator="\n").encode()

    return files


def _pictures(report: Report) -> Files:
    """The plots as files, and the page that shows them."""
    from xent_verify.report.html import render_html
    from xent_verify.report.plots import drawings

    drawn = drawings(report)
    for drawing in drawn:
        yield drawing.file, drawing.on_white.encode()
    yield "report.html", render_html(report, drawn=drawn, alone=False).encode()


def _elements(report: Report) -> Files:
    """Parquet where pyarrow is installed, else CSV."""
    from xent_verify.report.frames import elements_frame
    from xent_verify.report.safe import cells, readable

    frame = elements_frame(readable(report))
    if find_spec("pyarrow") is None:
        yield "elements.csv", cells(frame).to_csv(index=False, lineterminator="\n").encode()
    else:
        yield "elements.parquet", frame.to_parquet(index=False)


def _parquet(report: Report) -> Files:
    from xent_verify.report.frames import summary_frame
    from xent_verify.report.safe import readable

    yield "summary.parquet", summary_frame(readable(report)).to_parquet(index=False)


_JSON = Renderer("JSON", (), _text("results.json", "json", "to_json"))
_SUMMARY = Renderer("summary", (), _text("summary.md", "markdown", "render_markdown"))
_TABLE = Renderer("summary table", (), _csv("summary.csv", "summary_frame"))
_LATEX = Renderer("LaTeX table", ("jinja2",), _text("summary.tex", "latex", "render_latex"))

RENDERERS = (
    _JSON,
    _SUMMARY,
    Renderer("findings", (), _text("findings.md", "markdown", "render_findings")),
    _TABLE,
    _LATEX,
    Renderer("regime table", (), _csv("regimes.csv", "regime_frame")),
    Renderer("element table", (), _elements),
    Renderer("plots and page", ("matplotlib", "jinja2"), _pictures),
)

SINGLE = {
    ".json": _JSON,
    ".md": _SUMMARY,
    ".csv": _TABLE,
    ".tex": _LATEX,
    ".parquet": Renderer("Parquet", ("pyarrow",), _parquet),
    ".html": Renderer("page", ("matplotlib", "jinja2"), _text("report.html", "html", "render_html")),
}
"""What a place that ends so is written as."""
