"""Ollama's Modelfile, generated from the training template, so that Ollama spells a conversation as training did.

Ollama reads tools into records of its own and would spell them anew: without spaces, without the limits of numbers,
with sorted arguments. So the trained tools and their arguments stand in the template literally; other tools are spelled
by Ollama. Conversations of a model are text for Ollama, so control tokens stand in the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from weatherman.errors import WeathermanError
from weatherman.rendering.template import to_json
from weatherman.rendering.templates import MISTRAL_V3, SMOLLM2, Template
from weatherman.task.task import UNNAMED, Persona
from weatherman.tools.source import tool_name

Tools = Sequence[dict[str, Any]]
MAX_LITERAL_TOOLS = 32
_ABSENT = '"null"'  # how Ollama's `json` spells an argument that is not there
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# As smollm2.jinja words it; a test holds both against each other.
_TOOLS_INTRO = "You can call these tools:\n"
_TOOLS_OUTRO = 'To call a tool, answer with only:\n<tool_call>\n{"name": "...", "arguments": {...}}\n</tool_call>\n\n'


def modelfile(template: Template, source: str, tools: Tools, persona: Persona, context_tokens: int) -> str:
    """Make a Modelfile.

    Args:
        template: the training template.
        source: what Ollama builds from: a GGUF file or a folder of safetensors, relative to the Modelfile.
        tools: the trained ones.
        persona: whose system prompt is the default; a client may send another.
        context_tokens: how much of a conversation the model sees.

    Raises:
        WeathermanError: there is no Ollama form of that template, or the system prompt cannot stand in a Modelfile.
    """
    if '"""' in (persona.prompt or ""):
        text = f'the system prompt of {persona.name or UNNAMED} holds """, which no Modelfile can hold.'
        raise WeathermanError("export.no-modelfile", text, "export another persona: --persona NAME")
    stops = {SMOLLM2.name: ("<|im_end|>",), MISTRAL_V3.name: ("</s>", "[INST]")}
    lines = [
        f"# From the chat template {template.name}, version {template.version}. ollama create weatherman -f Modelfile",
        f"FROM {source}",
        f'TEMPLATE """{ollama_template(template, tools)}"""',
        *([] if persona.prompt is None else [f'SYSTEM """{persona.prompt}"""']),
        *(f'PARAMETER stop "{stop}"' for stop in stops[template.name]),
        "# Greedy, as the adapter's figures were measured; a higher temperature varies the words, and the numbers too.",
        "PARAMETER temperature 0",
        f"PARAMETER num_ctx {context_tokens}",
    ]
    return "\n".join(lines) + "\n"


def ollama_template(template: Template, tools: Tools) -> str:
    """The training template in Go's template language, for the values that Ollama gives it.

    Args:
        template: the training template.
        tools: the trained ones; the first 32 are spelled as in training, whatever Ollama makes of them.

    Raises:
        WeathermanError: there is no Ollama form of that template.
    """
    makers = {SMOLLM2.name: _smollm2, MISTRAL_V3.name: _mistral_v3}
    if template.name not in makers:
        raise WeathermanError("export.no-modelfile", f"the template {template.name} has no form for Ollama.")
    return makers[template.name](tools[:MAX_LITERAL_TOOLS])


def _smollm2(tools: Tools) -> str:
    calls = (
        # Ollama takes the first text inside `if .ToolCalls` for the mark by which it knows the model's calls.
        "{{ if .Content }}{{ with .ToolCalls }}\n{{ end }}{{ end }}"
        "{{ if .ToolCalls }}{{ $calls := .ToolCalls }}{{ range $index, $call := .ToolCalls }}<tool_call>\n"
        '{"name": {{ json $call.Function.Name }}, "arguments": '
        + _arguments(tools)
        + "}\n</tool_call>{{ if gt (len (slice $calls $index)) 1 }}\n{{ end }}{{ end }}{{ end }}"
    )
    listed = _TOOLS_INTRO + "{{ range .Tools }}" + _tool(".", tools) + "\n{{ end }}" + _literal(_TOOLS_OUTRO)
    return (
        "{{ if or .System .Tools }}<|im_start|>system\n{{ if .Tools }}" + listed + "{{ end }}{{ .System }}<|im_end|>\n"
        '{{ end }}{{ range .Messages }}{{ if eq .Role "assistant" }}<|im_start|>assistant\n'
        "{{ .Content }}" + calls + "<|im_end|>\n"
        '{{ else if ne .Role "system" }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}{{ end }}'
        "<|im_start|>assistant\n"
    )


