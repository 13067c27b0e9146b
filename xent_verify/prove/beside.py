"""Certificates beside a report: where a maximum is proved over a whole domain, the report says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xent_verify.core.failures import UsageError
from xent_verify.core.model import DtypeResult, Proved, Report, TargetResult
from xent_verify.prove.certificate import read_certificate
from xent_verify.prove.fingerprint import fingerprint

__all__ = ["certificate_files", "with_certificates"]


@dataclass(frozen=True, slots=True)
class _Certified:
    """What one certificate says, and of what."""

    place: tuple[str, str, str]
    fingerprint: dict[str, Any]
    proved: Proved


def certificate_files(places: Iterable[Path]) -> list[Path]:
    """Files, and the certificates of folders; ``UsageError`` for a place that holds none."""
    files: list[Path] = []
    for place in places:
        found = sorted(place.glob("*.json")) if place.is_dir() else [place]
        if not found or not found[0].is_file():
            raise UsageError(f"certificates {place}: there are none (xent-verify prove … --out {place} writes one)")
        files += found
    return files


def with_certificates(report: Report, files: Iterable[Path]) -> tuple[Report, list[str]]:
    """The report with what certificates prove of its targets too; and a line for each that is of another version of one.

    A certificate counts for a target of the same name, operation and format whose fingerprint is still the same.
    """
    certified = [found for file in files for found in _certified(file)]
    current = _fingerprints(report)
    places = {(target.target, target.op, one.dtype) for target in report.targets for one in target.dtypes}
    stale = [
        f"certificate of {' '.join(found.place)} ({found.proved.domain}): of another version of the target"
        for found in certified
        if found.place in places and found.fingerprint != current[found.place[:2]]
    ]
    valid = [found for found in certified if found.fingerprint == current.get(found.place[:2])]

    def told(target: TargetResult, result: DtypeResult) -> DtypeResult:
        place = (target.target, target.op, result.dtype)
        new = [found.proved for found in valid if found.place == place]
        held = [proved for proved in result.proved if proved.domain not in {one.domain for one in new}]
        return replace(result, proved=(*held, *new))

    targets = (
        replace(target, dtypes=tuple(told(target, result) for result in target.dtypes)) for target in report.targets
    )
    return replace(report, targets=tuple(targets)), stale


def _fingerprints(report: Report) -> dict[tuple[str, str], dict[str, Any]]:
    return {(target.target, target.op): fingerprint(target.target, target.op) for target in report.targets}


def _certified(file: Path) -> Iterator[_Certified]:
    """Nothing for a partial one."""
    made = read_certificate(file)
    if made.fields["label"] == "proved" and made.fields["max_ulp"] is not None:
        run = made.child("run")
        proved = Proved(run.text("domain"), made.count("rows"), made.child("max_ulp").made("hex", float.fromhex))
        place = run.text("target"), run.text("op"), run.text("dtype")
        yield _Certified(place, run.child("fingerprint").fields, proved)
