"""The command line as a stranger meets it: data on stdout, one clear line on stderr, the exit status of the contract."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from xent_verify.cli import VERBS, run

TARGETS = str(Path(__file__).parent / "targets.py")


def test_a_fault_is_exit_1_and_a_pass_exit_0(capsys: pytest.CaptureFixture[str]) -> None:
    """audit prints the finding and exits 1; a sound target exits 0."""
    assert run(["audit", "naive", "--op", "softmax", "--dtype", "float32", "--profile", "quick"]) == 1
    text = capsys.readouterr().out
    assert "FAIL nan" in text
    assert "x = [89]" in text
    assert run(["audit", "stable", "--op", "softmax", "--dtype", "float32", "--profile", "quick"]) == 0


def test_json_on_stdout_is_strict_and_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """--json - puts nothing but strict JSON on stdout; the text goes to stderr."""
    run(["audit", "naive", "--op", "softmax", "--dtype", "float32", "--profile", "quick", "--json", "-"])
    captured = capsys.readouterr()

    def refuse(name: str) -> float:
        raise AssertionError(name)

    data = json.loads(captured.out, parse_constant=refuse)
    assert data["schema"] == 1
    assert data["ok"] is False
    result = data["targets"][0]["dtypes"][0]
    assert {"dtype", "ok", "cases", "max_ulp", "max_bound_ratio", "classes", "findings"} <= set(result)
    assert any({"nan", "underflow"} <= set(finding.get("kinds", ())) for finding in result["findings"])
    assert "FAIL nan" in captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["audit", "naive", "--op", "sofmax"], "did you mean 'softmax'"),
        (["audit", "naiv", "--op", "softmax"], "did you mean 'naive'"),
        (["audit", "nowhere:f", "--op", "softmax"], "no module named 'nowhere'"),
        (["audit", "scipy.special:pi_", "--op", "softmax"], "has no attribute"),
        (["audit", f"{TARGETS}:NOT_CALLABLE", "--op", "softmax"], "not callable"),
        (["audit", "missing.py:f", "--op", "softmax"], "not found"),
        (["audit", "naive"], "op"),
        (["audit", "--op", "softmax"], "TARGETS"),
        (["audit", "naive", "--op", "softmax", "--kwargs", "{not json"], "--kwargs is not JSON"),
        (["audit", "naive", "--op", "softmax", "--kwargs", '{"a": NaN}'], "holds the literal NaN, should be a number"),
        (["audit", "naive", "--op", "softmax", "--kwargs", "[1]"], "JSON object"),
        (["audit", "naive", "--op", "softmax", "--seed", "many"], "many"),
        (["list", "regime"], "did you mean 'regimes'"),
        (["claims", "no/such/file.toml"], "no/such/file.toml"),
        (["explain", "3,one,-1"], "one"),
        (["explain", "3,nan"], "nan"),
        (["report", "no-such-result.json"], "no-such-result.json"),
        (["adit"], "did you mean 'audit'"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever was typed wrong is answered in one line on stderr, status 2, with the nearest right thing."""
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_empty_and_malformed_claims_are_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A claims file without claims, or that is not TOML, is exit 2."""
    for text in ("", "[[claim", "[[claim]]\nop = 3\n"):
        path = tmp_path / "claims.toml"
        path.write_text(text)
        assert run(["claims", str(path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_tutorials_claims_are_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """The tutorial's own numbers: exit 1, with the true digits."""
    path = Path(__file__).parent.parent / "reports" / "claims" / "tutorial.toml"
    assert run(["claims", str(path)]) == 1
    text = capsys.readouterr().out
    assert "0.866813332197334871144367829315" in text
    assert "0.142931628499899529192850329432" in text


def test_explain_works_the_row(capsys: pytest.CaptureFixture[str]) -> None:
    """explain 3,1,-1 --target 0 shows the true loss to 30 digits and every implementation."""
    assert run(["explain", "3,1,-1", "--target", "0"]) == 0
    text = capsys.readouterr().out
    assert "0.142931628499899529192850329432" in text
    assert "naive-onehot" in text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """VERB --help exits 0 and shows an invocation."""
    assert run([verb, "--help"]) == 0
    assert f"xent-verify {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("subject", ["ops", "implementations", "regimes", "policies", "formats", "kinds", "targets"])
def test_list_lists(subject: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every subject has rows of a name and a text."""
    assert run(["list", subject]) == 0
    assert all(len(line.split()) > 1 for line in capsys.readouterr().out.splitlines())


def test_help_imports_nothing_heavy() -> None:
    """--help answers without NumPy, pandas, Hypothesis or mpmath."""
    code = (
        "import sys\nfrom xent_verify.cli import run\nrun(['--help'])\n"
        "heavy = ('numpy', 'pandas', 'hypothesis', 'mpmath', 'matplotlib', 'rich')\n"
        "print([m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_nothing_checked_is_exit_5(tmp_path: Path) -> None:
    """A target of which nothing could be asked is not a pass."""
    path = tmp_path / "odd.py"
    path.write_text("def f(x):\n    return x\n")
    words = ["audit", f"{path}:f", "--op", "softmax", "--dtype", "float32", "--profile", "quick"]
    assert run([*words, "--only", "n > 99999999"]) == 5


def test_an_argument_that_nobody_gives_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A target that needs more than the operation has is no fault of its own: the message shows the call to write."""
    path = tmp_path / "odd.py"
    path.write_text("def f(x, *, needed):\n    return x\n")
    assert run(["audit", f"{path}:f", "--op", "softmax", "--dtype", "float32", "--profile", "quick"]) == 2
    assert "--call 'f(x, needed=VALUE)'" in capsys.readouterr().err


def test_out_writes_the_report(tmp_path: Path) -> None:
    """--out fills a folder with the tables and the JSON, and the JSON renders again."""
    folder = tmp_path / "report"
    run(["audit", "naive", "--op", "logsumexp", "--dtype", "float16", "--profile", "quick", "--out", str(folder)])
    names = {path.name for path in folder.iterdir()}
    assert {"results.json", "summary.md", "summary.csv"} <= names
    again = tmp_path / "again"
    assert run(["report", str(folder / "results.json"), "--out", str(again)]) == 0
    assert (again / "summary.md").read_bytes() == (folder / "summary.md").read_bytes()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Writing below a file is refused in one line, exit 2."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    status = run(
        ["audit", "stable", "--op", "softmax", "--dtype", "float16", "--profile", "quick", "--out", str(blocked / "x")]
    )
    assert status == 2
    assert capsys.readouterr().err.count("\n") == 1
