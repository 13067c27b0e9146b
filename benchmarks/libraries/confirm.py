"""Runs inside a library's environment (``harvest.py`` starts it): is every finding of severity fail really there?

Its script is run alone in a fresh interpreter, and the true value is computed again by ``textbook.py``, which shares
nothing with this package's truth: plain formulas in mpmath at some thousand bits. A finding is confirmed when the script
shows the recorded answer, and the true values and the errors agree. What is no single number (a law, a
shape, an exception) is confirmed by asking again. The outcome stands beside the finding.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mpmath
from textbook import true_value

from xent_verify import companions, laws
from xent_verify.auditing.audit import Settings, opened
from xent_verify.auditing.findings import Asker
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch, Raised
from xent_verify.ops import op_named
from xent_verify.report.arrays import decode_array

TIMEOUT = 600
SECONDS = 90
BITS = 400
AGREEMENT = {True: mpmath.mpf(10) ** -20, False: mpmath.mpf(2) ** -40}
"""float64 or not: how closely the true values agree. Narrow formats are certified to 2**-20 of their own ulp."""

NOTHING = mpmath.mpf(2) ** -1100
"""Rounds to 0 in every format; a sum that is 0 comes out no larger."""

ALONE = frozenset({"exception", "crash", "timeout"})


def arrays(example: dict[str, Any]) -> dict[str, Any]:
    """The inputs of an example."""
    return {item["name"]: decode_array(item) for item in example["inputs"]}


def options(example: dict[str, Any]) -> dict[str, Any]:
    """Its options."""
    return {name: _option(value) for name, value in example["options"].items()}


def _option(value: Any) -> Any:
    if isinstance(value, dict):
        return decode_array(value) if "bits" in value else float.fromhex(value["hex"])
    return value


def number(text: Any) -> mpmath.mpf:
    """A recorded true value: digits, a power of two, a special value by name; 0 for what is told by a bound."""
    if str(text).startswith("below"):
        return mpmath.mpf(0)
    base, power, exponent = str(text).partition("2^")
    if power and base in ("", "-"):
        return mpmath.mpf(2) ** int(exponent) * (-1 if base else 1)
    return mpmath.mpf(str(text))


def same(first: Any, second: Any) -> bool:
    """Equal, or NaN both."""
    return bool(first == second or (first != first and second != second))


def of_value(result: dict[str, Any], finding: dict[str, Any]) -> dict[str, Any]:
    """A wrong number: script, truth and error."""
    example = finding["minimal"]
    form = result.get("settings", {}).get("result") or result["dtype"]
    done = subprocess.run(
        [sys.executable, "-"], input=finding["script"], capture_output=True, text=True, timeout=TIMEOUT
    )
    shown = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("observed")]
    recorded = float(example["observed"])
    found: dict[str, Any] = {"script_exit": done.returncode, "observed": shown[0] if shown else None}
    agrees = done.returncode == 1 and bool(shown) and same(float(shown[0]), recorded)
    true = true_value(result["op"], arrays(example), options(example), tuple(example["index"]))
    found["true"] = mpmath.nstr(true, 30)
    told = number(example["true_value"])
    bounded = str(example["true_value"]).startswith("below")
    if bounded:
        agrees &= bool(abs(true) < max(mpmath.mpf(str(example["true_value"]).split()[1]), NOTHING))
    elif mpmath.isfinite(true) and str(example["true_value"]).count("2^") == 0:
        agrees &= bool(abs(true - told) <= abs(true) * AGREEMENT[form == "float64"])
        agrees &= _error_agrees(true, recorded, example["error_ulp"], form)
    elif not mpmath.isfinite(true):
        agrees &= same(true, told)
    better = (
        agrees and mpmath.isfinite(true) and not bounded
    )  # below a bound the plain formula may hold roundings alone
    told_again = {**example, "true_value": found["true"]} if better else example
    return {"minimal": told_again, "confirmed": bool(agrees), "confirmation": found}


def _error_agrees(true: Any, observed: float, recorded: Any, dtype: str) -> bool:
    """|y - t| / ulp(t), from scratch, where both are numbers; no error was recorded where the truth was thought to be none."""
    form = FORMATS[dtype]
    if not math.isfinite(observed) or abs(true) > form.max_finite:
        return True
    if recorded is None or not math.isfinite(float(recorded)):
        return recorded is not None
    power = form.e_min if true == 0 else max(int(mpmath.floor(mpmath.log(abs(true), 2))), form.e_min)
    error = abs(mpmath.mpf(observed) - true) / mpmath.mpf(2) ** (power - form.precision + 1)
    return bool(abs(error - mpmath.mpf(float(recorded))) <= mpmath.mpf(2) ** -18 * (1 + error))


def of_conduct(result: dict[str, Any], finding: dict[str, Any]) -> dict[str, Any]:
    """What is no single number: the same question again, in this process."""
    op, example = op_named(result["op"]), finding["minimal"]
    if "vectors" in result.get("settings", {}):
        return {"confirmed": False, "confirmation": {"why": "answers of a file cannot be asked again"}}
    settings = replace(Settings.of(result.get("settings", {})), isolated=False, timeout=60.0, budget=0.0)
    check = finding.get("relation") or finding["message"].partition(": ")[0]
    known = {*laws.LAWS, *(one.name for one in companions.COMPANIONS)}
    name = finding["message"].partition(":")[0]
    if finding["kind"] in ALONE:
        ended = _ended(finding["script"])
        if "NotOffered" not in ended:
            there = {"exception": name in ended, "crash": ended.startswith("signal"), "timeout": ended == "no answer"}
            return {"confirmed": there[finding["kind"]], "confirmation": {"the script alone": ended}}
    batch = Batch(op.name, result["dtype"], "", arrays(example), options(example), example["layout"])
    if finding["kind"] in ALONE:
        return _unreduced(result["target"], settings, batch, name)
    with opened(result["target"], op, settings) as candidate:
        asker = Asker(op, candidate.call, settings.rules, candidate.name, candidate.expression)
        again = asker.reproduces(batch, finding["kind"], "fail", check if check in known else "")
    return {"confirmed": again, "confirmation": {"asked again": again}}


def _ended(script: str) -> str:
    """How a script ends: its exception, the signal that ended it, or no answer in time."""
    try:
        done = subprocess.run(
            [sys.executable, "-"], input=script, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "no answer"
    if done.returncode < 0:
        return f"signal {-done.returncode}"
    lines = [line for line in done.stderr.splitlines() if re.match(r"\w[\w.]*(Error|Exception|Interrupt|Exit)\b", line)]
    return (lines or ["no exception"])[-1][:200]


def _unreduced(target: str, settings: Settings, batch: Batch, name: str) -> dict[str, Any]:
    """An exception of a target that offers single losses only, minimised to a call without that option."""
    with opened(target, op_named(batch.op), settings) as candidate:
        outcome = candidate.call(replace(batch, options={**batch.options, "reduction": "none"}))
    raised = isinstance(outcome, Raised) and outcome.type_name == name
    return {"confirmed": raised, "confirmation": {"with reduction none": str(outcome)[:200]}}


def confirmed(result: dict[str, Any], finding: dict[str, Any]) -> dict[str, Any]:
    """The finding with its confirmation."""
    example = finding.get("minimal")
    if example is None:
        return {**finding, "confirmed": False, "confirmation": {"why": "no minimal case"}}
    check = finding.get("relation") or finding["message"].partition(": ")[0]
    law = check in {*laws.LAWS, *(one.name for one in companions.COMPANIONS)}
    plain = bool(example["true_value"]) and not law
    return {**finding, **(of_value(result, finding) if plain else of_conduct(result, finding))}


def main() -> None:
    """Every failure of one library's file that has no confirmation yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    document = json.loads(arguments.out.read_text())
    mpmath.mp.prec = BITS  # for comparisons; true values are worked out at more
    for result in document["results"]:
        for place, finding in enumerate(result.get("findings", ())):
            if finding["severity"] != "fail" or finding.get("confirmed"):
                continue
            result["findings"][place] = told = confirmed(result, finding)
            where = f"{result['target']} {result['op']} {result['dtype']} {finding['kind']}"
            print(f"{'confirmed' if told['confirmed'] else 'NOT CONFIRMED'} {where} {told['confirmation']}", flush=True)
            arguments.out.write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
