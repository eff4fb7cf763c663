"""Spans of days, in words and in numbers."""

from __future__ import annotations


def span_words(num_days: int) -> str:
    """``the next 5 days``."""
    return f"the next {num_days} days"