def _mistral_v3(tools: Tools) -> str:
    listed = "[AVAILABLE_TOOLS] [{{ range $j, $tool := $.Tools }}{{ if $j }}, {{ end }}"
    listed += _tool("$tool", tools) + "{{ end }}]"
    calls = (
        "[TOOL_CALLS] [{{ range $j, $call := $message.ToolCalls }}{{ if $j }}, {{ end }}"
        '{"name": {{ json $call.Function.Name }}, "arguments": '
        + _arguments(tools)
        + ', "id": {{ json $call.ID }}}{{ end }}]'
    )
    result = (
        '{{ $first := "" }}{{ if $message.Content }}{{ $first = slice $message.Content 0 1 }}{{ end }}'
        '[TOOL_RESULTS] {"content": {{ if or (eq $first "{") (eq $first "[") }}{{ $message.Content }}'
        "{{ else }}{{ json $message.Content }}{{ end }}"
        ', "call_id": {{ json $message.ToolCallID }}}[/TOOL_RESULTS]'
    )
    return (
        '{{ $last := -1 }}{{ range $i, $m := .Messages }}{{ if eq $m.Role "user" }}{{ $last = $i }}{{ end }}{{ end }}'
        '{{ range $i, $message := .Messages }}{{ if eq $message.Role "user" }}'
        "{{ if and (eq $i $last) $.Tools }}" + listed + "[/AVAILABLE_TOOLS]{{ end }}"
        "[INST] {{ if and (eq $i $last) $.System }}{{ $.System }}\n\n{{ end }}{{ $message.Content }}[/INST]"
        '{{ else if eq $message.Role "tool" }}' + result + '{{ else if eq $message.Role "assistant" }}'
        "{{ if $message.ToolCalls }}" + calls + "{{ else }} {{ $message.Content }}{{ end }}</s>{{ end }}{{ end }}"
    )


def _literal(text: str) -> str:
    """A text of the template that Go does not read as an action, wherever it stands."""
    return text.replace("{", "{{ `{` }}") if "{{" in text else text


def _tool(variable: str, tools: Tools) -> str:
    """A tool as training spells it if it is one of these, else as Ollama does."""
    name = ("" if variable == "." else variable) + ".Function.Name"
    cases = [f"eq {name} {to_json(tool_name(tool))} }}}}{_literal(to_json(tool))}" for tool in tools]
    return _choice(cases, f"{{{{ json {variable} }}}}")


def _arguments(tools: Tools) -> str:
    """The arguments of `$call` in the tool's own order, which Ollama does not keep; others as Ollama spells them."""
    cases = []
    for tool in tools:
        parameters = tool["function"].get("parameters") or {}
        properties, required = parameters.get("properties") or {}, parameters.get("required") or []
        if not properties or not all(map(_PLAIN_NAME.fullmatch, properties)):
            continue
        # The comma before an argument depends on whether one came before it, unless the first is always there.
        sure = next(iter(properties)) in required
        fields: list[str] = []
        for index, name in enumerate(properties):
            value = f"$call.Function.Arguments.{name}"
            comma = (", " if index else "") if sure else "{{ $comma }}"
            field = f'{comma}"{name}": {{{{ json {value} }}}}' + ("" if sure else '{{ $comma = ", " }}')
            fields.append(
                field if name in required else f"{{{{ if ne (json {value}) {_ABSENT} }}}}{field}{{{{ end }}}}"
            )
        begin = "{" if sure else '{{ $comma := "" }}{{ `{` }}'
        shown = to_json(tool_name(tool))
        cases.append(f"eq $call.Function.Name {shown} }}}}{begin}{''.join(fields)}}}")
    return _choice(cases, "{{ json $call.Function.Arguments }}")


def _choice(cases: Sequence[str], otherwise: str) -> str:
    """A chain of conditions and texts of Go's language."""
    return "{{ if " + "{{ else if ".join(cases) + f"{{{{ else }}}}{otherwise}{{{{ end }}}}" if cases else otherwise
