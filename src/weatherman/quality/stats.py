"""What is in a data set: the mix, how long the conversations are, and a few of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from weatherman.data.read import read_conversations
from weatherman.errors import WeathermanError
from weatherman.messages import escape
from weatherman.quality.tokens import mistral_tokenizer, render_set
from weatherman.records import Conversation
from weatherman.rendering.rough_tokenizer import RoughTokenizer
from weatherman.rendering.templates import MISTRAL_V3

_BIN_TOKENS = 128
_BAR = 40


def statistics(conversations: Sequence[Conversation]) -> dict[str, Any]:
    """Counts of personas and scenarios, messages and calls, and a histogram of tokens in steps of 128.

    Args:
        conversations: the set.
    """
    try:
        tokenizer, name = mistral_tokenizer(), "mistral"
    except WeathermanError:
        tokenizer, name = RoughTokenizer(), "rough estimate"
    sizes = render_set(conversations, MISTRAL_V3, tokenizer).lengths
    bins = Counter(size // _BIN_TOKENS * _BIN_TOKENS for size in sizes)
    return {
        "conversations": len(conversations),
        "personas": _counts(conversations, "persona"),
        "scenarios": _counts(conversations, "scenario"),
        "calls": dict(Counter(call.name for one in conversations for m in one.messages for call in m.tool_calls)),
        "turns": sum(message.role == "user" for one in conversations for message in one.messages),
        "tokenizer": name,
        "tokens": {str(low): bins[low] for low in sorted(bins)},
        "mean_tokens": round(sum(sizes) / max(1, len(sizes)), 1),
    }


def _counts(conversations: Sequence[Conversation], key: str) -> dict[str, int]:
    counts = Counter(str(one.metadata.get(key, "unnamed")) for one in conversations)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def describe(files: Sequence[Path], num_examples: int, seed: int) -> tuple[dict[str, Any], str]:
    """Statistics of files, and the text that shows them.

    Args:
        files: the JSONL files.
        num_examples: how many conversations to show.
        seed: which.

    Raises:
        WeathermanError: a file or row cannot be read.
    """
    conversations = [one for path in files for one in read_conversations(path)]
    found = statistics(conversations)
    lines = [f"{found['conversations']:,} conversations, {found['turns']:,} user turns"]
    for key in ("personas", "scenarios", "calls"):
        lines.append(f"\n{key}")
        lines += _bars(found[key])
    lines.append(f"\ntokens ({found['tokenizer']}), mean {found['mean_tokens']:,}")
    lines += _bars({f"{low}-{int(low) + _BIN_TOKENS - 1}": count for low, count in found["tokens"].items()})
    chosen = Random(seed).sample(conversations, min(num_examples, len(conversations)))
    return found, "\n".join([*lines, *(f"\n{transcript(one)}" for one in chosen)])


def _bars(counts: dict[str, int]) -> list[str]:
    total, most = max(1, sum(counts.values())), max(counts.values(), default=1)
    return [
        f"  {escape(name):<22}{count:>8,} {count / total:>6.1%} {'█' * round(_BAR * count / most)}"
        for name, count in counts.items()
    ]


def transcript(conversation: Conversation) -> str:
    """A conversation to read, on a terminal: who says what, calls and results in brief."""
    about = " · ".join(str(conversation.metadata.get(key, "")) for key in ("id", "persona", "scenario"))
    lines = [f"--- {escape(about)}"]
    for message in conversation.messages:
        calls = ", ".join(f"{call.name}({', '.join(map(str, call.arguments.values()))})" for call in message.tool_calls)
        if message.role != "system":
            lines.append(f"{message.role:>9}: {escape(message.content or calls)}")
    return "\n".join(lines)
