"""What a chat template makes of conversations: how many it holds, in how many views, at what cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from weatherman.data.read import read_conversations
from weatherman.errors import WeathermanError
from weatherman.records import Conversation
from weatherman.rendering.readers import reads
from weatherman.rendering.render import render_each
from weatherman.rendering.template import Template, describe_template
from weatherman.rendering.text_tokenizer import TextTokenizer

_MAX_READ = 50


@dataclass(slots=True)
class TemplateReport:
    """What was found. A refused conversation is counted under its error's code; `examples` has the first of each."""

    template: str
    stops: list[str]
    reads_date: bool
    num_conversations: int = 0
    num_rendered: int = 0
    num_views: int = 0
    num_turns: int = 0
    num_tokens: int = 0
    num_longest_tokens: int = 0
    num_calls: int = 0
    num_calls_read: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def views_per_conversation(self) -> float:
        """1 where every turn is the beginning of what the next one sees."""
        return self.num_views / max(1, self.num_rendered)

    @property
    def extra_share(self) -> float:
        """Tokens of all views beyond those of each conversation's longest, as a share of the latter: without a tree."""
        return self.num_tokens / self.num_longest_tokens - 1 if self.num_longest_tokens else 0.0

    def to_json(self) -> dict[str, Any]:
        """The report for programs."""
        more = {"views_per_conversation": self.views_per_conversation, "extra_share": self.extra_share}
        return {"format_version": 1, **asdict(self), **more}


def check_template(path: Path, count: int, template: Template, tokenizer: TextTokenizer) -> TemplateReport:
    """Render conversations, and read the first calls back.

    Args:
        path: the file they are in.
        count: how many to try.
        template: the chat template.
        tokenizer: its tokenizer.
    """
    conversations = list(islice(read_conversations(path), count))
    report = TemplateReport(describe_template(template), list(template.stops), template.reads_date)
    refused: Counter[str] = Counter()
    rendered = render_each(conversations, template, tokenizer)
    for conversation, views in zip(conversations, rendered, strict=True):
        report.num_conversations += 1
        if isinstance(views, WeathermanError):
            refused[views.code] += 1
            report.examples.setdefault(views.code, views.message)
            continue
        lengths = [len(view.ids) for view in views]
        report.num_rendered += 1
        report.num_views += len(views)
        report.num_turns += sum(m.role == "assistant" and m.trained for m in conversation.messages)
        report.num_tokens += sum(lengths)
        report.num_longest_tokens += max(lengths, default=0)
        if report.num_calls < _MAX_READ:
            _read_back(conversation, template, tokenizer, report)
    report.refused = dict(refused)
    return report


def _read_back(
    conversation: Conversation, template: Template, tokenizer: TextTokenizer, report: TemplateReport
) -> None:
    for index, message in enumerate(conversation.messages):
        if message.tool_calls and message.trained:
            report.num_calls += 1
            so_far = Conversation(conversation.messages[: index + 1], conversation.tools, {}, conversation.source)
            report.num_calls_read += reads(so_far, template, tokenizer)


def report_lines(report: TemplateReport) -> list[str]:
    """The report in about ten lines."""
    lines = [
        f"Template: {report.template}",
        f"Rendered: {report.num_rendered:,} of {report.num_conversations:,} conversations, {report.num_turns:,} turns",
        f"Views: {report.views_per_conversation:.2f} a conversation; {report.num_tokens:,} tokens, "
        f"{report.extra_share:+.1%} over the longest view of each",
        f"Calls read back: {report.num_calls_read} of {report.num_calls} tried",
    ]
    if report.num_calls_read < report.num_calls:
        lines.append("This template's calls cannot all be read back: chat and the evaluation take them for text.")
    if report.reads_date:
        lines.append("The template tells the model the date; a run pins it and records it.")
    for code, count in sorted(report.refused.items(), key=lambda item: -item[1])[:4]:
        lines.append(f"Refused, {code}: {count:,}, such as {report.examples[code]}")
    return lines
