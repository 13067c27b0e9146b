"""The pytest plugin as it is met in somebody's test suite."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

INSTALLED = any(entry.name == "xent-verify" for entry in entry_points(group="pytest11"))
OPTIONS = () if INSTALLED else ("-p", "xent_verify.pytest_plugin")
LOSSES = """
import numpy as np

def stable(x, axis=-1):
    if x.shape[axis] == 0:
        return np.empty_like(x)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)

def naive(x, axis=-1):
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)

def stable_lse(x, axis=-1):
    return np.logaddexp.reduce(x.astype(np.float64), axis=axis).astype(x.dtype)

def naive_lse(x, axis=-1):
    return np.log(np.exp(x).sum(axis=axis))
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with losses.py, importable by the tests in it."""
    pytester.makepyfile(losses=LOSSES)
    pytester.syspathinsert()
    return pytester


def test_the_failure_tells_everything_and_replays(suite: pytest.Pytester) -> None:
    """Verdict, minimal case with bits, true and rounded value, bound, diagnosis, a line and a script that replay it."""
    suite.makepyfile("""
        import losses, pytest
        @pytest.mark.xent(op="softmax", dtypes=["float32"])
        def test_naive(xent_audit):
            xent_audit(losses.naive)
    """)
    result = suite.runpytest_subprocess(*OPTIONS)
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    for words in ("losses:naive is not an accurate softmax", "x = [89]", "0x42b20000", "1.0 (0x1p+0)",
                  "no maximum is subtracted", "import numpy as np"):  # fmt: skip
        assert words in text, words
    line = next(line for line in text.splitlines() if "replay: xent-verify" in line)
    arguments = line.partition("replay: xent-verify ")[2].split()
    done = subprocess.run(
        [sys.executable, "-m", "xent_verify", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "still fails" in done.stdout


def test_marker_options_xfail_and_k(suite: pytest.Pytester) -> None:
    """The call wins over the marker and the marker over the options; xfail and -k work as for any test."""
    suite.makepyfile("""
        import losses, pytest
        pytestmark = pytest.mark.xent(op="logsumexp", dtypes=["float64"], seed=5)
        @pytest.mark.xent(dtypes=["float32"])
        def test_stable(xent_audit):
            report = xent_audit(losses.stable_lse)
            assert [d.dtype for d in report.targets[0].dtypes] == ["float32"]
            assert (report.settings["seed"], report.settings["profile"]) == (5, "quick")
            assert xent_audit(losses.stable_lse, seed=6, dtypes=["float16"], policy="native").settings["seed"] == 6
        @pytest.mark.xfail(raises=AssertionError, strict=True)
        def test_naive(xent_audit):
            xent_audit(losses.naive_lse, fail_fast=True)
        def test_left_out(xent_audit):
            raise ValueError
    """)
    suite.runpytest_subprocess(*OPTIONS, "-k", "stable or naive").assert_outcomes(passed=1, xfailed=1, deselected=1)


def test_options_and_mistakes(suite: pytest.Pytester) -> None:
    """--xent-seed reaches the audit; an unknown option or profile and a missing op are told with what is right."""
    suite.makepyfile("""
        import losses, pytest
        from xent_verify import UsageError
        def test_seed(xent_audit, request):
            assert request.config.getoption("--xent-seed") == 3
            with pytest.raises(UsageError, match="did you mean 'quick'"):
                xent_audit(losses.stable_lse, op="logsumexp")
            with pytest.raises(UsageError, match="which operation"):
                xent_audit(losses.stable_lse)
            with pytest.raises(UsageError, match="did you mean 'dtypes'"):
                xent_audit(losses.stable_lse, op="logsumexp", dtype=["float32"])
    """)
    suite.runpytest_subprocess(*OPTIONS, "--xent-seed", "3", "--xent-profile", "quik").assert_outcomes(passed=1)


def test_the_gates_settings_are_tests_that_k_chooses(suite: pytest.Pytester) -> None:
    """With --xent one test for each target and format, against the baseline; without it none."""
    tables = "".join(f'[[target]]\ntarget = "losses.py:{name}"\n' for name in ("stable", "naive"))
    top = 'op = "softmax"\ndtypes = ["float32", "float64"]\nisolated = false\n'
    suite.makefile(".toml", **{"xent-verify": top + tables})
    result = suite.runpytest_subprocess(*OPTIONS, "--xent", "-v", "-k", "float32")
    result.assert_outcomes(passed=1, failed=1, deselected=2)
    text = result.stdout.str()
    for words in ("xent-verify.toml::losses.py:naive-softmax-float32", "x = [89]", "new: nan losses.py:naive"):
        assert words in text, words
    suite.runpytest_subprocess(*OPTIONS).assert_outcomes()


def test_under_xdist(suite: pytest.Pytester) -> None:
    """Two workers, one test each."""
    pytest.importorskip("xdist")
    suite.makepyfile("""
        import losses, pytest
        @pytest.mark.xent(op="logsumexp", dtypes=["float16"])
        @pytest.mark.parametrize("name", ["stable_lse", "naive_lse"])
        def test_it(xent_audit, name):
            xent_audit(getattr(losses, name), fail_fast=True, policy="native")
    """)
    suite.runpytest_subprocess(*OPTIONS, "-n", "2").assert_outcomes(passed=1, failed=1)


def test_a_suite_that_does_not_use_it_pays_nothing(suite: pytest.Pytester) -> None:
    """With the plugin loaded and not used, NumPy and the audit are not imported; the marker is registered."""
    suite.makepyfile("""
        import sys
        def test_light():
            assert "xent_verify.pytest_plugin" in sys.modules
            assert not {"numpy", "pandas", "mpmath", "xent_verify.auditing.audit"} & set(sys.modules)
    """)
    suite.runpytest_subprocess(*OPTIONS, "-p", "no:hypothesispytest", "-p", "no:xdist").assert_outcomes(passed=1)
    suite.runpytest_subprocess(*OPTIONS, "--markers").stdout.fnmatch_lines(["@pytest.mark.xent(op, dtypes*"])


def test_the_example_passes_its_own_tests(pytester: pytest.Pytester) -> None:
    """examples/tiny_losses as somebody would run it."""
    folder = Path(__file__).parent.parent / "examples" / "tiny_losses"
    shutil.copytree(folder, pytester.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    pytester.runpytest_subprocess(*OPTIONS).assert_outcomes(passed=3)


def test_the_entry_point_is_declared() -> None:
    """pyproject.toml declares the plugin, so that installing the package is enough."""
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    declared = tomllib.loads(text)["project"]["entry-points"]["pytest11"]
    assert declared == {"xent-verify": "xent_verify.pytest_plugin"}
