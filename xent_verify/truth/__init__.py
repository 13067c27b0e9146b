"""Certified truth: enclosures of true values, by the cheapest arithmetic that is proven to decide."""

from xent_verify.truth.certify import certify

__all__ = ["certify"]
