"""The gate: settings that cannot be misread, a baseline that nothing can lose, the exit status of the contract."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from xent_verify.cli import run
from xent_verify.core.failures import UsageError
from xent_verify.core.outputs import locked
from xent_verify.gate import baseline as known
from xent_verify.gate.baseline import Entry, compared, differences, read_baseline, replaced, update_baseline
from xent_verify.gate.settings_file import find_settings, read_settings
from xent_verify.report import from_json

EXAMPLE = Path(__file__).parent.parent / "examples" / "tiny_losses"
MODULE = """
import numpy as np


def stable(x, axis=-1):
    if x.shape[axis] == 0:
        return np.full(x.sum(axis=axis).shape, -np.inf, x.dtype)
    m = x.max(axis=axis, keepdims=True)
    m = np.where(np.isfinite(m), m, 0).astype(x.dtype)
    return np.log(np.exp(x - m).sum(axis=axis)) + np.squeeze(m, axis)


also_stable = stable


def forgets_the_max(x, axis=-1):
    return np.log(np.exp(x).sum(axis=axis))


def wrong_dtype(x, axis=-1):
    return stable(x, axis).astype(np.float64)


def shifted(x, axis=-1):
    return stable(x, axis) * np.float32(1.001)
"""
TOP = 'op = "logsumexp"\ndtypes = ["float32"]\nisolated = false\n'
ENTRY = Entry("m:f", "softmax", "float32", "nan", "", ("ties",), 10, 1000, None, "quick, seed 0")
HERE = (("m:f", "softmax", "float32"), "quick, seed 0")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the functions above, and the working directory in it."""
    (tmp_path / "losses.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def listed(place: Path) -> Callable[..., Path]:
    """Write a settings file that lists functions of losses.py."""

    def write(*names: str, more: str = "") -> Path:
        tables = [f'[[target]]\ntarget = "losses.py:{name}"\n{more}' for name in names]
        path = place / "xent-verify.toml"
        path.write_text(TOP + "\n".join(tables))
        return path

    return write


def test_a_fault_fails_is_recorded_and_then_only_the_next_one_fails(
    listed: Callable[..., Path], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fail with a minimal case, --update-baseline, pass; a second fault fails and is the only one named; a fix is stale."""
    listed("forgets_the_max", "stable")
    assert run(["gate"]) == 1
    text = capsys.readouterr().out
    assert "x = [89]" in text
    assert "new: overflow losses.py:forgets_the_max" in text
    assert not (place / "xent-verify-baseline.json").exists()
    assert run(["gate", "--update-baseline"]) == 0
    assert "baseline: added overflow losses.py:forgets_the_max" in capsys.readouterr().out
    assert run(["gate"]) == 0
    assert "FAIL" not in capsys.readouterr().out
    listed("forgets_the_max", "stable", "wrong_dtype")
    assert run(["gate", "--json", "gate.json"]) == 1
    text = capsys.readouterr().out
    assert "new: dtype losses.py:wrong_dtype" in text
    assert "FAIL overflow" not in text
    assert text.count("new: ") == 1
    assert json.loads(Path("gate.json").read_text())["ok"] is False
    (place / "losses.py").write_text(MODULE.replace("np.log(np.exp(x).sum(axis=axis))", "stable(x, axis)"))
    before = (place / "xent-verify-baseline.json").read_bytes()
    listed("forgets_the_max")
    run(["gate"])
    assert "stale: overflow losses.py:forgets_the_max" in capsys.readouterr().out
    assert (place / "xent-verify-baseline.json").read_bytes() == before
    assert run(["gate", "--update-baseline"]) == 0
    assert "removed overflow losses.py:forgets_the_max" in capsys.readouterr().out


def test_the_gate_needs_no_extra(
    listed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the packages of the extras the gate still gates; only --junit asks for its own, before any work."""
    for name in ("junitparser", "jinja2", "matplotlib", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "xent_verify.report.junit", raising=False)
    listed("stable")
    assert run(["gate", "--json", "gate.json", "--sarif", "gate.sarif", "--markdown", "gate.md"]) == 0
    assert run(["gate", "--junit", "gate.xml"]) == 2
    assert "pip install 'xent-verify[report]'" in capsys.readouterr().err


def test_a_fault_at_the_users_own_size_needs_the_size(
    listed: Callable[..., Path], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kernel wrong at 777 columns alone passes until 777 is among the sizes of interest."""
    (place / "losses.py").write_text(
        MODULE + "\ndef odd(x, axis=-1):\n    y = stable(x, axis)\n    return y + (x.shape[-1:] == (777,))\n"
    )
    listed("odd")
    assert run(["gate"]) == 0
    listed("odd", more="sizes = [777]")
    assert run(["gate"]) == 1
    assert "named_sizes" in capsys.readouterr().out
    listed("odd", more="sizes = [0]")
    assert run(["gate"]) == 2
    assert "size 0: a row length is between 1 and" in capsys.readouterr().err


def test_pyproject_and_own_file_say_the_same(place: Path) -> None:
    """[tool.xent-verify] and the top level of xent-verify.toml are read alike; targets override defaults."""
    body = '[[{0}target]]\ntarget = "losses.py:stable"\nprofile = "deep"\nkwargs = {{ axis = -1 }}\n'
    (place / "pyproject.toml").write_text(
        '[tool.xent-verify]\nop = "softmax"\nseed = 7\n' + body.format("tool.xent-verify.")
    )
    assert find_settings(place / "deeper") == place / "pyproject.toml"
    shared = read_settings(place / "pyproject.toml")
    (place / "xent-verify.toml").write_text('op = "softmax"\nseed = 7\n' + body.format(""))
    assert find_settings(place) == place / "xent-verify.toml"
    assert read_settings(place / "xent-verify.toml").targets == shared.targets
    (target,) = shared.targets
    assert (target.settings.profile, target.settings.seed, target.settings.kwargs) == ("deep", 7, {"axis": -1})
    assert read_settings(place / "pyproject.toml", profile="quick").targets[0].settings.profile == "quick"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("polcy = 'standard'", "did you mean 'policy'"),
        ("[[target]]\ntarget = 'a:b'\ndtype = ['float32']", "did you mean 'dtypes'"),
        ("[[target]]\ntarget = 'a:b'\ndtypes = 'float32'", "should be a list"),
        ("[[target]]\ntarget = 'a:b'\ndtypes = ['float23']", "float32"),
        ("[[target]]\ntarget = 'a:b'\nop = 'sofmax'", "did you mean 'softmax'"),
        ("[[target]]\ntarget = 'a:b'\npolicy = 'standart'", "did you mean 'standard'"),
        ("[[target]]\ntarget = 'a:b'\nprofile = 'quik'", "did you mean 'quick'"),
        ("[[target]]\ntarget = 'a:b'\narrays = 'nunpy'", "did you mean 'numpy'"),
        ("[[target]]\ntarget = 'a:b'\nseed = true", "whole number"),
        ("[[target]]\ntarget = 'a:b'\ntimeout = 0", "positive"),
        ("[[target]]\ntarget = 'a:b'\nfactor = 2", "factor without relative_to"),
        ("[[target]]\ntarget = 'a:b'\nrelative_to = 'a:b'", "the target itself"),
        ("[[target]]\ntarget = 'a:b'\nisolated = false\ntimeout = 3", "timeout needs isolated"),
        ("[[target]]\nop = 'softmax'", "has no 'target'"),
        ("[[target]]\ntarget = 'a:b'\n[[target]]\ntarget = 'a:b'", "listed twice"),
        ("[target]\ntarget = 'a:b'", "write [[target]]"),
        ("worse_factor = 0.5", "at least 1"),
        ("[[target", "is not TOML"),
        ("[[target]]\ntarget = 'nowhere.at.all:f'", "no module named 'nowhere'"),
    ],
)
def test_wrong_settings_are_one_line(place: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown keys, wrong types and impossible values: exit 2, one line, the place, the nearest right thing."""
    (place / "xent-verify.toml").write_text(("op = 'softmax'\n" if "has no" not in words else "") + text)
    assert run(["gate"]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    if "nowhere" not in text:
        assert "xent-verify.toml" in captured.err


def test_no_settings_and_nothing_listed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No settings: exit 2 and how to make them. Settings without a target: exit 5, nothing was checked."""
    assert run(["gate"]) == 2
    assert "xent-verify init" in capsys.readouterr().err
    (place / "xent-verify.toml").write_text("")
    assert run(["gate"]) == 5
    assert "nothing to check: no [[target]]" in capsys.readouterr().out
    assert run(["gate", "--update-baseline"]) == 5
    assert not (place / "xent-verify-baseline.json").exists()


def test_the_status_does_not_depend_on_the_outputs(
    listed: Callable[..., Path], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every output at once: exit 1 as without them; --json - leaves stdout to the JSON; the summary is appended to."""
    listed("wrong_dtype")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    Path("summary.md").write_text("before\n")
    outputs = ["--junit", "g.xml", "--sarif", "g.sarif", "--markdown", "g.md", "--out", "report"]
    assert run(["gate", "--github", "--json", "-", *outputs]) == 1
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert data["ok"] is False
    assert "::error file=losses.py" in captured.err
    assert Path("summary.md").read_text().startswith("before\n#")
    assert '<failure message="' in Path("g.xml").read_text()
    assert json.loads(Path("g.sarif").read_text())["version"] == "2.1.0"
    assert "wrong_dtype" in Path("g.md").read_text()
    assert (place / "report" / "results.json").exists()
    assert run(["gate", "--junit", "no/such/g.xml"]) == 2
    assert "no folder" in capsys.readouterr().err


def test_relative_gate(listed: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """No worse than K times another implementation, regime by regime: fails beyond, passes within and below the floor."""
    more = 'relative_to = "losses.py:stable"\nfactor = {}\nfloor = {}\n'
    listed("shifted", more=more.format(1.0, 2.0))
    assert run(["gate", "--json", "gate.json"]) == 1
    assert "losses.py:stable's error there" in capsys.readouterr().out
    (found,) = (one for one in from_json(Path("gate.json").read_text()).signs if one.kind == "inaccurate")
    assert found.message.startswith("relative: ")
    assert "ordinary" in found.regimes
    assert run(["replay", "gate.json", "--kind", "inaccurate", "--trust"]) == 1
    assert run(["replay", "gate.json", "--kind", "inaccurate", "--target", "losses.py:stable"]) == 0
    listed("shifted", more=more.format(1.0, 1e300))
    run(["gate"])
    assert "new: inaccurate" not in capsys.readouterr().out
    listed("stable", more=more.format(1.0, 0).replace("losses.py:stable", "losses.py:also_stable"))
    assert run(["gate"]) == 0


def test_init_says_which_settings_it_hides(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings in pyproject.toml are not read any more beside a xent-verify.toml."""
    (place / "pyproject.toml").write_text("[tool.xent-verify]\nprofile = 'quick'\n")
    assert run(["init", "--out", "other.toml"]) == 0
    assert capsys.readouterr().err == ""
    assert run(["init"]) == 0
    assert "xent-verify.toml hides [tool.xent-verify] of pyproject.toml" in capsys.readouterr().err


def test_compared_tells_new_worse_improved_and_stale() -> None:
    """Each word for what it names; numbers measured in another way and other machines' entries are not compared."""

    def words(old: list[Entry], new: list[Entry]) -> list[str]:
        return [change.word for change in compared(old, new, [HERE], instruction_set="here")]

    assert words([], [ENTRY]) == ["new"]
    assert words([ENTRY], [ENTRY]) == []
    assert words([ENTRY], [replace(ENTRY, regimes=("ties", "tiny"))]) == ["new"]
    assert words([ENTRY], [replace(ENTRY, count=14)]) == []
    assert words([ENTRY], [replace(ENTRY, count=16)]) == ["worse"]
    assert words([ENTRY], [replace(ENTRY, count=16, measured="deep, seed 0")]) == []
    assert words([ENTRY], [replace(ENTRY, count=2)]) == ["improved"]
    assert words([replace(ENTRY, regimes=("ties", "tiny"))], [ENTRY]) == ["improved"]
    assert words([ENTRY], []) == ["stale"]
    assert words([replace(ENTRY, measured="deep, seed 0")], []) == []
    bits = replace(ENTRY, kind="inaccurate", instruction_set="here", ratio=2.0)
    assert words([bits], [replace(bits, ratio=4.0)]) == ["worse"]
    assert words([bits], [replace(bits, ratio=2.5)]) == []
    assert words([replace(bits, instruction_set="there")], [bits]) == []
    assert words([replace(bits, instruction_set="there")], []) == []
    assert words([replace(bits, target="m:g")], []) == []


def test_the_ratchet_lets_no_class_fall_and_nothing_stale_stay() -> None:
    """Known class, measured alike: weaker fails, stricter is an improvement; a known finding that is gone fails."""
    kept = Entry(*HERE[0], "class", "here", (), 0, 0, None, HERE[1], "standard")

    def words(old: list[Entry], new: list[Entry], *, ratchet: bool = True) -> list[tuple[str, bool]]:
        found = compared(old, new, [HERE], instruction_set="here", ratchet=ratchet)
        return [(change.word, change.fails) for change in found]

    assert words([kept], [kept]) == []
    assert words([], [kept]) == []
    assert words([kept], [replace(kept, keeps="backward")]) == [("fallen", True)]
    assert words([kept], [replace(kept, keeps="unsound")]) == [("fallen", True)]
    assert words([kept], [replace(kept, keeps="exact")]) == [("improved", False)]
    assert words([replace(kept, measured="deep, seed 0")], [replace(kept, keeps="native")]) == []
    assert words([ENTRY], []) == [("stale", True)]
    assert words([ENTRY], [], ratchet=False) == [("stale", False)]


def test_a_class_that_falls_fails_the_gate(
    listed: Callable[..., Path], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With may_not_fall the baseline holds classes; an answer of a weaker class that still passes its policy is red."""
    settings = listed("stable")
    settings.write_text("may_not_fall = true\npolicy = 'ulp:1e30'\n" + settings.read_text())
    assert run(["gate", "--update-baseline"]) == 0
    assert "baseline: added class losses.py:stable logsumexp float32 (" in capsys.readouterr().out
    assert run(["gate"]) == 0
    capsys.readouterr()
    (place / "losses.py").write_text(MODULE.replace("return np.log(np", "return np.float32(1.00001) * np.log(np", 1))
    assert run(["gate", "--junit", "gate.xml"]) == 1
    assert "fallen: class losses.py:stable logsumexp float32: class " in capsys.readouterr().out
    assert "may only rise" in Path("gate.xml").read_text()


def test_a_known_defect_that_is_gone_fails_the_ratchet_and_every_output_says_so(
    listed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All targets pass, and yet the gate is red: job summary and comment give the reason; an update makes it green."""
    settings = listed("stable")
    settings.write_text("may_not_fall = true\n" + settings.read_text())
    assert run(["gate", "--update-baseline"]) == 0
    held = Path("xent-verify-baseline.json")
    before = held.read_text()
    baseline = json.loads(before)
    gone = {**baseline["findings"][0], "kind": "nan", "keeps": "", "regimes": ["ties"], "count": 3, "cases": 9}
    held.write_text(json.dumps({**baseline, "findings": [*baseline["findings"], gone]}))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    assert run(["gate", "--github", "--markdown", "comment.md"]) == 1
    assert "::error title=xent-verify gate::stale: nan" in capsys.readouterr().out
    for name in ("summary.md", "comment.md"):
        text = Path(name).read_text()
        assert "gate FAILS: 0 new, 1 stale" in text
        assert "no longer fails" in text
    assert run(["gate", "--update-baseline"]) == 0
    assert held.read_text() == before
    assert run(["gate"]) == 0


def test_update_replaces_what_was_checked_here_and_keeps_the_rest() -> None:
    """Entries of other targets and of other machines stay; the difference is told in lines."""
    other = replace(ENTRY, target="m:other")
    far = replace(ENTRY, kind="inaccurate", instruction_set="there")
    new = replace(ENTRY, kind="shape")
    after = replaced([ENTRY, other, far], [new], [HERE[0]], "here")
    assert set(after) == {new, other, far}
    assert [line.split()[:2] for line in differences([ENTRY, other, far], after)] == [
        ["removed", "nan"],
        ["added", "shape"],
    ]


def test_the_file_is_stable_and_one_finding_a_line(tmp_path: Path) -> None:
    """What is written is read back, in an order that does not depend on that of the findings."""
    path = tmp_path / "b.json"
    entries = (ENTRY, replace(ENTRY, kind="shape", ratio=float("inf")), replace(ENTRY, dtype="bfloat16", ratio=2.5))
    for order in (entries, entries[::-1]):
        path.unlink(missing_ok=True)
        update_baseline(path, lambda held, order=order: replaced(held, order, [], ""))  # type: ignore[misc]
        text = path.read_text()
        assert set(read_baseline(path)) == set(entries)
        assert [json.loads(line.rstrip(","))["kind"] for line in text.splitlines()[1:-1]] == ["nan", "nan", "shape"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema": 2, "findings": []}', '{"schema": 1, "findings": [{}]}', "null"]
)
def test_a_corrupt_baseline_is_left_alone(
    text: str, listed: Callable[..., Path], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Corrupt: exit 2 in one line before any work, with --update-baseline too; the file is as it was."""
    listed("stable")
    path = place / "xent-verify-baseline.json"
    path.write_text(text)
    for arguments in (["gate"], ["gate", "--update-baseline"]):
        assert run(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert "baseline" in captured.err
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("fsync", OSError(28, "No space left on device")),
        ("replace", OSError(30, "Read-only file system")),
        ("open", OSError(13, "Permission denied")),
        ("fsync", KeyboardInterrupt()),
    ],
)
def test_what_cannot_be_written_loses_nothing(
    name: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disk full, read-only folder, interrupted: the old file stands, no lock stays, one clear line."""
    path = tmp_path / "b.json"
    update_baseline(path, lambda held: [ENTRY])
    before = path.read_bytes()

    def broken(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(known.os, name, broken)
    wanted = UsageError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(wanted) as raised:
        update_baseline(path, lambda held: [])
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert "b.json" in str(raised.value)
        assert error.strerror in str(raised.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_two_gates_at_once_lose_nothing(tmp_path: Path) -> None:
    """Processes that update one baseline at the same time: every entry is there afterwards."""
    path = tmp_path / "b.json"
    code = (
        "import sys, pathlib\nfrom dataclasses import replace\n"
        "from xent_verify.gate.baseline import Entry, update_baseline\n"
        "for k in range(20):\n"
        "    one = Entry(sys.argv[2], 'softmax', str(k), 'nan', '', (), 1, 2, None, '')\n"
        "    update_baseline(pathlib.Path(sys.argv[1]), lambda held: sorted([*held, one], key=lambda e: e.key))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in "ab"]
    assert [process.wait() for process in running] == [0, 0]
    assert len(read_baseline(path)) == 40


def test_a_lock_that_is_held_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another gate writes: one line that says so, and its file is not taken away."""
    monkeypatch.setattr(known, "_LOCK_SECONDS", 0.1)
    lock = tmp_path / "b.json.lock"
    with lock.open("w") as file:
        assert locked(file.fileno(), lock)
        with pytest.raises(UsageError, match=r"another gate writes it \(b\.json\.lock is locked\)"):
            update_baseline(tmp_path / "b.json", lambda held: [])
    assert lock.exists()


def test_a_lock_that_a_killed_gate_left_is_taken_over(tmp_path: Path) -> None:
    """Half of a file that nobody writes any more does not stop the next gate, and is gone afterwards."""
    (tmp_path / "b.json.lock").write_text("[" * 5000)
    update_baseline(tmp_path / "b.json", lambda held: [ENTRY])
    assert read_baseline(tmp_path / "b.json") == (ENTRY,)
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


def test_an_interrupted_gate_keeps_what_it_has(
    listed: Callable[..., Path], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C: exit 130, the targets that were done are reported, the baseline is not rewritten."""
    from xent_verify.gate import gate

    listed("wrong_dtype", "stable")
    real = gate.audited

    def interrupted(names: list[str], *options: object) -> object:
        if "stable" in names[0]:
            raise KeyboardInterrupt
        return real(names, *options)  # type: ignore[arg-type]

    monkeypatch.setattr(gate, "audited", interrupted)
    assert run(["gate", "--update-baseline", "--json", "kept.json"]) == 130
    assert "wrong_dtype" in capsys.readouterr().out
    assert len(json.loads(Path("kept.json").read_text())["targets"]) == 1
    assert not (place / "xent-verify-baseline.json").exists()


def test_the_example_without_the_max_fails_and_its_fix_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """examples/tiny_losses: without the maximum its gate fails with a minimal case and the cause; the fix passes."""
    folder = tmp_path / "tiny"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    monkeypatch.chdir(folder)
    settings = folder / "pyproject.toml"
    settings.write_text(settings.read_text().replace('["float32", "float64"]', '["float32"]'))
    source = folder / "tiny_losses" / "losses.py"
    whole = source.read_text()
    broken = whole.replace("np.exp(x - x.max(axis=axis, keepdims=True))", "np.exp(x)")
    assert broken != whole
    source.write_text(broken)
    assert run(["gate"]) == 1
    text = capsys.readouterr().out
    assert "x = [89]" in text
    assert "no maximum is subtracted" in text
    assert "new: nan tiny_losses.losses:softmax" in text
    assert "losses:log_softmax softmax" not in text
    source.write_text(whole)
    assert run(["gate"]) == 0
    assert capsys.readouterr().out.count("✓ pass") == 3


def test_the_action_and_the_hook_call_the_gate_as_it_is() -> None:
    """Every option that action.yml and the hooks pass exists, and every input reaches the command."""
    from xent_verify.commands.gate import command

    options = {name for option in command.params for name in option.opts}
    action = (EXAMPLE.parent.parent / "action.yml").read_text()
    inputs = re.findall(r"^  ([a-z-]+):\n    description", action, re.MULTILINE)
    passed = re.search(r"for name in (.*); do", action)
    assert passed is not None
    assert set(inputs) == {*passed[1].split(), "working-directory", "comment", "token"}
    assert {f"--{name}" for name in passed[1].split()} <= options
    hooks = (EXAMPLE.parent.parent / ".pre-commit-hooks.yaml").read_text()
    assert set(re.findall(r"--[a-z]+", hooks)) <= options


def test_a_long_target_leaves_room_for_what_is_wrong(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "xent-verify.toml").write_text(TOP + f'[[target]]\ntarget = "{"m" * 400}:f"\nop = "softmx"\n')
    assert run(["gate"]) == 2
    told = capsys.readouterr().err
    assert len(told.replace(str(place), "")) < 300
    assert "softmax" in told
