"""The lesson: committed pages are what the command writes, in both languages, and what they say is so."""

from __future__ import annotations

import re
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import lesson
import numpy as np
import pytest
from lesson import facts, page
from lesson.arithmetic import careful, correctly_rounded
from lesson.forms import FORMS, Judged, Question, judge, question
from lesson.paths import PATHS, failure

from xent_verify.core.failures import MissingExtraError, UnknownNameError
from xent_verify.core.formats import FORMATS
from xent_verify.explain.claims_truth import quantity_of, rounded_like
from xent_verify.implementations import find

REPORTS = Path(__file__).parent.parent / "reports"
PAGES = ("naive-vs-stable.md", "naive-vs-stable.zh.md")
NUMBER = re.compile(r"0x[0-9a-f.]+p[+-]\d+|\d+(?:\.\d+)?(?:e-?\d+)?")
NAMES = re.compile(r"float\d+|log1p")


@pytest.fixture(scope="module")
def written() -> dict[str, bytes]:
    """What the command writes."""
    return lesson.made()


def numbers(text: str) -> list[str]:
    return NUMBER.findall(NAMES.sub("", text))


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def shape(text: str) -> list[str]:
    """Headings, table rows by their columns, list items, pictures and code blocks, in order."""
    kinds = {"#": "heading", "-": "item", "!": "picture", "`": "code", "x": "command"}
    lines = [line for line in text.splitlines() if line and line[0] in "#|-!`x"]
    return [f"row of {line.count('|')}" if line[0] == "|" else kinds[line[0]] for line in lines]


def words(svg: bytes) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.decode())


@pytest.mark.parametrize("name", PAGES)
def test_committed_pages_are_what_the_command_writes(written: dict[str, bytes], name: str) -> None:
    """Each committed page is byte for byte what the command writes, on any machine."""
    assert (REPORTS / name).read_bytes() == written[name]


def test_committed_plots_show_the_same(written: dict[str, bytes]) -> None:
    """Committed plots have the words of those drawn anew (paths may differ between versions of matplotlib)."""
    drawn = [name for name in written if name.endswith(".svg")]
    assert len(drawn) == 3
    for name in drawn:
        assert words((REPORTS / name).read_bytes()) == words(written[name])
        assert {"float32", "float64"} <= {word.split()[0] for word in words(written[name]) if word.startswith("float")}


def test_both_pages_hold_the_same_numbers(written: dict[str, bytes]) -> None:
    """Languages differ in words only: the same numbers in the same cells, and the same numbers in the text."""
    english, chinese = (written[name].decode() for name in PAGES)
    assert [numbers(row) for row in rows(english)] == [numbers(row) for row in rows(chinese)]
    in_text = [sorted(n for n in numbers(text) if n not in ("0", "1")) for text in (english, chinese)]
    assert in_text[0] == in_text[1]
    assert len(in_text[0]) > 300
    assert numbers(rows(english)[2]) != numbers(rows(english)[2].replace("0.12", "0.13"))


def test_both_pages_have_the_same_structure(written: dict[str, bytes]) -> None:
    """Headings, tables, lists, pictures and code come in the same order in both languages."""
    english, chinese = (written[name].decode() for name in PAGES)
    assert shape(english) == shape(chinese)
    assert "{{" not in english + chinese


def test_template_and_phrases_hold_no_numbers() -> None:
    """Numbers come from the facts: template and phrases have none but the 0 and 1 of formulas."""
    root = Path(page.__file__).parent
    for path in (root / "page.md.jinja", *sorted((root / "phrases").glob("*.toml"))):
        text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not set(numbers(text)) - {"0", "1"}


def test_every_language_has_the_same_phrases() -> None:
    """The tables of phrases have the same keys."""

    def keys(table: dict[str, Any], above: str = "") -> set[str]:
        inner = [keys(value, f"{above}{key}.") for key, value in table.items() if isinstance(value, dict)]
        return {f"{above}{key}" for key in table}.union(*inner)

    assert keys(page.phrases("en")) == keys(page.phrases("zh"))


def test_an_unknown_language_is_wrong_use() -> None:
    """A language without phrases: one line that names those there are."""
    with pytest.raises(UnknownNameError, match="en, zh") as caught:
        lesson.made(["zz"])
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra ``report``: one line that names it."""
    monkeypatch.setattr(lesson, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"xent-verify\[report\]"):
        lesson.made()


def test_all_pages_and_plots_are_written(
    written: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages and plots go into the folder, and their paths are given back."""
    monkeypatch.setattr(lesson, "made", lambda languages: written if not languages else pytest.fail("none was named"))
    assert lesson.write(tmp_path) == [tmp_path / name for name in written]
    assert {name: (tmp_path / name).read_bytes() for name in written} == written


def test_claims_are_those_of_the_tutorial() -> None:
    """The lesson judges the same claims as ``reports/claims/tutorial.toml``."""
    assert facts.CLAIMS.read_bytes() == (REPORTS / "claims" / "tutorial.toml").read_bytes()


