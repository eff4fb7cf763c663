"""Chat templates are programs from strangers: compiled in Jinja's sandbox, with what servers offer them and no more."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Callable
from typing import Any

from weatherman.errors import WeathermanError
from weatherman.rendering.shape import QuotedText

_READS_DATE = "strftime_now"


def compile_template(jinja: str, date: str, name: str) -> Callable[..., str]:
    """Compile a chat template.

    Args:
        jinja: its text.
        date: what `strftime_now` tells, as an ISO date.
        name: for messages.

    Returns:
        A function of the template's variables; what the template raises comes out of it as `ValueError`.

    Raises:
        WeathermanError: the text is no Jinja.
    """
    from jinja2 import TemplateError
    from jinja2.exceptions import SecurityError

    try:
        compiled = _environment(date).from_string(jinja)
    except TemplateError as problem:
        raise _unreadable(name, problem) from problem

    def call(**variables: Any) -> str:
        try:
            return compiled.render(**variables)
        except SecurityError as problem:
            raise WeathermanError("template.raises", f"the chat template {name} left its sandbox: {problem}.") from None
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, RecursionError) as problem:
            raise ValueError(str(problem) or type(problem).__name__) from problem

    return call


@functools.lru_cache(maxsize=8)
def literals(jinja: str) -> str:
    """Every text that the template writes by itself, one after the other, with a character between them.

    Raises:
        WeathermanError: the text is no Jinja.
    """
    from jinja2 import TemplateError, nodes

    try:
        tree = _environment("").parse(jinja)
    except TemplateError as problem:
        raise _unreadable("", problem) from problem
    found = {node.data for node in tree.find_all(nodes.TemplateData)}
    found |= {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
    return "\0".join(sorted(found))


def reads_date(jinja: str) -> bool:
    """Whether the template asks for the date of today."""
    return _READS_DATE in jinja


def _unreadable(name: str, problem: Exception) -> WeathermanError:
    text = f"the chat template {name} is no Jinja: {problem}."
    return WeathermanError("template.unreadable", text, "correct it, or set chat_template to another.")


def _environment(date: str) -> Any:
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what the assistant said; here that is found out by rendering, so it is ignored."""

        tags = {"generation"}  # noqa: RUF012 - Jinja reads it from the class

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals[_READS_DATE] = lambda form: datetime.date.fromisoformat(date or "1970-01-01").strftime(form)
    return environment


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """As transformers spells JSON; Jinja's own filter would escape for HTML."""
    if not (ensure_ascii or indent or separators or sort_keys):
        return _PLAIN.encode(value)
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys, default=_quoted
    )


def _quoted(value: object) -> str:
    if isinstance(value, QuotedText):
        return value.text
    raise TypeError(f"{type(value).__name__} is no JSON")


_PLAIN = json.JSONEncoder(ensure_ascii=False, default=_quoted)


def _raise_exception(text: str) -> None:
    raise ValueError(text)
