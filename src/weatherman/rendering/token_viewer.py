"""The token viewer: a conversation as the model sees it, with the supervised tokens coloured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from weatherman.data.read import read_line
from weatherman.messages import escape
from weatherman.records import Rendered
from weatherman.rendering.render import bind, render
from weatherman.rendering.template import Template
from weatherman.rendering.tokenizer import TextTokenizer

_BROKEN = "\ufffd"
_MAX_TOKENS_OF_A_CHARACTER = 4
# Two shades each, taken in turn, so that neighbouring tokens can be told apart: context, control, supervised.
_CONTEXT, _CONTROL, _SUPERVISED = ("0", "2"), ("36", "36"), ("1;32", "4;32")
_SUPERVISED_CONTROL = ("1;36;42", "1;36;42")


def show_line(path: Path, line: int, template: Template, tokenizer: TextTokenizer, *, colour: bool) -> str:
    """Render one line of a data file and spell it token by token.

    Args:
        path: the JSONL file.
        line: 1-based.
        template: the chat template.
        tokenizer: its tokenizer.
        colour: colour for a terminal; without it, supervised runs stand between ⟦ and ⟧.

    Returns:
        Text for the terminal, safe to print: one block per view.

    Raises:
        WeathermanError: the line is absent or not valid.
    """
    conversation = read_line(path, line)
    controls = set(bind(template, tokenizer).controls.ids.values())
    views = render(conversation, template, tokenizer)
    blocks = []
    for number, view in enumerate(views, 1):
        title = (
            f"{escape(view.source)} · {template.name} · view {number} of {len(views)} · "
            f"{len(view.ids)} tokens, {view.num_supervised_tokens} supervised"
        )
        body = _coloured(view, tokenizer, controls) if colour else _bracketed(view, tokenizer)
        blocks.append(f"{title}\n{body}\n")
    return "\n".join(blocks)


def token_texts(ids: Sequence[int], tokenizer: TextTokenizer) -> list[str]:
    """The text of each token; of the tokens that make one character together, the last has it and the others "".

    Joined, the texts are what the tokenizer decodes.
    """
    texts: list[str] = []
    first = 0  # the first token whose text is not told yet
    for end in range(1, len(ids) + 1):
        # A token's text depends on the one before it: SentencePiece drops the space at the very start.
        context = max(0, first - 1)
        text = tokenizer.decode(ids[context:end])[len(tokenizer.decode(ids[context:first])) :]
        if text.endswith(_BROKEN) and end - first < _MAX_TOKENS_OF_A_CHARACTER and end < len(ids):
            texts.append("")
            continue
        texts.append(text)
        first = end
    return texts


def _coloured(view: Rendered, tokenizer: TextTokenizer, controls: set[int]) -> str:
    parts = []
    ids = view.ids.tolist()
    for place, (number, text, supervised) in enumerate(
        zip(ids, token_texts(ids, tokenizer), view.mask.tolist(), strict=True)
    ):
        if number in controls:
            shade = _SUPERVISED_CONTROL if supervised else _CONTROL
        else:
            shade = _SUPERVISED if supervised else _CONTEXT
        start, stop = f"\033[{shade[place % 2]}m", "\033[0m"
        # The colour ends before a line break, so that no pager carries it on.
        parts.append(start + _safe(text).replace("\n", f"{stop}\n{start}") + stop)
    return "".join(parts)


def _bracketed(view: Rendered, tokenizer: TextTokenizer) -> str:
    parts = []
    inside = False
    ids = view.ids.tolist()
    for text, supervised in zip(token_texts(ids, tokenizer), view.mask.tolist(), strict=True):
        if supervised != inside:
            parts.append("⟦" if supervised else "⟧")
            inside = supervised
        parts.append(_safe(text))
    return "".join(parts) + ("⟧" if inside else "")


def _safe(text: str) -> str:
    """Escape what could move the cursor; a line break is shown and made."""
    return "↵\n".join(escape(line) for line in text.split("\n"))
