"""The small report under ``reports/`` is what its command writes, byte for byte, machine facts apart."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from xent_verify.cli import main

REPORTS = Path(__file__).parents[1] / "reports"
COMMAND = "report --op sigmoid --dtype float8_e5m2,float8_e4m3fn"
TEXTS = ("summary.md", "summary.csv", "summary.tex", "regimes.csv", "findings.md", "results.json", "report.html")


@pytest.fixture(scope="module")
def again(tmp_path_factory) -> Path:
    """The report, made anew."""
    folder = tmp_path_factory.mktemp("small")
    with pytest.raises(SystemExit) as ended:
        main([*COMMAND.split(), "--certificates", str(REPORTS / "certificates"), "--out", str(folder)])
    assert ended.value.code == 0
    return folder


@pytest.mark.parametrize("name", TEXTS)
def test_a_report_made_again_is_the_same(again, name):
    """Same code, same seed: the same bytes, but for the environment (and pictures, which are matplotlib's)."""
    new, old = (comparable(folder / name) for folder in (again, REPORTS / "small"))
    assert new == old


def test_the_same_files_are_written(again):
    """Nothing is missing and nothing is left over."""
    assert files(again) == files(REPORTS / "small")


def test_the_command_stands_in_the_index():
    """The index of the reports gives the command that this test runs."""
    assert COMMAND in (REPORTS / "README.md").read_text(encoding="utf-8")


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def comparable(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        data = json.loads(text)
        del data["environment"]
        return json.dumps(data)
    if path.suffix == ".html":
        text = re.sub(r"<div><h3>Environment</h3>.*?</dl></div>", "", text, flags=re.DOTALL)
        text = re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.DOTALL)
        text = re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)
    return text
