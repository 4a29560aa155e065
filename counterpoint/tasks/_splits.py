"""Splits that are disjoint by construction: the split of a problem is a function of its text alone."""

import hashlib
from typing import Literal

Split = Literal["train", "validation", "test"]
_BUCKETS = 100
_VALIDATION = 10
_TEST = 10


def problem_id(prefix: str, text: str) -> str:
    """A short id that is the same for the same text in every run and on every machine."""
    return f"{prefix}-{_digest(text)[:12]}"


def split_of(text: str) -> Split:
    """The split of a problem: 10 % validation, 10 % test, the rest train; equal texts share a split."""
    bucket = int(_digest(text)[12:20], 16) % _BUCKETS
    if bucket < _VALIDATION:
        return "validation"
    return "test" if bucket < _VALIDATION + _TEST else "train"


def _digest(text: str) -> str:
    return hashlib.sha256(" ".join(text.split()).casefold().encode()).hexdigest()
