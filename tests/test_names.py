"""Targets as people type them: understood, or one line with the nearest right spelling and exit 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from xent_verify.candidates.names import spelled
from xent_verify.cli import run


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("scipy.special.softmax", "scipy.special:softmax"),
        ("torch.softmax", "torch:softmax"),
        ("softmax.naive", "softmax.naive"),
        ("naive", "naive"),
        ("losses.py", "losses.py"),
        ("a.b:c.d", "a.b:c.d"),
    ],
)
def test_dots_are_understood(typed: str, meant: str) -> None:
    """``package.module.function`` is a function of a module; what has a meaning already keeps it."""
    assert spelled(typed) == meant


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("numpy", "target numpy is a module: name the function in it, as in numpy:softmax"),
        ("scipy.special", "special is a module: name the function in it, as in scipy.special:softmax"),
        ("libx.so", "name the function in the library: libx.so:softmax"),
        ("losses.py", "name the function in the file: losses.py:my_softmax"),
        ("./losses", "a file is written with its ending: ./losses.py:my_softmax"),
        ("no_such.softmax", "no module named 'no_such'"),
        ("sofmax", "unknown implementation of softmax 'sofmax'"),
    ],
)
def test_half_a_name_is_answered_with_the_whole(
    typed: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit 2, nothing audited."""
    monkeypatch.chdir(tmp_path)
    Path("losses.py").write_text("def _helper(x): ...\ndef my_softmax(x): ...\ndef loss(x): ...\n")
    assert run(["audit", typed, "--op", "softmax", "--dtype", "float32"]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_library_function_without_a_declaration_is_no_accusation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How a C function is called is asked for, in the operation's own terms; nothing is called."""
    monkeypatch.chdir(tmp_path)
    Path("libx.so").touch()
    assert run(["audit", "libx.so:softmax", "--op", "softmax", "--dtype", "float32"]) == 2
    assert (
        'Give its declaration: --kwargs \'{"signature": "void f(const float *x, float *out' in capsys.readouterr().err
    )
