"""Hostile text in every field of a report, through every renderer: the result parses, and the text is data in it."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_factory import finding, report

from xent_verify.core.model import Report
from xent_verify.report import (
    from_json,
    render_annotations,
    render_findings,
    render_html,
    render_junit,
    render_latex,
    render_markdown,
    render_sarif,
    render_step_summary,
    render_text,
    save,
    to_json,
)
from xent_verify.report.safe import cells, code, command_free, file_part, markdown, readable

MARK = "evil"
HOSTILE = (
    f"\x1b[31m{MARK}\x07", f"a\n::error::{MARK}", f"::error file=x::{MARK}", f"\ud800{MARK}", f"\u202e{MARK}\u2066", f"=1+{MARK}",
    f"+{MARK}", f"-{MARK}", f"@{MARK}", f"</script><script>{MARK}</script>", f"<img src=x onerror={MARK}>",
    f"]]>{MARK}&lt;&{MARK};",
    f"```\n# {MARK}", f"~~~{MARK}", f"# {MARK}", f"| {MARK} | b |\n|---|---|", f"[{MARK}](http://x)", f"![{MARK}](http://x)",
    f"$\\frac{{{MARK}}}$", f"$${MARK}", f"\\input{{{MARK}}}", f"%{MARK}_^~#", f"\x00\x0b\ufffe{MARK}", f"../../{MARK}",
    f"{MARK}`" * 3,
    f"{{{{ {MARK} }}}}", f"1. {MARK}", f"[{MARK}]: http://x", f"{MARK}\r\n\r\n", f"'\"{MARK}", f"--><!-- {MARK}",
)  # fmt: skip
"""What terminals, runners, spreadsheets, browsers, Markdown, LaTeX, XML and file systems take for their own language."""


def with_text(text: str) -> Report:
    """A report with that text wherever text from outside can stand."""
    made = report(dtypes=("float32",), ops=("softmax",))
    result = made.targets[0].dtypes[0]
    found = finding(
        message=text,
        diagnosis=text,
        notes=(text,),
        regimes=(text, "ties"),
        script=f"print(1)\n{text}\n",
        raised=text,
        relation=text,
    )
    example = replace(found.minimal, options={text: text, "axis": 0}, layout=text, true_digits=text)  # type: ignore[type-var]
    found = replace(found, minimal=example, worst=None)
    regimes = tuple(replace(one, regime=text) if number == 0 else one for number, one in enumerate(result.regimes))
    result = replace(
        result, signs=(found, replace(found, severity="warn")), regimes=regimes, notes=(text,), unasked=(text,),
        incomplete=(text,), offered={text: False}, change=text,
    )  # fmt: skip
    first = replace(
        made.targets[0], target=text, op=text, dtypes=(result,), settings={**made.targets[0].settings, text: text}
    )
    return replace(made, targets=(first, *made.targets[1:]), environment={**made.environment, text: text})


hostile = pytest.mark.parametrize("text", HOSTILE, ids=ascii)


def clean(text: str, breaks: str = "\n") -> None:
    """Nothing that a terminal would obey, and every character has a UTF-8 encoding."""
    text.encode()
    assert all(one.isprintable() or one in breaks or one in "\xa0\u2009\u202f" for one in text)


@hostile
def test_terminal_text_holds_no_commands(text: str) -> None:
    """No control characters, and no line that a runner of workflows obeys."""
    shown = render_text(with_text(text), color=False)
    clean(shown)
    assert not re.search(r"^\s*(::|##\[)", shown, re.MULTILINE)


@hostile
def test_json_and_sarif_parse(text: str) -> None:
    """Strict UTF-8 JSON; results come back as they went."""
    made = with_text(text)
    encoded = to_json(made).encode()
    json.loads(encoded)
    again = from_json(encoded.decode())
    assert again.targets[0].target == text.encode("utf-8", "replace").decode()
    json.loads(render_sarif(made).encode())


@hostile
def test_junit_parses(text: str) -> None:
    """XML 1.0."""
    root = ET.fromstring(render_junit(with_text(text)).encode())
    assert MARK in "".join(root.itertext())


@hostile
def test_annotations_are_one_command_a_line(text: str) -> None:
    """Every line is a command of ours."""
    lines = render_annotations(with_text(text)).splitlines()
    assert lines
    assert all(re.match(r"::(error|warning|notice) (file=[^:]*,)?title=[^:]*::", line) for line in lines)
    clean("\n".join(lines))


class Page(HTMLParser):
    """Tags and handlers of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}


