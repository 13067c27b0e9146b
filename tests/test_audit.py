"""The audit from end to end: naive forms fail for the right reason, sound ones pass, and nothing is guessed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import targets
from samples import in_turn

import xent_verify
from xent_verify.auditing.audit import audit
from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.model import Example, Finding
from xent_verify.scripts import script

TARGETS = str(Path(__file__).parent / "targets.py")


def failing(report: xent_verify.Report) -> dict[str, Finding]:
    return {finding.kind: finding for finding in report.signs if finding.severity == "fail"}


NAIVE = [
    ("softmax", "naive", "nan"),
    ("log_softmax", "naive", "log_of_zero"),
    ("logsumexp", "naive", "overflow"),
    ("cross_entropy", "naive-onehot", "log_of_zero"),
    ("cross_entropy", "naive-index", "log_of_zero"),
    ("cross_entropy_grad", "naive", "nan"),
]


@pytest.mark.parametrize(("case", "dtype"), in_turn(NAIVE, ["float64", "float32", "float16", "bfloat16"]))
def test_naive_forms_fail_for_the_right_reason(case: tuple[str, str, str], dtype: str) -> None:
    """Every naive form fails in every usual format with the kind it is known for, and a minimal input of few logits."""
    op, name, kind = case
    found = failing(audit(name, op=op, dtypes=[dtype], profile="quick", isolated=False))
    assert kind in found
    minimal = found[kind].minimal
    assert minimal is not None
    assert next(iter(minimal.inputs.values())).size <= 4


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_stable_forms_pass_in_eight_bits(op: str, dtype: str) -> None:
    """The stable forms pass in both float8 formats."""
    assert audit("stable", op=op, dtypes=[dtype], profile="quick", isolated=False).ok


STABLE = ["softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_grad"]


@pytest.mark.parametrize(("op", "dtype"), in_turn(STABLE, ["float64", "float32", "float16", "bfloat16"]))
def test_stable_forms_pass(op: str, dtype: str) -> None:
    """The stable form of every operation passes in the four usual formats, with a bound that is nearly reached."""
    report = audit("stable", op=op, dtypes=[dtype], profile="quick", isolated=False)
    assert report.ok, failing(report)
    assert all(0.2 < result.max_bound_ratio <= 1 for result in report.targets[0].dtypes)


def test_the_naive_softmax_comes_down_to_one_logit_past_the_edge() -> None:
    """float32 exp overflows at 88.72: the minimal failing row of the naive softmax is [89]."""
    found = failing(audit("naive", op="softmax", dtypes=["float32"], profile="quick", isolated=False))
    assert found["nan"].minimal is not None
    assert found["nan"].minimal.inputs["x"].ravel().tolist() == [89.0]


def test_findings_carry_all_that_the_contract_asks() -> None:
    """Kind, share, regimes, minimal input, 30 digits, rounded and observed value, error, a script that reproduces it."""
    every = failing(audit("naive", op="softmax", dtypes=["float32"], profile="quick", isolated=False))
    found = every["underflow"]
    example = found.minimal
    assert example is not None
    assert 0 < found.share < 1
    assert found.regimes
    assert every["inaccurate"].worst is not None
    digits = every["inaccurate"].worst.true_digits
    assert len(digits.replace(".", "").replace("-", "").split("e")[0].lstrip("0")) == 30
    assert example.observed == 0 < example.rounded
    assert example.bound_ratio is not None
    assert example.bound_ratio > 1
    assert "import numpy as np" in found.script


def test_the_script_reproduces_the_fault(tmp_path: Path) -> None:
    """The script of a finding, run alone, exits 1 for the faulty target and would exit 0 for the right answer."""
    source = tmp_path / "colleague.py"
    source.write_text(
        "import numpy as np\n\ndef softmax(x, axis=-1):\n    e = np.exp(x)\n    return e / e.sum(axis=axis, keepdims=True)\n"
    )
    found = failing(audit(f"{source}:softmax", op="softmax", dtypes=["float32"], profile="quick"))
    alone = tmp_path / "reproduce.py"
    alone.write_text(found["nan"].script)
    assert subprocess.run([sys.executable, str(alone)], capture_output=True, check=False).returncode == 1
    source.write_text(source.read_text().replace("np.exp(x)", "np.exp(x - x.max(axis=axis, keepdims=True))"))
    done = subprocess.run([sys.executable, str(alone)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_script_of_a_loss_reproduces_it(tmp_path: Path) -> None:
    """Scripts hold arrays named as the operation names them (logits, target); the function is called something else."""
    source = tmp_path / "loss.py"
    source.write_text(
        "import numpy as np\n\n\ndef loss(logits, target, reduction='mean'):\n    p = np.exp(logits)\n"
        "    p = p / p.sum(axis=1, keepdims=True)\n    each = -np.log(p[np.arange(len(p)), target])\n"
        "    return {'none': each, 'sum': each.sum(), 'mean': each.mean()}[reduction]\n"
    )
    report = audit(f"{source}:loss", op="cross_entropy", dtypes=["float32"], profile="quick")
    found = [finding for finding in report.signs if finding.severity == "fail" and finding.kind != "property"]
    assert found
    for finding in found:
        alone = tmp_path / "reproduce.py"
        alone.write_text(finding.script)
        done = subprocess.run([sys.executable, str(alone)], capture_output=True, text=True, check=False)
        assert done.returncode == 1, (finding.kind, done.stderr)
        assert "Error" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("op", "lines", "kind"),
    [
        (
            "softmax",
            "x -= x.max(axis=axis, keepdims=True, initial=-np.inf)\n    return sound(x, axis=axis)",
            "input_mutated",
        ),
        ("cross_entropy", "y = sound(*a, **k)\n    k.get('weight', y)[...] /= 3\n    return y", "input_mutated"),
        ("softmax", "return sound(x, axis=axis).astype(np.float64)", "dtype"),
    ],
)
def test_the_script_of_misconduct_reproduces_it(tmp_path: Path, op: str, lines: str, kind: str) -> None:
    """Changed arguments, options among them, and wrong dtypes: the script exits 1 for them and 0 once they are mended."""
    head = "logits, target, *, weight=None, reduction='mean'" if op == "cross_entropy" else "x, axis=-1"
    more = "a, k = (logits, target), {'reduction': reduction} | ({} if weight is None else {'weight': weight})\n    "
    body = (more if op == "cross_entropy" else "") + lines
    sound = (
        f"import numpy as np\nfrom xent_verify.implementations import find\nsound = find('stable', '{op}').call\n\n\n"
    )
    source = tmp_path / "odd.py"
    source.write_text(f"{sound}def odd({head}):\n    {body}\n")
    script = failing(audit(f"{source}:odd", op=op, dtypes=["float32"], profile="quick"))[kind].script
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    source.write_text(f"{sound}odd = sound\n")
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_scripts_repeat_only_what_is_repeated() -> None:
    """Layout "broadcast": logits of stride 0 are so in the script; targets whose rows differ stay what they are."""
    inputs = {"logits": np.zeros((2, 2), np.float32), "target": np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)}
    text = script("m:f", Example(inputs, {}, "broadcast", (), "", 0.0, 0.0, None, None), kind="nan", dtype="float32")
    assert "logits = np.broadcast_to(logits[:1], logits.shape)" in text
    assert "broadcast_to(target" not in text


def test_a_target_that_only_hangs_is_given_up(tmp_path: Path) -> None:
    """After five timeouts without an answer nothing more is asked; the report tells what was left out."""
    source = tmp_path / "stuck.py"
    source.write_text("import time\n\ndef softmax(x, axis=-1):\n    time.sleep(600)\n")
    report = audit(f"{source}:softmax", op="softmax", dtypes=["float32"], profile="quick", timeout=0.3)
    (result,) = report.targets[0].dtypes
    assert result.classes["timeout"] == 5
    assert any(note.startswith("not asked (after repeated crashes or timeouts)") for note in result.unasked)


def test_a_crash_in_one_regime_leaves_the_others(tmp_path: Path) -> None:
    """A target that dies on NaN is asked for everything else, and for NaN only a few times."""
    source = tmp_path / "fragile.py"
    source.write_text(
        "import os\nimport numpy as np\n\ndef softmax(x, axis=-1):\n"
        "    if np.isnan(x).any():\n        os._exit(3)\n"
        "    e = np.exp(x - x.max(axis=axis, keepdims=True))\n    return e / e.sum(axis=axis, keepdims=True)\n"
    )
    report = audit(f"{source}:softmax", op="softmax", dtypes=["float32"], profile="quick")
    (result,) = report.targets[0].dtypes
    assert "crash" in {finding.kind for finding in result.signs}
    assert {"ordinary", "masks"} <= {regime.regime for regime in result.regimes}


@pytest.mark.parametrize(
    ("header", "opened"),
    [("x, axis=-1", False), ("x, dim=-1", True), ("x, axis=0", True), ("x, axis=-1, *, scale", True)],
)
def test_the_script_opens_what_is_not_called_as_the_operation_is(tmp_path: Path, header: str, opened: bool) -> None:
    """A function of another signature, or one that needs arguments, goes through the package; it reproduces as well."""
    name = "dim" if "dim" in header else "axis"
    source = tmp_path / "other.py"
    source.write_text(
        f"import numpy as np\n\n\ndef softmax({header}):\n    e = np.exp(x)\n"
        f"    return e / e.sum(axis={name}, keepdims=True)\n"
    )
    extra = {"scale": 1.0} if "scale" in header else {}
    report = audit(f"{source}:softmax", op="softmax", dtypes=["float32"], profile="quick", kwargs=extra)
    code = failing(report)["nan"].script
    assert ("open_candidate(" in code) == opened
    alone = tmp_path / "reproduce.py"
    alone.write_text(code)
    done = subprocess.run([sys.executable, str(alone)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_the_same_seed_gives_the_same_json() -> None:
    """Two audits of the same target with one seed are the same JSON, byte for byte, outside the environment block."""
    texts = []
    for _ in range(2):
        data = json.loads(
            audit("naive", op="logsumexp", dtypes=["float16"], profile="quick", seed=3, isolated=False).to_json()
        )
        data.pop("environment")
        texts.append(json.dumps(data, sort_keys=True))
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("writes_to_its_input", "input_mutated"),
        ("shares_a_buffer", "stateful"),
        ("returns_wrong_shape", "shape"),
        ("returns_wrong_dtype", "dtype"),
        ("returns_none", "dtype"),
        ("raises", "exception"),
        ("aborts", "crash"),
        ("batch_wide", "nan"),
        ("reads_storage", "inaccurate"),
        ("nondeterministic", "inaccurate"),
    ],
)
def test_misconduct_is_a_finding(name: str, kind: str) -> None:
    """What a target does wrong besides its values becomes a finding of its kind, and the audit goes on to its end."""
    few = ["ordinary", "masks", "layouts", "nan", "common_offset"]
    report = audit(f"{TARGETS}:{name}", op="softmax", dtypes=["float32"], profile="quick", regimes=few)
    assert kind in failing(report)


def test_functions_that_offer_less_are_audited_for_what_they_offer() -> None:
    """Row-only functions, other axis names and partial signatures pass when what they offer is right."""
    for name, op in (("softmax", "softmax"), ("softmax_dim", "softmax"), ("cross_entropy_plain", "cross_entropy")):
        report = audit(getattr(targets, name), op=op, dtypes=["float32"], profile="quick")
        assert report.ok, (name, failing(report))
    offered = report.targets[0].dtypes[0].offered
    assert offered["weight"] is False


def test_assert_accurate_tells_the_finding() -> None:
    """A failing target raises AssertionError with the minimal case; a sound one returns."""
    xent_verify.assert_accurate(targets.softmax, op="softmax", dtypes=["float32"], profile="quick")
    with pytest.raises(AssertionError, match=r"NaN where a number is due"):
        xent_verify.assert_accurate(targets.batch_wide, op="softmax", dtypes=["float32"], profile="quick")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"op": "sofmax"}, "did you mean 'softmax'"),
        ({"op": "softmax", "dtypes": ["float23"]}, "did you mean 'float32'"),
        ({"op": "softmax", "policy": "standart"}, "did you mean 'standard'"),
        ({"op": "softmax", "policy": "ulp:much"}, "non-negative numbers K"),
        ({"op": "softmax", "special": "nany"}, "did you mean 'any'"),
        ({"op": "softmax", "profile": "quik"}, "did you mean 'quick'"),
        ({"op": "softmax", "flush": "never"}, "flush rule"),
        ({"op": "cross_entropy", "dtypes": ["float8_e5m2"]}, "unknown dtype for cross_entropy"),
        ({"op": "softmax", "timeout": 0}, "positive number of seconds"),
    ],
)
def test_impossible_requests_are_one_clear_line(options: dict[str, object], words: str) -> None:
    """Unknown names and impossible values raise UsageError before anything runs."""
    with pytest.raises(UsageError, match=words) as caught:
        audit(targets.softmax, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, (UsageError, UnknownNameError))


def test_names_may_be_one_text() -> None:
    """A text is the names in it, with commas between, and not its letters."""
    found = audit(
        targets.softmax, op="softmax", dtypes="float32, float16", profile="quick", regimes="ordinary", without="axes"
    )
    assert [one.dtype for one in found.targets[0].dtypes] == ["float32", "float16"]
    assert {regime.regime for regime in found.targets[0].dtypes[0].regimes} == {"ordinary"}


def test_policies_differ_as_they_say() -> None:
    """A float16 accumulator fails standard and passes native; half an ulp of slack fails faithful; allclose is lax."""

    def narrow(x: np.ndarray, axis: int = -1) -> np.ndarray:
        e = np.exp(x - x.max(axis=axis, keepdims=True)) if x.shape[axis] else x.copy()
        total = np.add.accumulate(e, axis=axis, dtype=x.dtype)
        return (e / np.take(total, [-1], axis=axis)).astype(x.dtype) if x.shape[axis] else e

    def ok(policy: str) -> bool:
        return audit(narrow, op="softmax", dtypes=["float16"], profile="quick", policy=policy).ok

    assert [ok("standard"), ok("native"), ok("faithful")] == [False, True, False]


def test_an_operation_from_outside_is_audited_without_an_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--op module:OP brings its own formula and algorithms: truth comes from the formula, limits from the algorithms."""
    (tmp_path / "squareplus.py").write_text(
        "import numpy as np\n"
        "from xent_verify.ops import Op\n"
        "def formula(a, row, wanted):\n    terms = a.row([row.values[0][0], 0.0])\n    return [a.number(2) * terms.p(0)]\n"
        "def quotient(a, x):\n    return 2 / (1 + a.exp(-x))\n"
        "OP = Op('twice_sigmoid', 'twice the sigmoid', {'x': 'row'}, {}, 'elements', formula, {'quotient': quotient},\n"
        "        by_row=False)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    good = audit(
        lambda x: (2 / (1 + np.exp(-x))).astype(x.dtype), op="squareplus:OP", dtypes=["float64"], profile="quick"
    )
    bad = audit(
        lambda x: (2.001 / (1 + np.exp(-x))).astype(x.dtype), op="squareplus:OP", dtypes=["float64"], profile="quick"
    )
    assert not bad.ok
    assert good.targets[0].dtypes[0].cases > 0


def test_a_report_prints_as_the_terminal_shows_it_and_its_columns_do_not_depend_on_what_was_found() -> None:
    """``print`` and notebooks show a table and the verdict; frames of good and bad news can be joined."""
    asked = {"op": "softmax", "dtypes": "float32", "profile": "quick", "regimes": "ordinary, overflow_edge"}
    good, bad = (audit(name, **asked, isolated=False) for name in ("stable", "naive"))
    assert "✗ fail" in str(bad)
    assert "1 of 1 target × dtype pairs fail" in str(bad)
    assert repr(bad).startswith("<AuditReport: 1 of 1")
    assert "1 of 1 target × dtype pairs fail" in bad._repr_html_()
    assert list(good.to_frame().columns) == list(bad.to_frame().columns)
    assert good.to_frame()["inaccurate"].tolist() == [0]
