"""Whole domains, proved: every input of a finite domain put to a target, and every answer judged."""

from __future__ import annotations

from xent_verify.prove.certificate import certificate, table, write
from xent_verify.prove.domain import DOMAINS, default_domain
from xent_verify.prove.gaps import domain_of
from xent_verify.prove.plan import Plan
from xent_verify.prove.sweep import Sweep, report_of

__all__ = ["DOMAINS", "Plan", "Sweep", "certificate", "default_domain", "domain_of", "report_of", "table", "write"]
