"""Rows worked step by step, and printed numbers held against the truth."""
