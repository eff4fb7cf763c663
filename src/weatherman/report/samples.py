"""Sample conversations on the page: all that the model saw, tool results too, and what it answered before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from weatherman.effect.effect import Effect
from weatherman.effect.evaluation import Sample
from weatherman.report.charts import safe

_WHO = {"system": "system", "user": "user", "assistant": "model", "tool": "tool result"}


def samples(effects: Mapping[str, Effect]) -> str:
    """A card for each sample; nothing where none is known."""
    before = effects["before"].samples if "before" in effects else ()
    after = effects["after"].samples if "after" in effects else ()
    cards = []
    for index in range(max(len(before), len(after))):
        old, new = (of[index] if index < len(of) else None for of in (before, after))
        if asked := new or old:
            cards.append(_card(asked, old, new))
    return "".join(cards)


def _card(asked: Sample, old: Sample | None, new: Sample | None) -> str:
    answers = "".join(
        f'<div class="{name}"><h3>{name}</h3><pre>{safe(sample.answer) or "(nothing)"}</pre></div>'
        for name, sample in (("before", old), ("after", new))
        if sample
    )
    who = f"<span>{safe(asked.persona or 'assistant')} was asked:</span> {safe(asked.prompt)}"
    seen = _transcript(asked.messages)
    return f'<article class="card sample"><p>{who}</p>{seen}<div class="pair">{answers}</div></article>'


def _transcript(messages: Sequence[Any]) -> str:
    """What was said before the answer; a system prompt is folded, since it is long and mostly the same."""
    parts = []
    for message in messages:
        if not isinstance(message, dict):
            continue
        role = str(message.get("role"))
        text = _text(message)
        if role == "system":
            parts.append(f"<details><summary>system prompt</summary><pre>{text}</pre></details>")
        else:
            known = role if role in _WHO else "other"
            parts.append(f'<li class="{known}"><h3>{safe(_WHO.get(role, role))}</h3><pre>{text}</pre></li>')
    return f'<ol class="transcript">{"".join(parts)}</ol>' if parts else ""


def _text(message: Mapping[str, Any]) -> str:
    lines = [str(message["content"])] if message.get("content") else []
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        if isinstance(call, dict):
            lines.append(f"{call.get('name')}({json.dumps(call.get('arguments'), ensure_ascii=False, default=str)})")
    return safe("\n".join(lines)) or "(nothing)"
