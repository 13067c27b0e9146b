"""``xent-verify report``: says how far it is, and ends with the verdict in words and the one file to open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_factory import finding, report

from xent_verify.cli import run
from xent_verify.core.model import DtypeResult, Report, TargetResult
from xent_verify.report import render_html
from xent_verify.report.groups import verdict_by_group

GOOD = DtypeResult("float32", 9, 0.5, 0.2, {}, ())
BAD = DtypeResult("float64", 9, 2.0, 3.0, {}, (finding(),))


def of(*targets: tuple[str, tuple[DtypeResult, ...]]) -> Report:
    return Report(tuple(TargetResult(name, "softmax", results) for name, results in targets), {})


def test_released_libraries_stand_apart_from_forms_that_are_naive_by_design() -> None:
    """A line a group, a target once a format; a fault of a naive form is no surprise, one of a library is."""
    made = of(
        ("naive", (GOOD, BAD)),
        ("stable", (GOOD,)),
        ("scipy.special:softmax", (GOOD, GOOD)),
        ("sklearn.utils.extmath:softmax", (BAD,)),
        ("mine:softmax", (GOOD,)),
    )
    assert verdict_by_group(made) == (
        "released libraries: 2 of 3 pass (1 fail)",
        "stable forms: 1 of 1 pass",
        "naive forms: 1 of 2 fail, by design",
        "other targets: 1 of 1 pass",
    )
    assert verdict_by_group(Report((), {})) == ()


def test_progress_goes_to_stderr_a_line_a_target_and_the_end_says_what_to_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Piped: how many targets, each as it is done, then the drawing; the verdict and the page on stdout."""

    def harvest(*, progress: Callable[[str, int, int], None], **_: Any) -> Report:
        progress("", 0, 2)
        progress("softmax naive: float32 fail", 1, 2)
        progress("softmax stable: float32 pass", 2, 2)
        return report()

    monkeypatch.setattr("xent_verify.auditing.harvest.harvest", harvest)
    assert run(["report", "--out", str(tmp_path / "made")]) == 0
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "auditing targets (2) ...",
        "[1 of 2] softmax naive: float32 fail",
        "[2 of 2] softmax stable: float32 pass",
        "drawing and writing ...",
    ]
    last = told.out.splitlines()[-1]
    assert last.startswith(f"open {tmp_path / 'made' / 'report.html'}  (")
    assert Path(last.split()[1]).is_file()


def test_failures_by_design_alone_do_not_make_a_report_red() -> None:
    """The page's verdict is "known" where only naive forms fail beside others, and red as soon as another target fails."""
    assert '<h1 class="known">' in render_html(of(("naive", (BAD,)), ("stable", (GOOD,))))
    assert '<h1 class="fail">' in render_html(of(("naive", (BAD,)), ("stable", (BAD,))))
    assert '<h1 class="fail">' in render_html(of(("naive", (BAD,))))
