"""compare, replay, merge, init: what is done with results, and how a gate begins."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from report_factory import example, finding

from xent_verify.auditing.audit import audit
from xent_verify.cli import run
from xent_verify.core.model import DtypeResult, Finding, Report, TargetResult
from xent_verify.gate.differences import differences
from xent_verify.gate.scaffold import functions
from xent_verify.report import from_json, to_json
from xent_verify.report.html import render_html


def report(*findings: Finding, target: str = "m:f") -> Report:
    result = DtypeResult("float32", 4000, 1.0, 1.0, {}, findings)
    return Report((TargetResult(target, "softmax", (result,)),), {})


@pytest.mark.parametrize(
    ("old", "new", "word", "worse"),
    [
        ([], [finding()], "appeared", True),
        ([], [finding(severity="warn")], "appeared", True),
        ([], [finding(severity="info")], "appeared", False),
        ([finding()], [], "vanished", False),
        ([finding(count=10)], [finding(count=11)], "worsened", True),
        ([finding(severity="warn")], [finding()], "worsened", True),
        ([finding()], [finding(regimes=("exp_overflow_edge", "huge_offset", "ties"))], "worsened", True),
        ([finding(count=11)], [finding(count=10)], "improved", False),
        ([finding()], [finding(regimes=("huge_offset",))], "improved", False),
        ([finding(worst=example(bound_ratio=3.0))], [finding(worst=example(bound_ratio=9.0))], "worsened", True),
        ([finding()], [finding()], "no finding differs", False),
        ([finding()], [finding(severity="warn", waived_by="baseline")], "no finding differs", False),
    ],
)
def test_differences_finding_by_finding(old: list[Finding], new: list[Finding], word: str, worse: bool) -> None:
    """Each change has its word; only what appeared or worsened and is no mere information counts."""
    found = differences(report(*old), report(*new))
    assert found.worse is worse
    assert len(found.lines) == 1
    assert found.lines[0].startswith(word)


def test_a_small_growth_may_be_allowed() -> None:
    """With a factor, growth within it is no worsening."""
    old, new = report(finding(count=10)), report(finding(count=14))
    assert differences(old, new).worse
    assert not differences(old, new, factor=1.5).worse


def test_compare_and_merge_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """compare: exit 1 for what appeared, 0 for what vanished, 5 where nothing is in common; merge joins, as audited."""
    paths = {name: str(tmp_path / f"{name}.json") for name in ("old", "new", "other", "all")}
    Path(paths["old"]).write_text(to_json(report()))
    Path(paths["new"]).write_text(to_json(report(finding("nan"))))
    Path(paths["other"]).write_text(to_json(report(target="m:g")))
    assert run(["compare", paths["old"], paths["new"]]) == 1
    assert "appeared: nan m:f softmax float32" in capsys.readouterr().out
    assert run(["compare", paths["new"], paths["old"]]) == 0
    assert "vanished: nan" in capsys.readouterr().out
    assert run(["compare", paths["old"], paths["other"]]) == 5
    assert run(["merge", paths["old"], paths["other"], "--json", paths["all"]]) == 0
    assert run(["merge", paths["new"], paths["other"], "--json", paths["all"]]) == 1
    assert [target.target for target in from_json(Path(paths["all"]).read_text()).targets] == ["m:f", "m:g"]
    capsys.readouterr()
    Path(paths["new"]).write_text("{")
    for arguments in (["compare", paths["old"], paths["new"]], ["merge", paths["new"], "--json", paths["all"]]):
        assert run(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture(scope="module")
def naive() -> Report:
    """The naive softmax, audited once."""
    return audit("naive", op="softmax", dtypes=["float32"], profile="quick", isolated=False)


def test_replay_shows_every_digit_and_tells_when_fixed(
    naive: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every finding of the naive softmax fails again (exit 1); the stable one in its place is fixed (exit 0)."""
    path = tmp_path / "naive.json"
    path.write_text(to_json(naive))
    assert run(["replay", str(path), "--kind", "inaccurate", "--in-process"]) == 1
    text = capsys.readouterr().out
    (minimal,) = (one.minimal for one in naive.signs if one.kind == "inaccurate")
    assert minimal is not None
    assert len(minimal.true_digits) > 30
    shown = (minimal.true_digits, minimal.rounded.hex()[:8], minimal.observed.hex()[:8])
    for name, digits in zip(("true      ", "rounded   ", "observed  "), shown, strict=True):
        assert name + digits in text
    assert "still fails" in text
    failing = [one for found in naive.findings for one in (found, *found.parts) if one.severity == "fail"]
    for index, one in enumerate(failing):
        assert run(["replay", str(path), "--index", str(index), "--in-process"]) == 1, one.kind
        assert capsys.readouterr().out.startswith(f"{one.kind} naive softmax float32")
    assert run(["replay", str(path), "--kind", "nan", "--target", "stable", "--in-process"]) == 0
    assert "no longer fails by nan" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--index", "99"], "0 to"),
        (["--kind", "nam"], "did you mean 'nan'"),
        (["--target", "nowhere:f"], "no module named 'nowhere'"),
    ],
)
def test_replay_of_what_is_not_there(
    arguments: list[str], words: str, naive: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A finding or a target that is not there: exit 2, one line."""
    path = tmp_path / "naive.json"
    path.write_text(to_json(naive))
    assert run(["replay", str(path), *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1


CODE = "import pathlib\npathlib.Path(__file__).with_name('ran').write_text('')\n"


@pytest.mark.parametrize(
    ("target", "settings", "words"),
    [
        ("evil:f", {}, "--target evil:f or --trust"),
        ("evil.py:f", {}, "--target evil.py:f or --trust"),
        ("cmd:./evil", {}, "--trust"),
        ("naive", {"policy": "evil:policy"}, "policy evil:policy: the file names code"),
        ("naive", {"op": "evil:op"}, "--op evil:op: the file names code"),
        ("naive", {"arrays": "evil:Arrays"}, "--arrays 'evil:Arrays'"),
        ("naive", {"call": "__import__('evil') or f(x)"}, "--call"),
    ],
)
def test_nothing_that_a_file_names_is_run(
    target: str,
    settings: dict[str, str],
    words: str,
    naive: Report,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A foreign result is compared, joined and shown without an import of its names; replay asks who vouches for it."""
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text(CODE)
    forged = replace(naive.targets[0], target=target, settings={**naive.targets[0].settings, **settings})
    Path("r.json").write_text(to_json(replace(naive, targets=(forged,))))
    assert run(["replay", "r.json"]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    if not settings:
        assert run(["replay", "r.json", "--target", "naive"]) == 1
    assert run(["compare", "r.json", "r.json"]) == 0
    assert run(["merge", "r.json", "--json", "all.json"]) == 1
    from_json(Path("all.json").read_text())
    render_html(from_json(Path("r.json").read_text()))
    assert not Path("ran").exists()
    if target == "evil.py:f":
        assert run(["replay", "r.json", "--trust"]) == 2  # it is run, and has no f
        assert Path("ran").exists()


def test_replay_of_a_relative_gates_finding(naive: Report, tmp_path: Path) -> None:
    """What was beyond another implementation's error is held against the same limit again, under a gate's settings."""
    result = naive.targets[0].dtypes[0]
    (one,) = [found for found in result.signs if found.kind == "inaccurate"]
    assert one.minimal is not None
    for limit, status in ((1.0, 1), (one.minimal.error_ulp or 0.0, 0)):
        told = replace(one, message="relative: 20 ulp, allowed 1 ulp", limit=limit)
        settings = {**naive.targets[0].settings, "relative": {"target": "stable"}}
        kept = replace(naive.targets[0], dtypes=(replace(result, signs=(told,)),), settings=settings)
        path = tmp_path / "relative.json"
        path.write_text(to_json(replace(naive, targets=(kept,))))
        assert run(["replay", str(path), "--in-process"]) == status


SOURCE = """
from math import exp
import this_module_does_not_exist

def stable_softmax(x, axis=-1): ...
def logSoftmax(x, dim=-1): ...
def lse(x): ...
def softmax_t(x, temperature): ...
def xent(logits, labels, *, reduction="mean"): ...
def cross_entropy_backward(logits, target): ...
def softmax_backward(y, g): ...
def cross_entropy_from_probs(probs, target): ...
def bce_with_logits(logits, target): ...
def softmax_of_three(a, b, c): ...
def expit(x): ...
def _softmax_private(x): ...
def unrelated(x): ...
class Layer:
    def softmax(self, x): ...
"""


def test_init_finds_functions_without_importing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name and signature, from source alone; doubtful ones are comments; the file is valid and is never overwritten."""
    package = tmp_path / "pack" / "inner"
    package.mkdir(parents=True)
    (tmp_path / "pack" / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "losses.py").write_text(SOURCE)
    (package / "broken.py").write_text("def softmax(:")
    (tmp_path / "loose.py").write_text("def softmax(x): ...\n")
    monkeypatch.chdir(tmp_path)
    found = {one.target: one.op for one in functions(Path()) if not one.doubt}
    assert found == {
        "loose.py:softmax": "softmax",
        "pack.inner.losses:stable_softmax": "softmax",
        "pack.inner.losses:logSoftmax": "log_softmax",
        "pack.inner.losses:lse": "logsumexp",
        "pack.inner.losses:softmax_t": "softmax_temperature",
        "pack.inner.losses:xent": "cross_entropy",
        "pack.inner.losses:cross_entropy_backward": "cross_entropy_grad",
        "pack.inner.losses:bce_with_logits": "binary_cross_entropy_with_logits",
        "pack.inner.losses:expit": "sigmoid",
    }
    doubtful = {one.target.partition(":")[2]: one.doubt for one in functions(Path()) if one.doubt}
    assert set(doubtful) == {"cross_entropy_from_probs", "softmax_of_three"}
    assert run(["init"]) == 0
    assert "9 targets" in capsys.readouterr().out
    written = Path("xent-verify.toml").read_bytes()
    assert len(tomllib.loads(written.decode())["target"]) == 9
    assert run(["init"]) == 2
    assert "not overwritten" in capsys.readouterr().err
    assert Path("xent-verify.toml").read_bytes() == written
    assert run(["init", "no_such_package_at_all", "--out", "x.toml"]) == 2
    assert run(["init", "pack/inner/broken.py", "--out", "empty.toml"]) == 0
    assert "target" not in tomllib.loads(Path("empty.toml").read_text())


def test_init_then_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What init wrote is a gate that runs as it stands."""
    (tmp_path / "loose.py").write_text(
        "import numpy as np\ndef softmax(x):\n    e = np.exp(x)\n    return e / e.sum(-1)\n"
    )
    monkeypatch.chdir(tmp_path)
    assert run(["init"]) == 0
    path = tmp_path / "xent-verify.toml"
    path.write_text(path.read_text().replace(', "float64"]', "]").replace("# isolated = true ", "isolated = false #"))
    assert run(["gate"]) == 1
    assert "new: " in capsys.readouterr().out
