"""Plots and the HTML page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from report_factory import example, finding, odd_example, passing, report

from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Report
from xent_verify.report import render_html
from xent_verify.report.plots import PLOTS, drawings, svg_of
from xent_verify.report.words import apart_text


class Page(HTMLParser):
    """What a test asks of a page: ids, links, references, headings, balance of tags."""

    VOID = ("meta", "link", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.headings: list[int] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag in ("a", "use") and "href" in given else []
        self.loads += [given[key] for key in ("src", "srcset", "data") if key in given]
        self.loads += [given["href"]] if tag == "link" else []
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()


@pytest.fixture(scope="module")
def text() -> str:
    return render_html(report())


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_page_is_balanced_with_unique_ids(page):
    """Every tag is closed in order and no id occurs twice."""
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_every_link_on_the_page_arrives(page):
    """Links within the page have their place; other links name files saved beside it."""
    inner = {link[1:] for link in page.links if link.startswith("#")}
    assert inner <= set(page.ids)
    assert {link for link in page.links if not link.startswith("#")} <= {"results.json", "findings.md"}


def test_nothing_is_loaded_from_elsewhere(page, text):
    """The page is self-contained: nothing is fetched, the policy forbids it, there is no script to run."""
    assert page.loads == ["data:,"]
    assert "default-src 'none'" in text
    assert text.count("<script") == 1  # the data block
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_headings_do_not_skip_levels(page):
    """A screen reader can walk the headings: one h1, and no level is left out."""
    assert page.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False))


def test_pictures_have_names_and_verdicts_have_signs(text):
    """Every plot has a text alternative, every table region a label, every verdict a sign beside its colour."""
    assert text.count("<svg") == text.count('role="img" aria-label="')
    assert text.count('class="scroll"') == text.count('role="region" tabindex="0" aria-label="')
    assert "✗ fail" in text
    assert "✓ pass" in text


def test_embedded_json_is_the_report(text):
    """The data block is strict JSON with the contract's keys."""
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(block.group(1))["schema"] == 1


def test_hostile_names_stay_text():
    """A target called <script> cannot become one."""
    made = report(targets={"softmax": ("</script><img src=x onerror=alert(1)>", "b<c&d")}, ops=("softmax",))
    written = render_html(made)
    assert "<img" not in written
    assert Page(written).open == []


def test_page_stays_small(text):
    """Under a megabyte for a report of very many findings with long scripts; what is left out is named."""
    made = report()
    target = made.targets[0]
    many = tuple(finding(script="x = 1\n" * 3000, message=f"case {i}") for i in range(60))
    results = tuple(replace(result, signs=many) for result in target.dtypes)
    big = Report((replace(target, dtypes=results), *made.targets[1:]), made.environment)
    written = render_html(big)
    assert len(written.encode()) < 1_000_000
    assert "The script stands in" in written
    assert len(text.encode()) < 1_000_000


def test_empty_and_odd_reports_have_a_page():
    """Nothing checked, and examples of every format with NaN and infinities, are pages too."""
    assert "Nothing was checked." in render_html(Report((), {}))
    made = passing()
    found = tuple(finding(minimal=odd_example(name)) for name in FORMATS)
    result = replace(made.targets[0].dtypes[0], signs=found)
    odd = Report((replace(made.targets[0], dtypes=(result,)),), {})
    assert Page(render_html(odd)).open == []


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
def test_plots_are_well_formed_and_repeatable(plot):
    """Each plot is XML that parses and the same bytes again, free of dates."""
    targets = [target for target in report().targets if target.op == "softmax"]
    drawn = svg_of(plot, targets)
    ET.fromstring(drawn)
    assert drawn == svg_of(plot, targets)
    assert "naive_softmax" in drawn
    assert "dc:date" not in drawn


def test_plots_of_nothing():
    """Targets without a measured number draw no plot and break nothing."""
    made = report(ops=("softmax",))
    bare = tuple(replace(t, dtypes=tuple(replace(d, regimes=()) for d in t.dtypes)) for t in made.targets)
    assert drawings(Report(bare, {})) == []
    assert "Plots" in render_html(Report(bare, {}))


@pytest.mark.parametrize(
    ("true", "observed", "shown"),
    [
        ("0.5", 0.25, ("0.5", "0.25")),
        ("-10997.16840000000001", -10997.1684000001, ("-10997.1684", "-10997.1684000001")),
        ("1.0", float("nan"), ("1.0", "nan")),
    ],
)
def test_true_and_given_never_look_equal(true, observed, shown):
    """Nine digits, and more where nine do not tell two values apart."""
    found = apart_text(replace(example("float64"), true_digits=true, observed=observed))
    assert found[1] == shown[1]
    assert found[0].startswith(shown[0])
    assert found[0] != found[1]
