"""Certified truth."""
