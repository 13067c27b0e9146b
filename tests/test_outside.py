"""What callers bring from outside the package by ``module:attribute``: operations, policies, regimes, laws, arrays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from xent_verify import audit
from xent_verify.auditing.audit import merged
from xent_verify.candidates.adapters import adapter_named
from xent_verify.cli import run
from xent_verify.core import formats
from xent_verify.core.failures import UsageError
from xent_verify.core.outside import is_outside
from xent_verify.laws import law_named
from xent_verify.ops import op_named
from xent_verify.regimes import plan
from xent_verify.report import from_json, to_json
from xent_verify.scripts import array_expression
from xent_verify.verdict.policies import parse_policy

THINGS = """
import numpy as np
from xent_verify.laws import Law
from xent_verify.ops import Op, Option
from xent_verify.verdict.policies import Policy
from xent_verify.regimes import Regime

def formula(a, row, wanted):
    x, y = row.values
    share = dict(enumerate(y)) if np.ndim(y) else {int(y): 1.0}
    terms, total = a.row(x), a.number(0)
    for c, value in share.items():
        if value:
            total = total - a.number(2) * a.number(value) * terms.log_p(c)
    return [total for _ in wanted]

def composed(a, logits, target, reduction):
    d = logits - a.max(logits)
    losses = a.log(a.sum(a.exp(d))) - d
    picked = a.take(losses, target) if a.is_labels(target) else a.sum(a.weigh(target, losses))
    return a.reduce(2 * picked, a.count(logits), reduction)

OP = Op("twice", "twice the loss", {"logits": "row", "target": "target"}, {"reduction": Option("mean", "reduction")},
        "loss", formula, {"composed": composed},
        laws=("things:LAW",), formats=("float64",))
LAW = Law("never", "no answer keeps it", lambda given: given.hit("a law that nothing keeps", given.live * 2.0))
POLICY = Policy("mine", "half an ulp", "ulp", ulps=0.5)
REGIME = Regime("pairs_of_mine", "a row of two", lambda c: [c.batch(np.array([[1.0, 2.0]]))])

class Arrays:
    def __init__(self, argument, device):
        self.device = device
"""


@pytest.fixture(autouse=True)
def things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module ``things`` in the current folder, which is on no path but the one that targets are found by."""
    (tmp_path / "things.py").write_text(THINGS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "things", raising=False)


def twice(logits: np.ndarray, target: np.ndarray, reduction: str = "mean") -> np.ndarray:
    """What ``things:OP`` asks for."""
    d = logits - logits.max(axis=1, keepdims=True)
    y = target if target.ndim == 2 else np.eye(logits.shape[1])[target]
    gaps = np.where(y != 0, np.log(np.exp(d).sum(axis=1, keepdims=True)) - d, 0)
    loss = 2 * (y * gaps).sum(axis=1)
    return {"none": loss, "sum": loss.sum(), "mean": loss.mean()}[reduction]


