"""Output on any encoding and in narrow windows: every word, no traceback, ASCII stand-ins for signs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from report_factory import report

from xent_verify.core.encodings import stand_ins, tolerant
from xent_verify.report import render_text

ROOT = Path(__file__).parent.parent
AUDIT = "audit naive --op softmax --dtype float32 --profile quick --regimes overflow_edge --in-process"


@pytest.mark.parametrize("encoding", ["cp1252", "gbk", "latin-1", "ascii"])
def test_a_stream_that_lacks_a_sign_writes_its_stand_in(encoding: str) -> None:
    """Every line of a whole report, in bytes of that encoding."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    tolerant(stream)
    stream.write(render_text(report(), width=140))
    stream.flush()
    text = raw.getvalue().decode(encoding)
    assert "x fail" in text
    assert "+ pass" in text or "! warn" in text
    assert "\\u" not in text


def test_a_program_on_a_foreign_code_page_gives_its_verdict() -> None:
    """From the command line, with the encoding set from outside: exit 1 for a fault, and the finding in full."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252"}
    words = [sys.executable, "-m", "xent_verify", *AUDIT.split()]
    done = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr == b""
    assert "minimal       x = [89]" in done.stdout.decode("cp1252")


def test_utf_8_is_left_alone() -> None:
    """Where everything can be shown nothing is replaced; and a stream without an encoding is no error."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    tolerant(stream)
    assert (stream.encoding, stream.errors) == ("utf-8", "strict")
    tolerant(io.StringIO())


def test_stand_ins_are_ascii_whatever_comes() -> None:
    """Signs, powers, accents, spaces; an escape for what has no stand-in."""
    assert stand_ins("✗ ÷ … Σ 2⁻²⁰ é\u202f1 中") == "x / ... sum 2^-20 e 1 \\u4e2d"


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_window_keeps_every_word(width: int) -> None:
    """Results are stacked: target, format, verdict and numbers are whole, and no line is cut."""
    made = report()
    text = render_text(made, width=width)
    assert all(len(line) <= width for line in text.splitlines())
    for target in made.targets:
        assert target.target in text
        assert all(result.dtype in text for result in target.dtypes)
    assert "✗ fail" in text
    assert "…" not in text.split("FAIL")[0]
