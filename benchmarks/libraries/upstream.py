"""Which known defects of the libraries that are installed here are present, and which are fixed.

    python benchmarks/libraries/upstream.py [--libraries reports/libraries] [--fail-if-present] [NAME ...]

Runs the script of every confirmed failure with a number (``reports/libraries/*.json``) in this interpreter's environment. A
script needs NumPy and the library, holds the minimal row and the true value, and exits 1 where the answer is wrong. Prints a
line for each: ``present``, ``fixed``, or why it was not run; exits 1 where one is present and ``--fail-if-present`` is given,
5 where no script was run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 120
WORDS = {0: "fixed", 1: "present"}


def installed(versions: dict[str, str]) -> str:
    """The versions that are installed, in words; "" where a distribution is missing."""
    try:
        return ", ".join(f"{name} {metadata.version(name)}" for name in versions)
    except metadata.PackageNotFoundError:
        return ""


def defects(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, finding) of every confirmed failure that a script shows by its number."""
    for result in document["results"]:
        for finding in result.get("findings", ()):
            shown = finding["severity"] == "fail" and finding.get("confirmed") and finding.get("script")
            if shown and "script_exit" in finding.get("confirmation", {}):
                yield f"{result['target']} {result['op']} {result['dtype']} {finding['kind']}", finding


def state(script: str) -> str:
    """Whether the script's defect is there."""
    try:
        done = subprocess.run(
            [sys.executable, "-"], input=script, capture_output=True, text=True, timeout=SECONDS, cwd=ROOT, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not run: no answer within {SECONDS} s"
    if "observed" not in done.stdout:
        return f"not run: {(done.stderr.strip().splitlines() or ['no output'])[-1][:150]}"
    return WORDS.get(done.returncode, f"not run: exit {done.returncode}")


def main() -> int:
    """Every library that is installed, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--libraries", type=Path, default=ROOT / "reports" / "libraries")
    parser.add_argument("--fail-if-present", action="store_true")
    arguments = parser.parse_args()
    count: Counter[str] = Counter()
    for path in sorted(arguments.libraries.glob("*.json")):
        document = json.loads(path.read_text())
        here = installed(document["versions"])
        if not here or (arguments.names and document["library"] not in arguments.names):
            continue
        recorded = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
        print(f"{here} (recorded with {recorded})")
        for where, finding in defects(document):
            found = state(finding["script"])
            count[found.partition(":")[0]] += 1
            print(
                f"  {found:8} {where}: {finding['minimal']['observed']} for {finding['minimal']['true_value'][:24]}",
                flush=True,
            )
    print(
        ", ".join(f"{number} {word}" for word, number in sorted(count.items()))
        or "no library of the reports is installed"
    )
    if not sum(number for word, number in count.items() if word != "not run"):
        return 5
    return 1 if arguments.fail_if_present and count["present"] else 0


if __name__ == "__main__":
    sys.exit(main())
