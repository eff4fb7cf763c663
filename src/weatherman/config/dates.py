"""Fill in `$(date +FMT)` in a configuration's text; whatever else a shell would act on is refused, never executed."""

from __future__ import annotations

import datetime
import re

DATED_KEYS = ("run_name", "output_dir")
"""The keys whose text may hold `$(date +FMT)`."""

_DATE = re.compile(r"""\$\(date \+(?:"([^"$`\\]*)"|'([^'$`\\]*)'|([^\s"'()$`\\]*))\)""")
_SHELL = re.compile(r"\$\([^)]*\)?|`[^`]*`?|\$\{[^}]*\}?|\$[A-Za-z_]\w*|^~(?=/|$)|^~\w*/")
# The parts that mean the same on every system and in every language.
DATE_PARTS = {
    "Y": "%Y", "y": "%y", "m": "%m", "d": "%d", "j": "%j", "H": "%H", "M": "%M", "S": "%S",
    "F": "%Y-%m-%d", "T": "%H:%M:%S", "%": "%%",
}  # fmt: skip


def expand_dates(text: str, now: datetime.datetime, *, allowed: bool = True) -> str:
    """Fill in each `$(date +FMT)` of a text.

    Args:
        text: the configuration's text; FMT may be quoted as a shell would want it.
        now: the time to write.
        allowed: whether dates may be used here at all.

    Returns:
        The text with dates.

    Raises:
        ValueError: the text has an unknown date part, or asks for anything else that a shell would do.
    """
    rest = _DATE.sub("", text) if allowed else text
    if shell := _SHELL.search(rest):
        keys = "" if allowed else f" in {' and '.join(DATED_KEYS)}"
        raise ValueError(f"{shell[0]!r} is not filled in and nothing is executed; allowed: $(date +FMT){keys}")
    if not allowed:
        return text
    return _DATE.sub(lambda match: _format(match[1] or match[2] or match[3] or "", now), text)


def _format(form: str, now: datetime.datetime) -> str:
    for part in re.findall(r"%(.?)", form, re.DOTALL):
        if part not in DATE_PARTS:
            raise ValueError(
                f"'%{part}' is not a known date part; known: {' '.join('%' + known for known in DATE_PARTS)}"
            )
    return re.sub(r"%(.)", lambda match: now.strftime(DATE_PARTS[match[1]]), form)
