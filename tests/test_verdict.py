"""One JSON verdict: what passes, what is limited, what fails, what nobody knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xent_verify.cli import run

FILE = """
import numpy as np
def stable(x, axis=-1):
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)
def last(x):
    return stable(x)
def zeros(x, axis=-1):
    return np.zeros_like(x)
def broken(x, axis=-1):
    raise ImportError("no such kernel")
"""


def verdict(folder: Path, name: str, *more: str) -> tuple[int, dict[str, Any]]:
    (folder / "kernels.py").write_text(FILE)
    to = folder / "verdict.json"
    words = [
        "verdict",
        f"{folder / 'kernels.py'}:{name}",
        "--op",
        "softmax",
        "--dtype",
        "float32",
        "--profile",
        "quick",
    ]
    words += ["--regimes", "ordinary,overflow_edge,axes", "--in-process", "--json", str(to), *more]
    return run(words), json.loads(to.read_text())


def test_a_sound_target_passes_and_the_seed_is_told(tmp_path: Path) -> None:
    status, made = verdict(tmp_path, "stable")
    assert (status, made["verdict"], made["defects"], made["reason"]) == (0, "PASS", [], "")
    assert f"--seed {made['seed']}" in " ".join(made["command"])


def test_two_verdicts_have_two_seeds(tmp_path: Path) -> None:
    assert verdict(tmp_path, "stable")[1]["seed"] != verdict(tmp_path, "stable")[1]["seed"]


def test_an_open_seed_gives_the_same_document_again(tmp_path: Path) -> None:
    first, second = (verdict(tmp_path, "zeros", "--open-seed", "--seed", "7")[1] for _ in range(2))
    assert first == second
    assert first["seed"] == 7


def test_a_target_for_the_last_axis_alone_is_limited(tmp_path: Path) -> None:
    status, made = verdict(tmp_path, "last")
    assert (status, made["verdict"]) == (0, "LIMITED")
    assert "last axis only" in made["limits"]


def test_zeros_fail_with_the_smallest_call_and_the_true_value(tmp_path: Path) -> None:
    status, made = verdict(tmp_path, "zeros")
    assert (status, made["verdict"]) == (1, "FAIL")
    assert made["defects"][0]["true"]
    assert made["defects"][0]["given"] == "0.0"


@pytest.mark.parametrize(("name", "word"), [("broken", "FAIL"), ("stable", "INCONCLUSIVE")])
def test_a_target_that_raises_fails_and_one_that_is_not_asked_is_inconclusive(
    tmp_path: Path, name: str, word: str
) -> None:
    more = ("--only", "n > 100000") if word == "INCONCLUSIVE" else ()
    status, made = verdict(tmp_path, name, *more)
    assert made["verdict"] == word
    assert status == {"FAIL": 1, "INCONCLUSIVE": 3}[word]


@pytest.mark.parametrize(
    ("source", "reason"),
    [("def softmax(:\n", "SyntaxError"), ("import no_such_module\n", "no_such_module"), ("", "no attribute 'softmax'")],
)
def test_a_target_that_does_not_load_is_inconclusive_with_the_reason(tmp_path: Path, source: str, reason: str) -> None:
    """Whoever reads the JSON gets JSON; a wrong operation or format is still wrong use."""
    (tmp_path / "kernel.py").write_text(source)
    to = tmp_path / "verdict.json"
    words = ["verdict", f"{tmp_path / 'kernel.py'}:softmax", "--op", "softmax", "--dtype", "float32", "--json", str(to)]
    assert run(words) == 3
    made = json.loads(to.read_text())
    assert made["verdict"] == "INCONCLUSIVE"
    assert reason in made["reason"]
    assert run([*words[:3], "sofmax", *words[4:]]) == 2
    assert run([*words[:5], "float31", *words[6:]]) == 2
