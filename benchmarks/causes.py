"""The causes that an audit prints, beside the mistakes that were written down before.

    python benchmarks/causes.py FILE [CORPUS] [--only NAME,NAME] [--profile quick] [--dtype float32]

Audits every fault of the zoo, or of CORPUS (as ``benchmarks/recall.py`` reads it), in one format: ``--dtype`` where the fault
has it, else its first. FILE (JSON) keeps, per fault, the mistake that was written down, what was printed, the number of
findings, and whether a cause is ``named``, a ``form`` or a ``place`` is told, or nothing is (``unknown``). A later run into
the same file audits only what it lacks, or what ``--only`` names (parts of names), and prints the whole of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recall import Item, items

from xent_verify.auditing.audit import audit
from xent_verify.implementations import ZOO
from xent_verify.verdict.causes import UNKNOWN


def written_down(item: Item) -> str:
    """What was said of a fault beforehand: of the zoo its mistake, else its category and the first line of its docstring."""
    for fault in ZOO:
        if fault.call is item.call:
            return f"{fault.mistake} ({fault.regime})"
    return f"{item.category}: {(item.call.__doc__ or '').strip().partition(chr(10))[0]}"


def wanted(arguments: argparse.Namespace, known: dict[str, Any]) -> Iterator[tuple[str, Item]]:
    """The faults to audit, by name."""
    only = [part for part in arguments.only.split(",") if part]
    for item in items(arguments.corpus):
        name = item.name if item.name.startswith(item.op) else f"{item.op}.{item.name}"
        asked = any(part in name for part in only) if only else name not in known
        if not item.clean and asked:
            yield name, item


def audited(item: Item, dtype: str, profile: str) -> dict[str, Any]:
    start = time.perf_counter()
    used = dtype if dtype in item.dtypes else item.dtypes[0]
    report = audit(item.call, op=item.op, dtypes=[used], profile=profile)
    found = [one for one in report.targets[0].dtypes[0].findings if one.severity in ("fail", "warn")]
    texts = [one.diagnosis for one in found if one.diagnosis]
    if any(not text.startswith(UNKNOWN) for text in texts):
        told = "named"
    else:
        told = "form" if any("every failing value" in text for text in texts) else "place" if texts else "unknown"
    return {
        "dtype": used,
        "written": written_down(item),
        "told": told,
        "findings": sum(one.severity == "fail" for one in found),
        "printed": [f"{one.kind}: {one.diagnosis}" for one in found],
        "seconds": round(time.perf_counter() - start, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("corpus", nargs="?", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    known: dict[str, Any] = json.loads(arguments.file.read_text()) if arguments.file.exists() else {}
    for name, item in list(wanted(arguments, known)):
        known[name] = audited(item, arguments.dtype, arguments.profile)
        arguments.file.write_text(json.dumps(known, indent=1))
    for name, one in sorted(known.items(), key=lambda pair: (pair[1]["told"], pair[0])):
        print(f"{one['told']:8}{name} {one['dtype']} | {one['written']}")
        print(*(f"            {text}" for text in one["printed"]), sep="\n")
    count, caught = Counter(one["told"] for one in known.values()), [one for one in known.values() if one["findings"]]
    print(f"{len(known)} faults, {len(caught)} caught: {dict(count)}, {sum(o['findings'] for o in caught)} findings")
    return 0


if __name__ == "__main__":
    sys.exit(main())
