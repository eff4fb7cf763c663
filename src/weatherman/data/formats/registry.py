"""The forms that are read, and which one a file is in."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from weatherman.data.formats.alpaca import ALPACA
from weatherman.data.formats.chatml import CHATML
from weatherman.data.formats.form import SHOWN_CHARS, Form
from weatherman.data.formats.glaive import GLAIVE
from weatherman.data.formats.hermes import HERMES
from weatherman.data.formats.openai import MISTRAL_FINETUNE, OPENAI
from weatherman.data.formats.sharegpt import SHAREGPT
from weatherman.data.formats.tau_bench import TAU_BENCH
from weatherman.data.formats.trl import TRL
from weatherman.data.formats.xlam import XLAM

# In the order in which they are tried: hermes is a sharegpt with tags, so it stands before it.
_TRIED = (OPENAI, TAU_BENCH, HERMES, SHAREGPT, XLAM, GLAIVE, TRL, ALPACA, CHATML)
FORMS = {form.name: form for form in (*_TRIED, MISTRAL_FINETUNE)}
_MAX_KEYS = 8


def recognise(row: Mapping[str, Any]) -> Form | None:
    """The form that a row is in; None if it is in none that is known."""
    return next((form for form in _TRIED if form.fits(dict(row))), None)


def not_recognised(rows: Iterable[Mapping[str, Any]]) -> tuple[str, str]:
    """Say what rows that nobody knows have, and which form is close.

    Returns:
        What was found, and a hint.
    """
    keys = list(dict.fromkeys(str(key) for row in rows for key in row))
    shown = ", ".join(key[:SHOWN_CHARS] for key in keys[:_MAX_KEYS]) + (", …" if len(keys) > _MAX_KEYS else "")
    found = f"its rows have the keys {shown}" if keys else "its rows are empty objects"
    close = [(form, _closeness(form, keys)) for form in _TRIED]
    best, score = max(close, key=lambda pair: pair[1])
    if score:
        hint = f"closest is {best.name}, whose rows have {', '.join(best.keys)}; --from {best.name} reads them as that."
    else:
        hint = f"the forms that are read: {', '.join(FORMS)}."
    return found, hint


def _closeness(form: Form, keys: list[str]) -> float:
    lowered = [key.lower() for key in keys]
    near = sum(bool(difflib.get_close_matches(wanted, lowered, n=1, cutoff=0.75)) for wanted in form.keys)
    return near / len(form.keys)
