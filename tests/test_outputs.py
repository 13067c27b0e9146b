"""Files that are written: as a whole or not at all, checked before the work, never in silence over somebody else's."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from xent_verify.cli import program
from xent_verify.core.failures import UsageError
from xent_verify.core.outputs import check_folder, check_writable, replace_file, replacing

ROOT = Path(__file__).parents[1]
AUDIT = [
    "audit",
    "stable",
    "--op",
    "softmax",
    "--dtype",
    "float16",
    "--profile",
    "quick",
    "--regimes",
    "ties",
    "--in-process",
]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xent_verify", *words],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_a_file_is_replaced_with_its_mode_and_through_a_link(tmp_path: Path) -> None:
    """The new content stands where the old one stood; a link stays a link; nothing else is left."""
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    replace_file(tmp_path / "link", "new ✓")
    assert (tmp_path / "real").read_text(encoding="utf-8") == "new ✓"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


def test_a_reader_never_finds_half_a_file(tmp_path: Path) -> None:
    """While it is written, and when writing raises, the old content is there."""
    place = tmp_path / "a.json"
    place.write_text("old")

    def write() -> None:
        with replacing(place) as file:
            file.write(b"half")
            file.flush()
            assert place.read_text() == "old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert place.read_text() == "old"


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    """A write that fails half-way is one line with the reason."""
    place = tmp_path / "a.json"
    place.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # Python ignores the signal and sees the error
    try:
        with pytest.raises(UsageError, match=r"cannot write .*a\.json: File too large"):
            replace_file(place, b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert place.read_text() == "old"


def test_a_device_is_written_to_as_it_is() -> None:
    """/dev/null stays a device; /dev/full says that it is full."""
    replace_file("/dev/null", "text")
    assert not Path("/dev/null").is_file()
    with pytest.raises(UsageError, match="/dev/full: No space left on device"):
        replace_file("/dev/full", "text")


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    """Each writes into a file of its own; the last one stands, whole."""
    with replacing(tmp_path / "a") as one, replacing(tmp_path / "a") as other:
        for _ in range(100):
            one.write(b"1" * 99)
            other.write(b"2" * 99)
    assert len(set((tmp_path / "a").read_bytes())) == 1


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """A temporary file that nobody holds goes; one that is being written, and another file's, stay."""
    for name in (".a.json.00aa11bb.partial", ".b.json.00aa11bb.partial"):
        (tmp_path / name).write_text("half")
    with replacing(tmp_path / "a.json") as slow:
        slow.write(b"slow")
        replace_file(tmp_path / "a.json", "quick")
    assert (tmp_path / "a.json").read_text() == "slow"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.json.00aa11bb.partial", "a.json"]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("no/a.json", "there is no folder"),
        (".", "it is a folder"),
        ("file/a.json", "Not a directory"),
        ("/proc/a", "cannot write /proc/a"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(
    place: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the work where that can be known, else when it is written."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")

    def write() -> None:
        check_writable(place)
        replace_file(place, "text")

    with pytest.raises(UsageError) as caught:
        write()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    """A folder that does not exist yet is well where its parent is one."""
    (tmp_path / "file").write_text("")
    check_folder(tmp_path / "new" / "deeper")
    with pytest.raises(UsageError, match="is not a folder"):
        check_folder(tmp_path / "file" / "deeper")


@pytest.mark.parametrize("option", ["--json", "--out"])
def test_a_place_that_is_closed_is_told_before_the_audit(option: str, tmp_path: Path) -> None:
    """Exit 2 before a target is opened (this one does not exist)."""
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(
        program, ["audit", "nowhere:f", "--op", "softmax", option, str(tmp_path / "file" / "a.json")]
    )
    assert isinstance(done.exception, UsageError)
    assert "cannot write" in str(done.exception)


def test_a_result_that_changed_meanwhile_is_said(tmp_path: Path) -> None:
    """Something else wrote to the file while the audit ran: that is told, and the file holds the result."""
    place, module = tmp_path / "r.json", tmp_path / "target.py"
    module.write_text(
        "import pathlib, numpy as np\n"
        f"pathlib.Path({str(place)!r}).write_text('forged')\n"
        "def f(x):\n    e = np.exp(x - x.max(-1, keepdims=True))\n    return e / e.sum(-1, keepdims=True)\n"
    )
    done = run("audit", f"{module}:f", *AUDIT[2:], "--json", str(place))
    assert "r.json was changed by something else while this ran; it is replaced" in done.stderr
    assert place.read_text().startswith("{")


def test_a_folder_that_is_removed_meanwhile_is_one_line(tmp_path: Path) -> None:
    """The findings are printed all the same; the message names the file."""
    folder, module = tmp_path / "gone", tmp_path / "target.py"
    folder.mkdir()
    module.write_text(f"import shutil, numpy as np\nshutil.rmtree({str(folder)!r}, True)\ndef f(x): return np.exp(x)\n")
    done = run("audit", f"{module}:f", *AUDIT[2:], "--json", str(folder / "r.json"))
    assert done.returncode == 2
    assert "FAIL" in done.stdout
    assert done.stderr.startswith("xent-verify: cannot write ")
    assert done.stderr.count("\n") == 1