def test_the_wrong_digits_are_those_of_the_row_without_its_last_class() -> None:
    """The tutorial's p is, to the digits printed, the softmax of [3, 1, -inf], and not that of its own row."""
    without = quantity_of({"op": "softmax", "logits": [3, 1, "-inf"]}, "test").values
    whole = quantity_of({"op": "softmax", "logits": [3, 1, -1]}, "test").values
    printed = ("0.88", "0.12", "0.00")
    assert all(rounded_like(value, text)[1] for value, text in zip(without, printed, strict=True))
    assert [rounded_like(value, text)[1] for value, text in zip(whole, printed, strict=True)] == [False, True, False]


@pytest.mark.parametrize("fmt", ["float64", "float32", "float16", "bfloat16"])
def test_elementary_functions_are_correctly_rounded(fmt: str) -> None:
    """exp, log and log1p equal Decimal's values, rounded once to the format, also where they leave its range."""
    form = FORMATS[fmt]
    drawn = np.random.default_rng(1).uniform(-12, 11, 40)
    with localcontext() as context:
        context.prec = 60
        for x in form.widen(form.narrow(drawn)).tolist():
            exact = {"exp": Decimal(x).exp(), "log": Decimal(abs(x)).ln(), "log1p": (1 + Decimal(abs(x))).ln()}
            for function, value in exact.items():
                got = correctly_rounded(function, x if function == "exp" else abs(x), fmt)
                near = [float(form.widen(form.from_ordinal(form.ordinal(form.narrow(got)) + k))) for k in (-1, 0, 1)]
                assert min(near, key=lambda candidate: abs(Decimal(candidate) - value)) == got
    assert correctly_rounded("exp", 800.0, fmt) == np.inf
    assert correctly_rounded("exp", -800.0, fmt) == 0
    assert correctly_rounded("log", 0.0, fmt) == -np.inf


def test_careful_rows_stay_careful() -> None:
    """exp of a careful row is the correctly rounded one, also after differences and sums, and keeps the format."""
    row = careful(np.array([3, 1, -1], np.float32))
    terms = np.exp(row - row.max())
    assert terms.tolist() == [correctly_rounded("exp", d, "float32") for d in (0.0, -2.0, -4.0)]
    assert np.log(terms.sum(keepdims=True))[0] == np.float32(correctly_rounded("log", float(terms.sum()), "float32"))
    assert np.log(terms.sum(keepdims=True)).dtype == np.float32


def told(asked: Question, name: str) -> Judged:
    """What the package's implementation gives on this machine, judged like the form."""
    call = find(f"cross_entropy.{name}").call
    with np.errstate(all="ignore"):
        value = float(asked.form.widen(np.asarray(call(asked.row[None, :], np.array([asked.place])))))
    error = float(asked.loss.error_ulp(value, asked.form))
    unit = float(np.ldexp(1.0, int(asked.loss.units(asked.form).quantum)))
    return Judged(value, error, error * unit / asked.limit if error else 0.0)


@pytest.mark.parametrize("fmt", ["float64", "float32"])
def test_implementations_do_what_the_page_says(fmt: str) -> None:
    """On every row of the tables the package's implementations are finite and within the bound where the page says so."""
    pushed = [([t, 1, -1], place) for t in facts.PUSHED[fmt] for place in (0, 1)]
    moved = [([z + c for z in facts.ROW], 0) for c in facts.OFFSETS]
    odds = correctly_rounded("log", facts.ODDS, fmt)
    pairs = [([odds, 0], 0), ([odds, 0], 1), ([facts.FAR, 0], 0)]
    for logits, place in pushed + moved + pairs:
        asked = question(np.array(logits, dtype=np.float64), place, FORMATS[fmt])
        for name in FORMS:
            ours, theirs = judge([asked], name)[0], told(asked, name)
            assert (ours.finite, ours.fails) == (theirs.finite, theirs.fails), (logits, place, name)
            assert ours.finite or np.isnan(ours.value) == np.isnan(theirs.value)


@pytest.mark.parametrize("fmt", ["float32", "float16"])
@pytest.mark.parametrize("path", PATHS)
def test_first_failures_are_next_to_a_float_that_holds(path: str, fmt: str) -> None:
    """Where a form is said to fail it fails, and at the float before it does not; stable forms never fail."""
    form = FORMATS[fmt]

    def at(ordinal: int, name: str) -> Judged:
        place = float(form.widen(form.from_ordinal(ordinal)))
        return judge([question(np.array(PATHS[path].row(place)), PATHS[path].place, form)], name)[0]

    for name in FORMS:
        found = failure(path, fmt, name)
        assert found is None or name not in ("stable", "log1p")
        if found is not None:
            first = int(form.ordinal(form.narrow(found.at)))
            assert at(first, name).fails
            assert found.at == PATHS[path].start or not at(first - 1, name).fails
        if found is not None and found.broken_at is not None:
            first = int(form.ordinal(form.narrow(found.broken_at)))
            assert (at(first - 1, name).finite, at(first, name).finite) == (True, False)


def test_overflow_is_where_the_format_says() -> None:
    """naive breaks at the first float above ln M, within the reach of the sum's other terms."""
    for fmt, edge in (("float64", 709.782712893384), ("float32", 88.7228390520684)):
        found = failure("winner", fmt, "naive")
        assert found is not None
        assert abs(found.at - edge) <= 2 * float(FORMATS[fmt].ulp(edge))
