"""``reports/libraries/README.md`` from the JSON files beside it: ``python benchmarks/libraries/table.py``.

The words above the tables are those of ``libraries.md``, beside ``libraries.toml``. Kernels likewise:

    python benchmarks/libraries/table.py --table benchmarks/kernels/kernels.toml --out reports/kernels
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from entries import LIBRARIES, ROOT, glue, read

from xent_verify.report.arrays import decode_array
from xent_verify.report.words import array_text, classes_text, count_text, number_text, shortened

DECLARED = ("options", "in_place", "only", "result", "without", "kwargs")
"""Settings that say how a target is called."""


def number(value: Any) -> float:
    """A recorded number, special values by name."""
    return float(value)


def name_of(result: dict[str, Any]) -> str:
    """The target as it is shown."""
    return f"`{str(result['target']).rpartition('/')[2]}`"


def verdict(result: dict[str, Any]) -> str:
    """pass, warn or fail."""
    severities = {finding["severity"] for finding in result["findings"]}
    return "✗ fail" if "fail" in severities else "! warn" if "warn" in severities else "✓ pass"


def kept(result: dict[str, Any]) -> str:
    """The class, and the part of the domain where ``standard`` is kept."""
    domain = result.get("domain", "")
    return (str(result.get("class", "")) + (f"; standard for {domain}" if domain else "")).replace("|", "\\|")


def called(result: dict[str, Any]) -> str:
    """How the target is called, where that has to be said: the glue, then what is declared."""
    settings = result.get("settings", {})
    lines = glue(result["target"], settings) if settings else []
    said = [f"{name.replace('_', ' ')} {declared(settings[name])}" for name in DECLARED if settings.get(name)]
    said += [f"policy {settings['policy']}"] if settings.get("policy", "standard") != "standard" else []
    words = [" · ".join(f"`{line}`" for line in lines)] if lines else []
    return f"* {name_of(result)} {result['op']}: " + "; ".join([*words, *said]) if words or said else ""


def declared(value: Any) -> str:
    """A setting in words."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={one}" for name, one in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)


def failures(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Findings of severity fail."""
    return [finding for finding in result.get("findings", ()) if finding["severity"] == "fail"]


def in_words(finding: dict[str, Any]) -> str:
    """One finding: kind, share, likely cause, or what was said where none is named."""
    told = finding["diagnosis"] or (finding["message"] if finding["kind"] in ("inaccurate", "exception") else "")
    cause = told.partition(": agrees")[0].partition("; wrong only")[0]
    text = f"**{finding['kind'].replace('_', ' ')}** ({count_text(finding['count'])})"
    return text + (f": {shortened(cause, 90)}" if cause else "")


def row(result: dict[str, Any]) -> str:
    """One line of the table."""
    place = f"| {name_of(result)} | {result['op']} | {result['dtype']} |"
    if "error" in result:
        return f"{place} – | | | | | {result['error']} |"
    told = result.get("conditioned_ulp")
    numbers = f"{'–' if told is None else number_text(number(told))} | {number_text(number(result['max_bound_ratio']))}"
    words = "; ".join(map(in_words, failures(result)))
    return f"{place} {verdict(result)} | {kept(result)} | {numbers} | {classes_text(result['classes'])} | {words} |"


def call(example: dict[str, Any]) -> str:
    """The minimal call in a line."""
    parts = [
        f"{item['name']} = {array_text(decode_array(item))}" + (f" ({item['dtype']})" if "int" in item["dtype"] else "")
        for item in example["inputs"]
    ]
    parts = [part.removesuffix(" (int64)") for part in parts]
    for name, value in example["options"].items():
        shown = value
        if isinstance(value, dict):
            shown = array_text(decode_array(value)) if "bits" in value else value["value"]
        parts.append(f"{name} = {shown}")
    return ", ".join(parts) + (f", layout {example['layout']}" if example["layout"] != "C" else "")


def told(result: dict[str, Any], finding: dict[str, Any]) -> str:
    """One failure with its minimal call and its confirmation."""
    line = f"* {name_of(result)} {result['op']} {result['dtype']}: **{finding['kind'].replace('_', ' ')}**"
    example = finding["minimal"]
    mark = "confirmed" if finding.get("confirmed") else "**not confirmed**"
    if example is None:
        return f"{line}, {finding['message']} ({mark})"
    text = f"{line}, `{call(example)}`"
    found = finding.get("confirmation", {})
    if "observed" in found:
        true, bound = found["true"], str(example["true_value"])
        power = true.partition("e")[2]
        true = true if len(true) < 20 else f"{true[:17]}…{power and 'e' + power}"
        true = bound if bound.startswith("below") else true  # a plain formula may hold roundings alone there
        return f"{text} gives {found['observed']}, true is {true} ({mark})"
    return f"{text}: {finding['message']} ({mark})"


def section(document: dict[str, Any], said: Sequence[str]) -> str:
    """One library; what a person said about it stands last."""
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    lines = [
        f"## {document['library']}",
        "",
        f"{versions or 'Of this repository'}; profile {document['profile']}, seed {document['seed']}.",
        "",
    ]
    calls = dict.fromkeys(filter(None, map(called, document["results"])))
    lines += ["Called as:", "", *calls, ""] if calls else []
    lines += [
        "| target | op | format | verdict | class | largest ulp | ÷ bound | classes | failures |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [row(result) for result in document["results"]]
    found = [told(result, finding) for result in document["results"] for finding in failures(result)]
    lines += ["", *found] if found else []
    return "\n".join(lines + (["", "Looked at by hand:", "", *(f"* {one}" for one in said)] if said else []))


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=LIBRARIES)
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "libraries")
    arguments = parser.parse_args()
    table, folder = read(arguments.table), arguments.out
    documents = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    results = [result for document in documents for result in document["results"]]
    found = [finding for result in results for finding in failures(result)]
    counts = {
        "libraries": len(documents),
        "kernels": len({(result["target"], result["op"]) for result in results}),
        "results": len(results),
        "passing": sum(not failures(result) and "error" not in result for result in results),
        "failures": len(found),
        "confirmed": sum(bool(finding.get("confirmed")) for finding in found),
    }
    names = ", ".join(document["library"] for document in documents)
    head = arguments.table.with_suffix(".md").read_text().format(names=names, **counts)
    sections = [f"{section(one, table.get(one['library'], {}).get('said', ()))}\n" for one in documents]
    (folder / "README.md").write_text("\n".join([head, *sections]))
    print(", ".join(f"{count} {name}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
