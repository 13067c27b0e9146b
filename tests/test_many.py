"""Audits in several processes: what is found is what one process finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xent_verify.auditing.audit import audited
from xent_verify.auditing.many import audited_in_processes
from xent_verify.cli import run
from xent_verify.core.failures import UsageError
from xent_verify.gate.gate import gate
from xent_verify.gate.settings_file import read_settings
from xent_verify.report import to_json
from xent_verify.verdict.settings import Settings

QUICK = Settings(profile="quick", isolated=False, regimes=("ordinary", "overflow_edge"))
GATE = """
profile = "quick"
dtypes = ["float32"]
isolated = false
[[target]]
target = "naive"
op = "softmax"
[[target]]
target = "stable"
op = "softmax"
[[target]]
target = "nobody"
op = "softmax"
"""


def test_two_processes_find_what_one_finds() -> None:
    targets = ("naive", "stable")
    one = audited(targets, "softmax", ["float32"], QUICK)
    two = audited_in_processes(targets, "softmax", ["float32"], QUICK, jobs=2)
    assert to_json(two) == to_json(one)


def test_a_target_that_cannot_be_opened_costs_its_own_results_alone() -> None:
    report = audited_in_processes(("nobody", "stable"), "softmax", ["float32"], QUICK, jobs=2)
    first, second = report.targets
    assert "unknown implementation" in first.dtypes[0].incomplete[0]
    assert second.ok
    with pytest.raises(UsageError, match="nobody"):
        audited_in_processes(("nobody",), "softmax", ["float32"], QUICK, jobs=2)


def test_a_gate_in_two_processes_finds_what_it_finds_in_one(tmp_path: Path) -> None:
    (tmp_path / "xent-verify.toml").write_text(GATE)
    settings = read_settings(tmp_path / "xent-verify.toml")
    one, two = gate(settings), gate(settings, jobs=2)
    assert two.found == one.found
    assert two.unchecked == one.unchecked
    assert two.status == one.status == 1


def test_no_processes_are_refused() -> None:
    with pytest.raises(UsageError, match="--jobs 0"):
        audited_in_processes(("stable",), "softmax", None, QUICK, jobs=0)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_resumed_audit_asks_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: str) -> None:
    """The results are those of an audit in one go; a target of which nothing is missing is not even imported."""
    monkeypatch.chdir(tmp_path)
    Path("m.py").write_text(
        "import numpy as np\nopen('imported', 'a').write('x')\n\n"
        "def softmax(x, axis=-1):\n    e = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))\n"
        "    return e / e.sum(axis=axis, keepdims=True)\n"
    )
    common = ["audit", "m.py:softmax", "--op", "softmax", "--profile", "quick", "--regimes", "ordinary", "--jobs", jobs]

    def told(*more: str) -> str:
        run([*common, *more, "--json", "r.json"])
        return json.dumps(json.loads(Path("r.json").read_text())["targets"])

    whole = told("--dtype", "float32,float64")
    told("--dtype", "float32")
    assert told("--dtype", "float32,float64", "--resume", "r.json") == whole
    Path("imported").unlink()
    assert told("--dtype", "float32,float64", "--resume", "r.json") == whole
    assert not Path("imported").exists()
    told("--dtype", "float32,float64", "--resume", "r.json", "--seed", "1")
    assert Path("imported").exists()
