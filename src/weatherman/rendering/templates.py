"""The chat templates by name, and which one fits a tokenizer."""

from __future__ import annotations

from collections.abc import Callable

from weatherman.errors import WeathermanError
from weatherman.rendering.mistral_v3 import MISTRAL_V3
from weatherman.rendering.smollm2 import SMOLLM2
from weatherman.rendering.template import Piece, Template

__all__ = ["MISTRAL_V3", "SMOLLM2", "TEMPLATES", "Piece", "Template", "choose_template"]

TEMPLATES = {template.name: template for template in (SMOLLM2, MISTRAL_V3)}


def choose_template(name: str, has_token: Callable[[str], bool]) -> Template:
    """Choose the template of that name; "auto" goes by the control tokens of the tokenizer.

    Args:
        name: "auto", "mistral-v3" or "smollm2".
        has_token: whether the vocabulary has a control token.

    Raises:
        WeathermanError: no template fits the tokenizer.
    """
    if name != "auto":
        return TEMPLATES[name]
    for template, token in ((SMOLLM2, "<|im_start|>"), (MISTRAL_V3, "[TOOL_CALLS]")):
        if has_token(token):
            return template
    hint = f"set chat_template: {' or '.join(TEMPLATES)}."
    raise WeathermanError("template.unknown", "no chat template fits this model's tokenizer.", hint)