@pytest.mark.parametrize("named", [op_named, parse_policy, law_named, adapter_named], ids=lambda f: f.__name__)
def test_what_is_no_such_thing_is_refused_in_one_line(named: Callable[[str], Any]) -> None:
    """A module or an attribute that is not there, and an attribute of another kind, raise UsageError naming both."""
    for name, words in (
        ("nowhere:OP", "nowhere"),
        ("things:NOTHING", "NOTHING"),
        ("things:np", "things:np: is a module"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            named(name)
        assert "\n" not in str(caught.value)


def test_modules_of_the_current_folder_are_found() -> None:
    """As for targets: no PYTHONPATH is needed."""
    assert op_named("things:OP").name == "twice"
    assert adapter_named("things:Arrays", "cuda").device == "cuda"


@pytest.mark.parametrize("isolated", [True, False])
def test_a_device_is_named_in_the_environment(tmp_path: Path, isolated: bool) -> None:
    """An adapter says where its arrays lie; reports, and reports put together, say it too."""
    (tmp_path / "devices.py").write_text(
        "from xent_verify.candidates.adapters.numpy_arrays import Arrays as Plain\n\n"
        "class Arrays(Plain):\n    where = 'toy:0, driver 7'\n"
    )
    settings: dict[str, Any] = {"op": "sigmoid", "dtypes": ["float8_e5m2"], "profile": "quick", "isolated": isolated}
    target = tmp_path / "f.py"
    target.write_text(
        "import numpy as np\n\ndef f(x):\n    return (1 / (1 + np.exp(-x.astype('f8')))).astype(x.dtype)\n"
    )
    there = audit(f"{target}:f", arrays="devices:Arrays", **settings)
    assert there.environment["devices"] == ["toy:0, driver 7"]
    here = audit(f"{target}:f", **settings)
    assert "devices" not in here.environment
    assert merged([here, there]).environment["devices"] == ["toy:0, driver 7"]
    assert from_json(to_json(there)).environment["devices"] == ["toy:0, driver 7"]


def test_a_name_with_a_colon_may_be_something_else() -> None:
    """``ulp:4``, ``array-api:cupy`` and free text are no names of modules."""
    assert not is_outside("ulp:4", ["ulp"])
    assert not is_outside("array-api:cupy")
    assert not is_outside("a law: of words")
    assert is_outside("my.module:OP")


def test_a_policy_of_ones_own_judges_and_is_recorded(tmp_path: Path) -> None:
    """--policy module:attribute decides, and the result names it, so that it can be replayed."""
    arguments = ["--op", "softmax", "--dtype", "float32", "--regimes", "pairs,wide_spread", "--json", "r.json"]
    assert run(["audit", "stable", *arguments, "--profile", "quick", "--policy", "things:POLICY"]) == 1
    assert json.loads((tmp_path / "r.json").read_text())["settings"]["policy"] == "things:POLICY"
    assert run(["replay", "r.json", "--trust"]) == 1


def test_only_the_regimes_that_are_named_are_tried() -> None:
    """Names of the table come in its order, then those from outside; an unknown one is refused before anything runs."""
    found = [batch.regime for batch in plan("softmax", "float32", profile="quick", regimes=("things:REGIME", "ties"))]
    assert list(dict.fromkeys(found)) == ["ties", "pairs_of_mine"]
    with pytest.raises(UsageError, match="unknown regime 'tie'; did you mean 'ties'"):
        audit(twice, op="softmax", regimes=["tie"])


def test_an_operation_from_outside_is_asked_only_what_it_defines() -> None:
    """A sound loss of one's own passes: no infinities, no empty rows, no class to ignore; its own law is checked."""
    report = audit(twice, op="things:OP", dtypes=["float64"], profile="quick")
    assert {finding.kind for finding in report.signs if finding.severity == "fail"} == {"property"}
    assert any("things:LAW: a law that nothing keeps" in finding.text for finding in report.signs)


def test_a_finding_of_an_operation_from_outside_can_be_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The result says where the operation is, and which law of one's own was broken."""
    (tmp_path / "mine.py").write_text(
        "import numpy as np\ndef f(logits, target, reduction='mean'):\n    return 0 * np.exp(logits).sum()\n"
    )
    assert (
        run(
            [
                "audit",
                "mine.py:f",
                "--op",
                "things:OP",
                "--dtype",
                "float64",
                "--regimes",
                "default_call",
                "--json",
                "r.json",
            ]
        )
        == 1
    )
    assert json.loads((tmp_path / "r.json").read_text())["settings"]["op"] == "things:OP"
    capsys.readouterr()
    assert run(["replay", "r.json", "--trust"]) == 1
    assert "still fails" in capsys.readouterr().out


def test_a_format_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row in the table is enough for a sound softmax to pass, a naive one to fail, and a script to name the dtype."""
    row = formats._row("float8_e3m4", 5, -2, 3, 8, ml_dtypes.float8_e3m4)
    monkeypatch.delitem(formats.FORMATS, "float8_e3m4")
    monkeypatch.setitem(formats.FORMATS, "float8_e3m4", row)
    x = np.array([1.0, 2.0], ml_dtypes.float8_e3m4)
    assert array_expression(x) == "np.array([1.0, 2.0], dtype=ml_dtypes.float8_e3m4)"
    assert row.max_finite == 15.5
    assert {batch.x.dtype.name for batch in plan("softmax", "float8_e3m4", profile="quick", regimes=("ties",))} == {
        "float8_e3m4"
    }