@pytest.mark.parametrize("text", HOSTILE[::3], ids=ascii)
def test_a_page_holds_the_tags_of_its_template_alone(text: str) -> None:
    """No tag and no attribute comes from outside; no plot is needed to see that."""
    page, plain = Page(), Page()
    shown = render_html(with_text(text), drawn=())
    page.feed(shown)
    plain.feed(render_html(with_text("plain"), drawn=()))
    assert page.tags <= plain.tags
    assert page.names <= plain.names
    clean(shown)


def columns(line: str) -> int:
    """Cells of a Markdown table's line: pipes that are not escaped."""
    return len(re.findall(r"(?<!\\)\|", line)) - 1


@hostile
def test_markdown_tables_keep_their_columns(text: str) -> None:
    """Every line of a table has as many cells as its header; no heading, fence or tag comes from outside."""
    shown = render_markdown(with_text(text))
    clean(shown)
    width = 0
    for line in shown.splitlines():
        width = columns(line) if line.startswith("|") and not width else width if line.startswith("|") else 0
        assert not line.startswith("|") or columns(line) == width
        assert not re.match(rf"\s*(#+ .*(?<!\S)# {MARK}|```|~~~)", line)
        outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", line)
        assert not re.search(r"<[A-Za-z/!?]|(?<!\\)\]\(", outside), line
    clean(render_step_summary(with_text(text)))


@hostile
def test_findings_keep_their_fences(text: str) -> None:
    """A script ends where its own fence ends."""
    fence, inside = "", False
    for line in render_findings(with_text(text)).splitlines():
        ticks = re.match(r"`{3,}", line)
        if ticks and not inside:
            fence, inside = ticks[0], True
            assert line == f"{fence}python"
        elif ticks and line.strip() == fence:
            inside = False
        elif not inside:
            assert not line.startswith(("~~~", "|", "[", f"# {MARK}", "1. "))
    assert not inside


@hostile
def test_files_hold_data(text: str, tmp_path: Path) -> None:
    """CSV cells are no formulas, LaTeX no commands."""
    made = with_text(text)
    save(made, tmp_path / "a.csv")
    rows = list(csv.reader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert len({len(row) for row in rows}) == 1
    assert not [cell for row in rows for cell in row if re.match(r"[=@+]|-(?!\d|inf)", cell)]
    shown = render_latex(made)
    clean(shown)
    assert f"\\input{{{MARK}}}" not in shown
    assert "$$" not in shown


@pytest.mark.parametrize("text", HOSTILE[:1] + HOSTILE[18:24], ids=ascii)
def test_plots_draw_text_as_it_is(text: str) -> None:
    """Names with dollars are no formulas; the SVG is XML; the file's name is one of a file."""
    from xent_verify.report.plots import drawings

    drawn = drawings(with_text(text))
    assert drawn
    for drawing in drawn:
        if MARK not in drawing.op:
            continue
        assert MARK in "".join(ET.fromstring(drawing.svg).itertext())
        assert re.fullmatch(r"plots/[A-Za-z0-9_.-]{1,100}", drawing.file)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(st.characters(), max_size=30))
def test_any_text_is_made_safe(text: str) -> None:
    """What each medium's function promises, for any characters at all."""
    line = readable(text)
    clean(line, "")
    assert readable(line) == line
    assert not re.match(r"\s*(::|##\[)", command_free(line))
    shown = markdown(line)
    assert not re.match(r"\s*(#|>|```|~~~|[-+*] )", shown)
    assert not re.search(r"<[A-Za-z/!?]", shown)
    span = code(line)
    if line:
        ticks = re.match("`+", span)
        assert ticks is not None
        assert span.endswith(ticks[0])
        assert ticks[0] not in line
    assert re.fullmatch(r"[A-Za-z0-9_.-]*", file_part(text))


def test_names_that_differ_have_files_that_differ() -> None:
    """Two operations never write one file."""
    assert len({file_part(name) for name in ("a/b", "a_b", "a:b", "x" * 100, "x" * 101)}) == 5


def test_numbers_of_a_table_stay_numbers() -> None:
    """Only texts are guarded."""
    import pandas as pd

    frame = cells(pd.DataFrame({"a": [-1.5, 2.0], "b": ["-x", "y"]}))
    assert frame["a"].tolist() == [-1.5, 2.0]
    assert frame["b"].tolist() == ["'-x", "y"]
