"""Runs inside a library's environment (``harvest.py`` starts it): every audit of one library, written as it goes."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from entries import Entry, entries, read

from xent_verify.auditing.audit import AuditReport, audit
from xent_verify.core.environment import describe
from xent_verify.core.failures import UsageError
from xent_verify.report import summary_frame
from xent_verify.report.json import as_json
from xent_verify.vectors import Selection, chosen, judged, read_answers, read_vectors, write_vectors

_FIGURES = ("correctly_rounded", "p99_ulp", "max_kl_nats", "losses_to_zero")
"""Of the summary's columns."""

_TOLD = ("kind", "severity", "message", "count", "regimes", "diagnosis")
"""Of a part of a finding."""

FOLDER = Path("build/answers")
TIMEOUT = 60.0
BUDGET = 1500.0
"""Seconds for one target, operation and format: libraries that compile for each shape are slow."""


def compact(finding: dict[str, Any]) -> dict[str, Any]:
    """A finding without its worst example, and its parts in words; what is only information also without its minimal one
    and its script."""
    kept = {key: value for key, value in finding.items() if key != "worst" and not key.startswith("share")}
    if "parts" in kept:
        kept["parts"] = [{name: part[name] for name in _TOLD if name in part} for part in kept["parts"]]
    if finding["severity"] == "info":
        kept = {key: value for key, value in kept.items() if key not in ("minimal", "script")}
    return kept


def _number(value: float) -> float | str | None:
    """As strict JSON has it."""
    return None if math.isnan(value) else value if math.isfinite(value) else str(value)


def judged_answers(entry: Entry, profile: str) -> AuditReport:
    """Code that cannot be imported: a program of the table reads vectors and prints its answers."""
    stem = f"{entry.target}-{entry.op}-{entry.dtype}".replace("/", "-").replace(":", "-")
    asked, given = (FOLDER / f"{stem}.{kind}.json" for kind in ("vectors", "answers"))
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_vectors(chosen([entry.op], [entry.dtype], Selection(profile, rows=8, longest=500, per_regime=8)), asked)
    done = subprocess.run([*shlex.split(entry.settings["answers"]), str(asked)], stdout=subprocess.PIPE, check=True)  # noqa: S603  the table's
    given.write_bytes(done.stdout)
    vectors = read_vectors(asked)
    policy = entry.settings.get("policy", "standard")
    return judged(vectors, read_answers(given, vectors), policy=policy, files=(asked, given))


def audited(entry: Entry, profile: str) -> dict[str, Any]:
    """One target, op and format."""
    settings = {"profile": profile, "timeout": TIMEOUT, "budget": BUDGET, **entry.settings}
    place = {"target": entry.target, "op": entry.op, "dtype": entry.dtype}
    try:
        report = (
            judged_answers(entry, profile)
            if "answers" in settings
            else audit(entry.target, op=entry.op, dtypes=[entry.dtype], **settings)
        )
    except UsageError as error:
        return {**place, "settings": settings, "error": str(error)}
    place["settings"] = as_json(report, regimes=False)["targets"][0]["settings"]
    place["settings"] |= {name: value for name, value in settings.items() if name == "answers"}
    (found,) = as_json(report, regimes=False)["targets"][0]["dtypes"]
    (row,) = summary_frame(report).to_dict("records")
    where = {name: row[name] for name in ("worst_input", "worst_true", "worst_observed")}
    where |= {name: _number(row[name]) for name in _FIGURES}
    return {**place, **found, **where, "findings": [compact(item) for item in found["findings"]]}


def key_of(result: dict[str, Any]) -> tuple[str, str, str, str]:
    """``Entry.key`` of what was recorded."""
    return result["target"], result["op"], result["dtype"], result.get("settings", {}).get("call", "")


def main() -> None:
    """Every target of the library's table; what an earlier run finished is kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("table", type=Path)
    parser.add_argument("name")
    parser.add_argument("out", type=Path)
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--again", default="")
    arguments = parser.parse_args()
    library = read(arguments.table)[arguments.name]
    versions = {name: metadata.version(name) for name in library["versions"]} | library.get("releases", {})
    document: dict[str, Any] = {
        "library": arguments.name,
        "versions": versions,
        "profile": arguments.profile,
        "seed": 0,
    }
    document |= {"environment": describe(), "results": []}
    if arguments.out.exists():
        earlier = json.loads(arguments.out.read_text())
        if (earlier["versions"], earlier["profile"]) == (versions, arguments.profile):
            document["results"] = earlier["results"]
    again = arguments.again.split(",")
    document["results"] = [item for item in document["results"] if item["op"] not in again and "error" not in item]
    asked = entries(library)
    order = [entry.key for entry in asked]
    document["results"] = [item for item in document["results"] if key_of(item) in order]
    done = set(map(key_of, document["results"]))
    for entry in asked:
        if entry.key in done:
            continue
        result = audited(entry, arguments.profile)
        document["results"].append(result)
        document["results"].sort(key=lambda item: order.index(key_of(item)))
        arguments.out.write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        kinds = sorted({item["kind"] for item in result.get("findings", ()) if item["severity"] == "fail"})
        print(
            f"{entry.target} {entry.op} {entry.dtype}: {result.get('error') or ', '.join(kinds) or 'pass'}", flush=True
        )


if __name__ == "__main__":
    main()
