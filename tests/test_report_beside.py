"""What stands beside results: proved maxima, changes against an earlier result; and single files of one report."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest
from report_factory import finding, passing, report
from test_report_page import Page

from xent_verify.cli import main
from xent_verify.core.failures import UsageError
from xent_verify.core.model import Proved, Report
from xent_verify.gate.differences import with_changes
from xent_verify.prove.beside import certificate_files, with_certificates
from xent_verify.prove.fingerprint import fingerprint
from xent_verify.report import from_json, render_html, render_latex, render_markdown, render_text, save, to_json


def changed_everywhere(made: Report, **changes) -> Report:
    """The report with fields of every result replaced."""
    targets = (
        replace(target, dtypes=tuple(replace(one, **changes) for one in target.dtypes)) for target in made.targets
    )
    return replace(made, targets=tuple(targets))


def certificate(tmp_path, *, sha: str = "", label: str = "proved"):
    """A certificate of the built-in stable softmax over all float8 pairs."""
    of = fingerprint("stable", "softmax")
    run = {"target": "stable", "op": "softmax", "dtype": "float32", "domain": "pairs", "rows": 65536}
    made = {
        "schema": 1,
        "kind": "certificate",
        "label": label,
        "rows": 65536 if label == "proved" else 9,
        "max_ulp": {"value": 2.5, "hex": (2.5).hex(), "row": 3, "column": 0},
        "max_bound_ratio": None,
        "run": run | {"fingerprint": of | ({"sha256": sha} if sha else {})},
    }
    path = tmp_path / f"{label}{sha}.json"
    path.write_text(json.dumps(made))
    return path


def stable() -> Report:
    """One result, of the built-in stable softmax in float32."""
    made = passing()
    return replace(made, targets=(replace(made.targets[0], target="stable"),))


@pytest.mark.parametrize("render", [render_html, render_markdown, render_text, render_latex])
def test_every_rendering_tells_the_proved_maximum(render):
    """Where a certificate covers a domain, its maximum stands beside the searched one."""
    proved = changed_everywhere(stable(), proved=(Proved("pairs", 65536, 2.5),))
    assert "every pair" in render(proved)
    assert "2.5" in render(proved)
    assert "every pair" not in render(stable())


@pytest.mark.parametrize("render", [render_html, render_markdown, render_text])
def test_changes_have_a_column_only_where_there_are_some(render):
    """A change against an earlier result is told, and takes no room where nothing was compared."""
    told = changed_everywhere(stable(), change="vanished: overflow")
    assert "vanished: overflow" in render(told).replace("\n", " ")
    assert "change" not in render(stable()).split("<style>")[0].lower()


def test_a_report_carries_both_through_json():
    """Proved maxima and changes survive a round trip."""
    made = changed_everywhere(stable(), change="as in the baseline", proved=(Proved("pairs", 65536, 0.1),))
    back = from_json(to_json(made))
    assert back.targets[0].dtypes[0].proved == (Proved("pairs", 65536, 0.1),)
    assert back.targets[0].dtypes[0].change == "as in the baseline"


def test_a_certificate_of_the_same_version_counts(tmp_path):
    """A certificate counts for the target whose fingerprint it bears, and a partial one for none."""
    made, stale = with_certificates(stable(), [certificate(tmp_path), certificate(tmp_path, label="partial")])
    assert made.targets[0].dtypes[0].proved == (Proved("pairs", 65536, 2.5),)
    assert stale == []


def test_what_was_proved_stays_when_rendered_again():
    """Without certificates at hand, what a result says is proved is kept."""
    made = changed_everywhere(stable(), proved=(Proved("triples", 512, 0.5),))
    assert with_certificates(made, [])[0] == made


def test_a_certificate_of_another_version_is_left_out(tmp_path):
    """After the target has changed, what was proved of it before is told as left out."""
    made, stale = with_certificates(stable(), [certificate(tmp_path, sha="0" * 64)])
    assert made.targets[0].dtypes[0].proved == ()
    assert "another version" in stale[0]


def test_a_folder_without_certificates_is_an_error(tmp_path):
    """One line where there is no certificate, or something else under that name."""
    with pytest.raises(UsageError, match="there are none"):
        certificate_files([tmp_path])
    (tmp_path / "other.json").write_text('{"kind": "report"}')
    with pytest.raises(UsageError, match=r"other\.json"):
        with_certificates(stable(), certificate_files([tmp_path]))


def test_changes_name_what_appeared_vanished_and_moved():
    """Each result is held against the same place of the earlier report."""
    old = stable()
    new = changed_everywhere(old, signs=(finding("overflow"),), max_ulp=old.targets[0].dtypes[0].max_ulp + 1)
    appeared = with_changes(new, old).targets[0].dtypes[0].change
    assert appeared.startswith("appeared: overflow; max ulp was ")
    assert with_changes(old, new).targets[0].dtypes[0].change.startswith("vanished: overflow")
    assert with_changes(old, old).targets[0].dtypes[0].change == "no finding differs"
    assert with_changes(old, Report((), {})).targets[0].dtypes[0].change == "not in the earlier result"


@pytest.mark.parametrize("suffix", [".html", ".md", ".csv", ".tex", ".json", ".parquet"])
def test_one_file_by_its_ending(tmp_path, suffix):
    """A place that ends as a file gets that file and nothing else."""
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / "new" / f"page{suffix}"
    assert save(report(), path).paths == (path,)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    if suffix == ".parquet":
        assert len(pd.read_parquet(path)) == 8


def test_a_page_alone_links_to_nothing_beside_it():
    """The single page has no dead links; the folder's page links to its neighbours."""
    outward = [link for link in Page(render_html(report(), alone=True)).links if not link.startswith("#")]
    assert outward == []


def test_latex_is_escaped_and_balanced():
    """One booktabs table an operation, with underscores escaped and braces that match."""
    text = render_latex(report())
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert r"naive\_softmax" in text
    assert "naive_softmax" not in text.replace(r"naive\_softmax", "")
    assert text.isascii()


def test_report_renders_again_against_an_earlier_one(tmp_path, monkeypatch, capsys):
    """``report RESULT --against OLD -o page.html`` runs no audit and tells what changed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.json").write_text(to_json(stable()))
    new = changed_everywhere(stable(), signs=(finding("overflow"),))
    (tmp_path / "new.json").write_text(to_json(new))
    with pytest.raises(SystemExit) as ended:
        main(["report", "new.json", "--against", "old.json", "-o", "page.html"])
    assert ended.value.code == 0
    assert "appeared: overflow" in (tmp_path / "page.html").read_text()
    capsys.readouterr()
