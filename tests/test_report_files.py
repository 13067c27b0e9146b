"""Tables, text, Markdown and the saved directory."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from report_factory import dtype_result, example, finding, passing, report

from xent_verify.core.failures import UsageError
from xent_verify.core.model import DtypeResult, Report, TargetResult
from xent_verify.report import (
    elements_frame,
    findings_frame,
    regime_frame,
    render_finding,
    render_findings,
    render_markdown,
    render_text,
    save,
    summary_frame,
)
from xent_verify.report.files import check
from xent_verify.report.frames import quantile_ulp
from xent_verify.report.words import array_text, share_text
from xent_verify.verdict.measure import ERROR_EDGES, MAGNITUDE_EDGES


def test_summary_has_a_row_per_pair():
    """One row per target × op × dtype, with verdict and class counts."""
    frame = summary_frame(report())
    assert len(frame) == 8
    naive = frame.set_index(["target", "dtype"]).loc[("naive_softmax", "float32")]
    assert naive["verdict"] == "fail"
    assert naive["overflow"] == 240
    assert naive["worst_input"] == "x = [[89]]"


def test_elements_count_every_histogram_entry():
    """The cells of the element table add up to the elements that were binned."""
    made = report()
    binned = sum(r.histogram.sum() for t in made.targets for d in t.dtypes for r in d.regimes)
    assert elements_frame(made)["count"].sum() == binned


def test_empty_report_renders_everywhere(tmp_path):
    """A report of nothing has headers, no rows, and says that nothing was checked."""
    empty = Report((), {})
    for frame in (summary_frame, regime_frame, findings_frame, elements_frame):
        assert frame(empty).empty
    assert "Nothing was checked" in render_text(empty)
    assert save(empty, tmp_path).paths


@pytest.mark.parametrize("q", [0.5, 0.99, 1.0])
def test_quantiles_are_never_understated(q):
    """The quantile from the histogram is at least the true one, and at most one bin or the maximum above."""
    errors = np.abs(np.random.default_rng(3).normal(0, 2, 5000))
    histogram, _, _ = np.histogram2d(errors, np.zeros(5000), bins=(ERROR_EDGES, MAGNITUDE_EDGES))
    bound = quantile_ulp(histogram.astype(np.int64), q, errors.max())
    true = np.quantile(errors, q)
    assert true <= bound <= max(4 * true, errors.max())


def test_text_is_plain_when_piped():
    """No escape codes when stdout is not a terminal; the verdict, the failing input and the cause are there."""
    text = render_text(report())
    assert "\x1b" not in text
    assert "FAIL overflow" in text
    assert "x = [[89]]" in text
    assert "the maximum is not subtracted" in text
    assert text.rstrip().endswith("values checked.")


def test_text_has_colour_when_asked():
    """On a terminal the verdict is coloured and still carries its sign."""
    assert "\x1b[" in render_text(passing(), color=True)
    assert "✓ pass" in render_text(passing())


def test_square_brackets_survive():
    """Names and rows in square brackets are text, not console markup."""
    odd = finding(message="f[bold] of [red]x[/red]")
    assert "f[bold] of [red]x[/red]" in render_finding(odd, "pkg[0]:f")
    assert "pkg[0]:f" in render_finding(odd, "pkg[0]:f")


def test_markdown_tables_are_rectangular():
    """Every row of every table has as many cells as its header, also with pipes in names."""
    result = dtype_result("float16", np.random.default_rng(0), naive=True)
    made = Report((TargetResult("a|b", "softmax", (result,)),), {})
    rows = [line for line in render_markdown(made).splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "```python" in render_findings(made)


def test_saving_twice_gives_the_same_bytes(tmp_path):
    """The same report gives byte-identical files."""
    first, second = save(report(), tmp_path / "a"), save(report(), tmp_path / "b")
    assert [path.name for path in first.paths] == [path.name for path in second.paths]
    for a, b in zip(first.paths, second.paths, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_saved_tables_read_back(tmp_path):
    """CSV and Parquet hold the same numbers as the frames."""
    made = report()
    save(made, tmp_path)
    assert len(pd.read_csv(tmp_path / "summary.csv")) == len(summary_frame(made))
    assert pd.read_parquet(tmp_path / "elements.parquet")["count"].sum() == elements_frame(made)["count"].sum()


def test_a_file_of_another_kind_is_refused_and_a_folder_of_such_a_name_has_a_slash(tmp_path):
    """``--out x.pdf`` neither makes a folder of that name nor waits until the audit is done to say so."""
    with pytest.raises(UsageError, match=r"x\.pdf: a report is a folder or one of \.json"):
        check(tmp_path / "x.pdf")
    check(f"{tmp_path / 'x.pdf'}/")
    (tmp_path / "y.pdf").mkdir()
    check(tmp_path / "y.pdf")


def test_unwritable_place_gets_one_line(tmp_path):
    """A directory that cannot be made is a UsageError that names the path."""
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UsageError, match=r"cannot write .*taken"):
        save(passing(), tmp_path / "taken")


def test_rows_are_written_short():
    """Equal neighbours are counted, long rows are cut in the middle, values keep their own format's digits."""
    assert array_text(np.array([0.1, 0.1, 89.0], np.float32)) == "[0.1, 0.1, 89]"
    assert array_text(np.zeros(1000, np.float16)) == "[0 ×1000]"
    assert len(array_text(np.arange(1e5))) < 200
    assert array_text(np.array([np.nan, np.inf, -np.inf, -0.0])) == "[nan, inf, -inf, -0]"


@pytest.mark.parametrize(("share", "text"), [(1.0, "100 %"), (0.99999, "> 99.99 %"), (1e-9, "< 0.01 %"), (0.0, "0 %")])
def test_shares_are_honest(share, text):
    """100 % and 0 % are said only of all and none."""
    assert share_text(share) == text


def test_unchecked_is_not_a_pass():
    """Nothing measured is neither pass nor fail."""
    nothing = DtypeResult("float32", 0, 0.0, 0.0, {}, ())
    frame = summary_frame(Report((TargetResult("f", "softmax", (nothing,)),), {}))
    assert frame["verdict"].tolist() == ["unchecked"]


def test_worst_example_with_target_is_told():
    """A cross-entropy example shows logits and target."""
    shown = render_finding(finding(minimal=example(op="cross_entropy", values=(0.0, 200.0))))
    assert "logits = [[0, 200]], target = [0]" in shown
