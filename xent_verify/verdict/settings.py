"""How a target is audited, as a value: with its record in a report, and the command that audits so again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from xent_verify.candidates.calling import Calling
from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.formats import format_named
from xent_verify.core.model import TargetResult
from xent_verify.core.outside import is_outside
from xent_verify.ops import Op
from xent_verify.regimes import PROFILES, regimes_named
from xent_verify.verdict import conventions
from xent_verify.verdict.judge import FLUSH_CHOICES, Rules
from xent_verify.verdict.policies import POLICIES, Policy, parse_policy
from xent_verify.verdict.requirements import Requirements

__all__ = ["Settings", "command_of"]

LONGEST = 10_000_000
"""The longest row that may be asked for."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to audit: the options of ``audit``."""

    policy: Policy = POLICIES["standard"]
    special: str = "any"
    flush: str = "auto"
    profile: str = "standard"
    seed: int = 0
    arrays: str = "auto"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 10.0
    memory: int = 0  # MB that the target's processes may hold; 0: ``candidates.usual_memory_mb``
    budget: float = 0.0  # seconds for the whole audit; 0: ``clock.USUAL`` for each target and format
    isolated: bool = True
    device: str = "cpu"
    fail_fast: bool = False
    sizes: tuple[int, ...] = ()
    regimes: tuple[str, ...] = ()
    result: str = ""  # format of results ("": that of the inputs)
    call: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)  # fixed inside the target
    in_place: tuple[str, ...] = ()
    only: str = ""
    without: tuple[str, ...] = ()
    require: tuple[str, ...] = ()  # words of ``requirements``
    op: str = ""  # how an operation from outside the table is named (module:attribute)

    @property
    def rules(self) -> Rules:
        asked = Requirements.of(self.require)
        return Rules(self.policy, self.special, self.flush, self.result, self.options, asked)  # type: ignore[arg-type]  # see ``checked``

    def checked(self) -> Settings:
        """These settings, or a ``UsageError`` naming the first that cannot be."""
        conventions.profile_named(self.special)
        if self.profile not in PROFILES:
            raise UnknownNameError("profile", self.profile, PROFILES)
        if self.flush not in FLUSH_CHOICES:
            raise UnknownNameError("flush rule", self.flush, FLUSH_CHOICES)
        if not self.timeout > 0:
            raise UsageError(f"timeout {self.timeout}: must be a positive number of seconds")
        if self.memory < 0:
            raise UsageError(f"memory {self.memory}: must be a positive number of MB")
        if not 0 <= self.budget < float("inf"):
            raise UsageError(f"budget {self.budget}: must be a positive number of seconds")
        for size in self.sizes:
            if not 1 <= size <= LONGEST:
                raise UsageError(f"size {size}: a row length is between 1 and {LONGEST}")
        regimes_named(self.regimes)
        regimes_named(self.without)
        Requirements.of(self.require)
        if self.kwargs and self.call:
            raise UsageError("--kwargs with --call: write the arguments in the expression")
        result = "" if self.result in ("", "input") else format_named(self.result).name
        return self if result == self.result else replace(self, result=result)

    def calling(self, op: Op) -> Calling:
        """How the target is called, for an operation; ``UsageError`` for what it does not have."""
        return Calling.of(op, call=self.call, in_place=self.in_place, options=self.options, only=self.only)

    def record(self) -> dict[str, Any]:
        """As plain data: the usual ones always, the others where they are not the default."""
        found: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in _ALWAYS or value != getattr(_DEFAULT, one.name):
                found[one.name] = _plain(value)
        if ":" not in self.op:
            found.pop("op", None)
        return found

    @staticmethod
    def of(record: Mapping[str, Any]) -> Settings:
        """The settings back from their record (whatever else it holds is left out); ``UsageError`` where it cannot be."""
        try:
            return Settings._read(record, parse_policy).checked()
        except TypeError as error:
            raise UsageError(f"recorded settings: {error}") from None

    @staticmethod
    def _read(record: Mapping[str, Any], policy_of: Callable[[str], Policy]) -> Settings:
        known = {name: value for name, value in record.items() if name in _NAMES}
        known["policy"] = policy_of(str(known.get("policy", "standard")))
        for name in ("sizes", "regimes", "in_place", "without", "require"):
            known[name] = tuple(known.get(name, ()))
        for name in ("kwargs", "options"):
            given = known.get(name, {})
            known[name] = dict(given) if isinstance(given, Mapping) else {}
        return Settings(**known)

    def arguments(self) -> list[str]:
        """The options of the command line that differ from their defaults."""
        parts = []
        for name, option in _OPTIONS.items():
            value = getattr(self, name)
            if value == getattr(_DEFAULT, name):
                continue
            if isinstance(value, bool):
                parts.append(option)
            elif name == "options":
                for key, one in value.items():
                    parts += [option, f"{key}={json.dumps(_plain(one))}"]
            elif name == "in_place":
                for one in value:
                    parts += [option, one]
            else:
                parts += [option, _text(value)]
        return parts


_DEFAULT = Settings()
_NAMES = frozenset(one.name for one in fields(Settings))
_ALWAYS = ("policy", "special", "flush", "profile", "seed", "arrays", "kwargs")
_OPTIONS = {
    "policy": "--policy",
    "special": "--special",
    "flush": "--flush",
    "profile": "--profile",
    "seed": "--seed",
    "arrays": "--arrays",
    "kwargs": "--kwargs",
    "result": "--result",
    "call": "--call",
    "options": "--option",
    "in_place": "--in-place",
    "only": "--only",
    "without": "--without",
    "require": "--require",
    "device": "--device",
    "timeout": "--timeout",
    "memory": "--memory",
    "budget": "--budget",
    "isolated": "--in-process",
    "sizes": "--sizes",
    "regimes": "--regimes",
    "fail_fast": "--fail-fast",
}
"""Field -> option of ``audit``; a flag says the opposite of the field's default."""


def _plain(value: Any) -> Any:
    if isinstance(value, Policy):
        return value.name
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value


def _text(value: Any) -> str:
    value = _plain(value)
    if isinstance(value, dict):
        return json.dumps(value)
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _by_name(text: str) -> Policy:
    """A policy of which the name alone matters: what a file names is not imported to print a command."""
    return replace(_DEFAULT.policy, name=text) if is_outside(text, POLICIES) else parse_policy(text)


def command_of(result: TargetResult) -> list[str]:
    """The command that gives a target's results again, as arguments; empty where no command alone does.

    That is so for answers from a file, certificates, gates relative to another target, and functions without a name.
    """
    record = result.settings
    if not record or not record.keys().isdisjoint(("vectors", "certificate", "relative")) or "<" in result.target:
        return []
    try:
        settings, search = Settings._read(record, _by_name), record.get("search")
        json.dumps([_plain(settings.kwargs), _plain(settings.options)])
    except (TypeError, ValueError):
        return []  # what is no JSON cannot be typed
    parts = ["xent-verify", "search" if search else "audit", result.target, "--op", settings.op or result.op]
    parts += ["--dtype", ",".join(one.dtype for one in result.dtypes)]
    for name, value in (search or {}).items():
        parts += [f"--{name}", str(value)]
    return parts + settings.arguments()
