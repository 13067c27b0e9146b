"""Certified truth: enclosures of true values, by the cheapest arithmetic that is proven to decide."""

from xent_verify.truth.certify import certify
from xent_verify.truth.reference import Reference, reference

__all__ = ["Reference", "certify", "reference"]
