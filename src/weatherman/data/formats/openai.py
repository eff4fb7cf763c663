"""The OpenAI form, which Mistral's fine-tuning and TRL's `messages` share: read as it is."""

from __future__ import annotations

from weatherman.data.changes import Changes
from weatherman.data.formats.form import Form, Row


def _fits(row: Row) -> bool:
    return "messages" in row


def _same(row: Row, changes: Changes) -> Row:
    return row


OPENAI = Form("openai", ("messages", "tools"), _fits, _same)
MISTRAL_FINETUNE = Form("mistral-finetune", ("messages", "tools"), _fits, _same)
