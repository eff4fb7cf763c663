"""A conversation in words, as transformers spells it from a Jinja template: what other encoders are compared with."""

from __future__ import annotations

from typing import Any


def jinja_text(jinja: str, messages: list[dict[str, Any]], tools: Any, **options: Any) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    names = {"bos_token": "<s>", "eos_token": "</s>"}
    rendered, _ = render_jinja_template([messages], tools=tools, chat_template=jinja, **names, **options)
    return str(rendered[0])
