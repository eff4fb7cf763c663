"""Our own chat templates by name, and which one fits a tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from weatherman.errors import WeathermanError
from weatherman.rendering.read_calls import read_mistral, read_tagged
from weatherman.rendering.shape import mistral_v3_messages
from weatherman.rendering.template import Template

__all__ = ["MISTRAL_V3", "SMOLLM2", "TEMPLATES", "Template", "choose_template"]


def _text(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


# ChatML with the tools first, then the persona, so that rows share the longest prefix.
SMOLLM2 = Template(
    name="smollm2",
    jinja=_text("smollm2.jinja"),
    stops=("<|im_end|>",),
    parse=read_tagged,
    is_ours=True,
)
# Equal to mistral-common's encoding token by token: tools and persona stand before the *last* user message. Jinja
# cannot decode JSON: a result that looks like an object or a list is spelled anew character by character.
MISTRAL_V3 = Template(
    name="mistral-v3",
    jinja=_text("mistral_v3.jinja"),
    stops=("</s>",),
    variables=(("bos_token", "<s>"), ("eos_token", "</s>")),
    call_token="[TOOL_CALLS]",
    parse=read_mistral,
    shape=mistral_v3_messages,
    is_ours=True,
)
TEMPLATES = {template.name: template for template in (SMOLLM2, MISTRAL_V3)}


def choose_template(name: str, has_token: Callable[[str], bool]) -> Template:
    """Choose one of our templates by name; "auto" goes by the control tokens of the tokenizer.

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
