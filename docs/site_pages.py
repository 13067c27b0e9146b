"""What the site has beside docs/: the pages that are kept elsewhere, tables made from the code, and links between them.

A hook of MkDocs (mkdocs.yml names it). Pages are written for whoever reads the repository; a link leads from file to file there,
and here from page to page. A line ``<!-- table: NAME -->`` is replaced by the table of that name.
"""

from __future__ import annotations

import inspect
import json
import posixpath
import re
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xent_verify.cli import VERBS, program
from xent_verify.core.formats import FORMATS, FloatFormat
from xent_verify.core.kinds import CLASSES, KINDS, Kind
from xent_verify.ops import OPS, Op

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

__all__ = ["TABLES", "linked", "on_files", "on_page_content", "on_page_markdown", "page_of", "tables"]

ROOT = Path(__file__).parent.parent

ELSEWHERE = ("CONTRIBUTING.md", "CHANGELOG.md", "reports/**/*.md")
"""Pages of the repository that are pages of the site, too."""

_LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
_MARK = re.compile(r"^<!-- table: (\w+) -->$", re.M)
_SHORT_CODE = re.compile(r"<code>([^<]{1,28})</code>")
_PAGE_NAME = re.compile(r"(?<![\w/\"])docs/(\w+)\.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from elsewhere, and the files to which any page links (plots, certificates, an example)."""
    from mkdocs.structure.files import File

    pages = [path for pattern in ELSEWHERE for path in sorted(ROOT.glob(pattern))]
    sources = [*pages, *sorted((ROOT / "docs").glob("*.md"))]
    assets = {target for page in sources for target in _targets(page) if target.is_file() and target.suffix != ".md"}
    for path in (*pages, *sorted(assets)):
        place = page_of(path.relative_to(ROOT).as_posix())
        if files.get_file_from_path(place) is None:
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def _targets(page: Path) -> Iterator[Path]:
    """The files to which a page links."""
    for found in _LINK.finditer(page.read_text(encoding="utf-8")):
        target = (page.parent / found[2]).resolve()
        if target.is_relative_to(ROOT):
            yield target


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Tables filled in, links turned into the site's."""
    source = Path(page.file.abs_src_path).relative_to(ROOT).as_posix()
    return linked(tables(markdown), source)


def on_page_content(html: str, page: Any, files: Files, **_: Any) -> str:
    """A page that a docstring names (docs/policies.md) is a link; a short piece of code is not broken at its hyphens."""

    def link(found: re.Match[str]) -> str:
        file = files.get_file_from_path(f"{found[1]}.md")
        return f'<a href="{file.url_relative_to(page.file)}">{found[0]}</a>' if file else found[0]

    return _SHORT_CODE.sub(r'<code class="short">\1</code>', _PAGE_NAME.sub(link, html))


def page_of(path: str) -> str:
    """Where a file of the repository stands in the site."""
    return "README.md" if path == "README.md" else path.removeprefix("docs/")


def linked(markdown: str, source: str) -> str:
    """Links of the repository's file ``source`` as links of the site's page."""
    here = posixpath.dirname(source)
    place = posixpath.dirname(page_of(source))

    def change(found: re.Match[str]) -> str:
        target = page_of(posixpath.normpath(posixpath.join(here, found[2])))
        return found[1] + posixpath.relpath(target, place or ".") + found[3]

    return _LINK.sub(change, markdown)


def tables(markdown: str) -> str:
    """The page with its tables filled in."""
    return _MARK.sub(lambda found: TABLES[found[1]](), markdown)


def _kinds() -> str:
    """A heading, and so an anchor, for each kind of finding."""
    return "\n\n".join(part for kind in KINDS.values() for part in _kind(kind))


def _kind(kind: Kind) -> Iterator[str]:
    yield f"## {kind.name}"
    yield f"{kind.means}."
    if kind.note:
        yield kind.note
    yield f"**What to do:** {kind.remedy}{'' if kind.remedy.endswith('?') else '.'}"
    facts = [f"severity `{kind.severity}`", f"about {_GROUPS[kind.group]}"]
    if kind.name in CLASSES:
        facts.append("counted value by value, under the same name")
    if kind.last_bits:
        facts.append("may depend on the machine's instruction set")
    yield f"*{'; '.join(facts).capitalize()}.*"


_GROUPS = {
    "value": "the values of an answer",
    "form": "the form of an answer",
    "conduct": "what a call does to its arguments or to later calls",
    "relation": "two answers that are compared",
    "outcome": "a call without an answer",
    "coverage": "what was not asked",
}


def _formats() -> str:
    """A row for each float format."""
    head = "| format | precision | exponents | largest | smallest | has no |\n|---|---:|---|---:|---:|---|"
    return "\n".join([head, *map(_format, FORMATS.values())])


def _format(form: FloatFormat) -> str:
    held = {"infinity": form.has_inf, "NaN": form.has_nan, "−0": form.has_negative_zero, "sign or 0": not form.scale}
    lacks = ", ".join(name for name, there in held.items() if not there)
    exponents = f"{form.e_min} … {form.e_max}"
    sizes = f"{form.max_finite:.6g} | {form.smallest_subnormal:.3g}"
    return f"| `{form.name}` | {form.precision} bits | {exponents} | {sizes} | {lacks} |"


def _operations() -> str:
    """A heading for each operation, with its call and its formula."""
    return "\n\n".join(part for op in OPS.values() for part in _operation(op))


def _operation(op: Op) -> Iterator[str]:
    given = ", ".join([*op.inputs, *(f"{name}={option.default!r}" for name, option in op.options.items())])
    yield f"## {op.name}"
    yield f"```text\n{op.name}({given})\n```"
    yield _text(op.about) + "."
    formula = " ".join((op.formula.__doc__ or "").split())
    if formula:
        yield f"Computed as: {_text(formula)}"


def _result() -> str:
    """A table of fields for each part of a result, from its JSON Schema."""
    schema = json.loads((resources.files("xent_verify.report") / "schema.json").read_text(encoding="utf-8"))
    parts = {"Result": schema} | {table["title"]: table for table in schema["$defs"].values()}
    return "\n\n".join(f"### {title}\n\n" + "\n".join(_fields(table)) for title, table in parts.items())


def _fields(table: dict[str, Any]) -> Iterator[str]:
    yield "| field | meaning |\n|---|---|"
    for name, about in table["properties"].items():
        yield f"| `{name}` | {'' if name in table['required'] else '*if any:* '}{about['description']} |"


def _commands() -> str:
    """A heading for each command, with its help text, its examples and its options."""
    with click.Context(program, info_name="xent-verify") as context:
        return "\n\n".join(
            part for verb in VERBS for part in _command(program.get_command(context, verb), verb, context)
        )


def _command(command: click.Command | None, name: str, parent: click.Context) -> Iterator[str]:
    assert command is not None
    context = click.Context(command, info_name=name, parent=parent)
    yield f"{'#' * (1 + context.command_path.count(' '))} {context.command_path}"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        kept = paragraph.removeprefix("\b\n")  # click's mark of lines that stay lines
        yield paragraph if kept == paragraph else f"```text\n{kept}\n```"
    yield f"```text\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```"
    options = [one for one in command.params if isinstance(one, click.Option)]
    if options:
        records = [record for option in options if (record := option.get_help_record(context))]
        rows = [f"| `{option.replace('|', ' or ')}` | {_text(text)} |" for option, text in records]
        yield "\n".join(["| option | meaning |", "|---|---|", *rows])
    for verb, inner in getattr(command, "commands", {}).items():
        yield from _command(inner, verb, context)


def _text(text: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"([*_`|])", r"\\\1", text.replace("<", "&lt;"))


TABLES: dict[str, Callable[[], str]] = {
    "result": _result,
    "kinds": _kinds,
    "formats": _formats,
    "operations": _operations,
    "commands": _commands,
}
"""Name in a page's mark -> its Markdown."""
