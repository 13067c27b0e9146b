"""Recall and false alarms of the default audit over a corpus of faulty and clean implementations, and tightness.

    python benchmarks/recall.py CORPUS [--profile standard] [--dtype float32] [--only NAME] [--clean] [--json FILE]

CORPUS is a Python file whose META names its faulty functions (as ``tests/data/outsider_faults.py``), or a folder with
manifests, ``*.json`` ({"entries": [{"name", "kind": "mutant" | "clean", "op", "dtypes",
"category", "contested"}]}), and Python files that define the named functions. Without a folder, the package's own zoo and its
sound implementations are the corpus. A faulty entry counts as caught in a dtype when the audit fails (or warns, if
contested); tightness is the largest error over bound that each clean implementation reached, and, regime by regime, the
largest that any of them reached. ``--clean`` leaves the faulty ones out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xent_verify.auditing.audit import audit
from xent_verify.core.model import DtypeResult
from xent_verify.implementations import IMPLEMENTATIONS, ZOO
from xent_verify.ops import OPS
from xent_verify.regimes import plan


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


def _names(path: Path) -> dict[str, Any]:
    """What a Python file defines."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def from_file(path: Path) -> Iterator[Item]:
    """The faulty functions that a file's META describes."""
    found = _names(path)
    for name, entry in found["META"].items():
        yield Item(name, False, entry["op"], tuple(entry["dtypes"]), entry["kind"], False, found[name])


def from_folder(folder: Path) -> Iterator[Item]:
    """The corpus described by a manifest."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.py")):
        found |= _names(path)
    entries = [entry for path in sorted(folder.glob("*.json")) for entry in json.loads(path.read_text())["entries"]]
    for entry in entries:
        clean = entry["kind"] == "clean"
        yield Item(
            entry["name"], clean, entry["op"], tuple(entry["dtypes"]), "clean" if clean else entry["category"],
            bool(entry.get("contested")), found[entry["name"]],
        )  # fmt: skip


def items(corpus: Path | None) -> Iterator[Item]:
    if corpus is None:
        return own()
    return from_file(corpus) if corpus.suffix == ".py" else from_folder(corpus)


def own() -> Iterator[Item]:
    """The package's zoo and its sound implementations."""
    for fault in ZOO:
        yield Item(fault.name, False, fault.op, tuple(fault.formats), fault.category, fault.contested, fault.call)
    for entry in IMPLEMENTATIONS:
        if entry.sound:
            yield Item(
                f"{entry.op}.{entry.name}",
                True,
                entry.op,
                OPS[entry.op].formats,
                "clean",
                False,
                entry.call,
                entry.policy,
            )


def caught(item: Item, result: DtypeResult) -> bool:
    severities = {"fail", "warn"} if item.contested else {"fail"}
    return any(finding.severity in severities for finding in result.findings)


@dataclass
class Tally:
    """Everything counted, and how it is told."""

    profile: str
    categories: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    diagnosed: int = 0
    named: int = 0
    findings: int = 0
    signs: int = 0
    misses: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    ratios: list[tuple[str, float]] = field(default_factory=list)
    by_regime: dict[tuple[str, str], dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    record: list[dict[str, Any]] = field(default_factory=list)

    def add(self, item: Item, result: DtypeResult) -> None:
        kinds = sorted({finding.kind for finding in result.signs if finding.severity == "fail"})
        label = f"{item.name} {result.dtype}"
        self.record.append({"name": item.name, "dtype": result.dtype, "kinds": kinds, "ratio": result.max_bound_ratio})
        good = not kinds if item.clean else caught(item, result)
        counts = self.categories[item.category]
        counts[0] += good
        counts[1] += 1
        if item.clean:
            self._clean(item, result, label, kinds)
        elif good:
            diagnoses = [finding.diagnosis for finding in result.findings if finding.diagnosis]
            self.diagnosed += bool(diagnoses)
            self.named += any(not text.startswith("no known cause") for text in diagnoses)
            self.findings += sum(finding.severity == "fail" for finding in result.findings)
            self.signs += sum(finding.severity == "fail" for finding in result.signs)
            print(f"  {label}: {kinds} | {(diagnoses or ['(no diagnosis)'])[0][:150]}")
        else:
            self.misses.append(label)

    def _clean(self, item: Item, result: DtypeResult, label: str, kinds: list[str]) -> None:
        self.ratios.append((label, result.max_bound_ratio))
        reached = self.by_regime[item.op, result.dtype]
        for regime in result.regimes:
            reached[regime.regime] = max(reached.get(regime.regime, 0.0), regime.max_bound_ratio)
        if kinds:
            self.alarms.append(f"{label}: {kinds}")

    def tell(self) -> None:
        for category, (hits, count) in sorted(self.categories.items()):
            print(f"{category:28} {hits:4}/{count}")
        faults = sum(hits for name, (hits, _) in self.categories.items() if name != "clean")
        print(f"diagnosed: {self.diagnosed}/{faults} of the caught, {self.named} by a named cause")
        print(
            f"findings: {self.findings} ({self.findings / max(faults, 1):.2f} a fault), of {self.signs} kinds of failure"
        )
        print("missed:", *(self.misses or ["none"]), sep="\n  ")
        print("false alarms:", *(self.alarms or ["none"]), sep="\n  ")
        print(
            "tightness (largest error / bound on clean code):", *(f"{n}: {r:.3f}" for n, r in self.ratios), sep="\n  "
        )
        print(
            "tightness by regime (share in which some clean code reached 0.3 of the bound; median), rows asked of each:"
        )
        for (op, dtype), reached in self.by_regime.items():
            values = sorted(reached.values())
            tight = sum(value > 0.3 for value in values) / len(values)
            batches = plan(op, dtype, profile=self.profile)
            rows = sum(batch.x.size // batch.x.shape[-1] for batch in batches if batch.x.size and batch.x.ndim)
            print(f"  {op} {dtype}: {tight:.0%}; {values[len(values) // 2]:.2f}; {rows} rows")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="?", type=Path)
    parser.add_argument("--profile", default="standard")
    parser.add_argument("--dtype", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--clean", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    wanted = {name for name in arguments.dtype.split(",") if name}
    tally = Tally(arguments.profile)
    start = time.perf_counter()
    for item in items(arguments.corpus):
        if (arguments.only and arguments.only not in item.name) or (arguments.clean and not item.clean):
            continue
        dtypes = [name for name in item.dtypes if not wanted or name in wanted]
        if not dtypes:
            continue
        began = time.perf_counter()
        report = audit(item.call, op=item.op, dtypes=dtypes, profile=arguments.profile, policy=item.policy)
        for result in report.targets[0].dtypes:
            tally.add(item, result)
        print(f"{item.name}: {time.perf_counter() - began:.1f} s", file=sys.stderr)
    print(f"\nprofile {arguments.profile}, {time.perf_counter() - start:.0f} s")
    tally.tell()
    if arguments.json:
        arguments.json.write_text(json.dumps(tally.record, indent=1))
    return 1 if tally.misses or tally.alarms else 0


if __name__ == "__main__":
    sys.exit(main())
