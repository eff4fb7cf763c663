"""What `weatherman data convert` says of a conversion, and the check of its options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from weatherman import messages
from weatherman.data.convert import Converted
from weatherman.errors import WeathermanError


def chosen(option: str, value: str, allowed: Sequence[str]) -> str:
    """An option's value.

    Raises:
        WeathermanError: it is not allowed.
    """
    if value not in allowed:
        raise WeathermanError("cli.usage", f"{option} {value} is not known.", f"choose from {', '.join(allowed)}.")
    return value


def report(done: Converted, output: Path) -> None:
    """Say what was read, kept, changed by kind, and refused with line and reason."""
    messages.say("DATA", f"{done.num_rows:,} rows read, {done.num_kept:,} kept, {done.num_refused:,} refused.")
    for phrase in done.changes.in_words():
        messages.say("DATA", f"changed: {phrase}")
    for refusal in done.refusals:
        messages.warning(f"refused: {refusal}")
    if done.num_refused > len(done.refusals):
        messages.warning(f"{done.num_refused - len(done.refusals):,} more rows are refused.")
    messages.success(f"{done.num_kept:,} conversations are in {output}")
