"""Recall and false alarms of the default audit over a corpus of faulty and clean implementations, and tightness.

    python benchmarks/recall.py CORPUS [--profile standard] [--dtype float32] [--only NAME] [--json FILE]

CORPUS is a folder with ``manifest.json`` ({"entries": [{"name", "kind": "mutant" | "clean", "op", "dtypes", "category",
"contested"}]}) and Python files that define the named functions. Without a folder, the package's own zoo and its
sound implementations are the corpus. A faulty entry counts as caught in a dtype when the audit fails (or warns, if
contested); tightness is the largest error over bound that each clean implementation reached.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xent_verify.audit import audit
from xent_verify.implementations import IMPLEMENTATIONS, ZOO
from xent_verify.model import DtypeResult


@dataclass(frozen=True)
class Item:
    """One implementation of the corpus."""

    name: str
    clean: bool
    op: str
    dtypes: tuple[str, ...]
    category: str
    contested: bool
    call: Callable[..., Any]
    policy: str = "standard"


def from_folder(folder: Path) -> Iterator[Item]:
    """The corpus described by a manifest."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found |= vars(module)
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["entries"]:
        clean = entry["kind"] == "clean"
        yield Item(
            entry["name"], clean, entry["op"], tuple(entry["dtypes"]), "clean" if clean else entry["category"],
            bool(entry.get("contested")), found[entry["name"]],
        )  # fmt: skip


def own() -> Iterator[Item]:
    """The package's zoo and its sound implementations."""
    for fault in ZOO:
        yield Item(fault.name, False, fault.op, tuple(fault.formats), fault.category, False, fault.call)
    for entry in IMPLEMENTATIONS:
        if entry.sound:
            dtypes = ("float64", "float32", "float16", "bfloat16")
            yield Item(f"{entry.op}.{entry.name}", True, entry.op, dtypes, "clean", False, entry.call, entry.policy)


def caught(item: Item, result: DtypeResult) -> bool:
    severities = {"fail", "warn"} if item.contested else {"fail"}
    return any(finding.severity in severities for finding in result.findings)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="?", type=Path)
    parser.add_argument("--profile", default="standard")
    parser.add_argument("--dtype", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    items = list(from_folder(arguments.corpus) if arguments.corpus else own())
    wanted = {name for name in arguments.dtype.split(",") if name}
    tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    named = [0, 0]
    misses, alarms, ratios, record = [], [], [], []
    start = time.perf_counter()
    for item in items:
        if arguments.only and arguments.only not in item.name:
            continue
        dtypes = [name for name in item.dtypes if not wanted or name in wanted]
        if not dtypes:
            continue
        began = time.perf_counter()
        report = audit(item.call, op=item.op, dtypes=dtypes, profile=arguments.profile, policy=item.policy)
        took = time.perf_counter() - began
        for result in report.targets[0].dtypes:
            kinds = sorted({finding.kind for finding in result.findings if finding.severity == "fail"})
            label = f"{item.name} {result.dtype}"
            record.append({"name": item.name, "dtype": result.dtype, "kinds": kinds, "ratio": result.max_bound_ratio})
            if item.clean:
                ratios.append((label, result.max_bound_ratio))
                tally["clean"][1] += 1
                tally["clean"][0] += not kinds
                if kinds:
                    alarms.append(f"{label}: {kinds}")
                continue
            hit = caught(item, result)
            tally[item.category][1] += 1
            tally[item.category][0] += hit
            if hit:
                diagnoses = [finding.diagnosis for finding in result.findings if finding.diagnosis]
                named[0] += bool(diagnoses)
                named[1] += 1
                print(f"  {label}: {kinds} | {(diagnoses or ['(no diagnosis)'])[0][:150]}")
            else:
                misses.append(label)
        print(f"{item.name}: {took:.1f} s", file=sys.stderr)
    print(f"\nprofile {arguments.profile}, {time.perf_counter() - start:.0f} s")
    for category, (hits, count) in sorted(tally.items()):
        print(f"{category:28} {hits:4}/{count}")
    print(f"diagnosed: {named[0]}/{named[1]} of the caught")
    print("missed:", *(misses or ["none"]), sep="\n  ")
    print("false alarms:", *(alarms or ["none"]), sep="\n  ")
    print("tightness (largest error / bound on clean code):", *(f"{n}: {r:.3f}" for n, r in ratios), sep="\n  ")
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1))
    return 1 if misses or alarms else 0


if __name__ == "__main__":
    sys.exit(main())
