"""Ollama's Modelfile, generated from the training template, so that Ollama spells a conversation as training did.

Ollama reads tools into records of its own and would spell them anew: without spaces, without the limits of numbers,
with sorted arguments. So the weather tools and their arguments stand in the template literally, as they were trained;
other tools are spelled by Ollama. Conversations of a model are text for Ollama, so control tokens stand in the text.
"""

from __future__ import annotations

from weatherman.errors import WeathermanError
from weatherman.rendering.template import to_json
from weatherman.rendering.templates import MISTRAL_V3, SMOLLM2, Template
from weatherman.weather.dataset.personas import wordings
from weatherman.weather.tools import WEATHER_TOOLS

# As smollm2.jinja words it; a test holds both against each other.
_TOOLS_INTRO = "You can call these tools:\n"
_TOOLS_OUTRO = 'To call a tool, answer with only:\n<tool_call>\n{"name": "...", "arguments": {...}}\n</tool_call>\n\n'


def modelfile(template: Template, source: str, persona: str, context_tokens: int) -> str:
    """Make a Modelfile.

    Args:
        template: the training template.
        source: what Ollama builds from: a GGUF file or a folder of safetensors, relative to the Modelfile.
        persona: whose system prompt is the default; a client may send another.
        context_tokens: how much of a conversation the model sees.

    Raises:
        WeathermanError: there is no Ollama form of that template.
    """
    stops = {SMOLLM2.name: ("<|im_end|>",), MISTRAL_V3.name: ("</s>", "[INST]")}
    lines = [
        f"# From the chat template {template.name}, version {template.version}. ollama create weatherman -f Modelfile",
        f"FROM {source}",
        f'TEMPLATE """{ollama_template(template)}"""',
        f'SYSTEM """{wordings(persona)[0]}"""',
        *(f'PARAMETER stop "{stop}"' for stop in stops[template.name]),
        "# Greedy, as the adapter's figures were measured; a higher temperature varies the words, and the numbers too.",
        "PARAMETER temperature 0",
        f"PARAMETER num_ctx {context_tokens}",
    ]
    return "\n".join(lines) + "\n"


def ollama_template(template: Template) -> str:
    """The training template in Go's template language, for the values that Ollama gives it.

    Raises:
        WeathermanError: there is no Ollama form of that template.
    """
    makers = {SMOLLM2.name: _smollm2, MISTRAL_V3.name: _mistral_v3}
    if template.name not in makers:
        raise WeathermanError("export.no-modelfile", f"the template {template.name} has no form for Ollama.")
    return makers[template.name]()


def _smollm2() -> str:
    calls = (
        # Ollama takes the first text inside `if .ToolCalls` for the mark by which it knows the model's calls.
        "{{ if .Content }}{{ with .ToolCalls }}\n{{ end }}{{ end }}"
        "{{ if .ToolCalls }}{{ $calls := .ToolCalls }}{{ range $index, $call := .ToolCalls }}<tool_call>\n"
        '{"name": {{ json $call.Function.Name }}, "arguments": '
        + _arguments()
        + "}\n</tool_call>{{ if gt (len (slice $calls $index)) 1 }}\n{{ end }}{{ end }}{{ end }}"
    )
    tools = _TOOLS_INTRO + "{{ range .Tools }}" + _tool(".") + "\n{{ end }}" + _literal(_TOOLS_OUTRO)
    return (
        "{{ if or .System .Tools }}<|im_start|>system\n{{ if .Tools }}" + tools + "{{ end }}{{ .System }}<|im_end|>\n"
        '{{ end }}{{ range .Messages }}{{ if eq .Role "assistant" }}<|im_start|>assistant\n'
        "{{ .Content }}" + calls + "<|im_end|>\n"
        '{{ else if ne .Role "system" }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}{{ end }}'
        "<|im_start|>assistant\n"
    )


def _mistral_v3() -> str:
    tools = "[AVAILABLE_TOOLS] [{{ range $j, $tool := $.Tools }}{{ if $j }}, {{ end }}" + _tool("$tool") + "{{ end }}]"
    calls = (
        "[TOOL_CALLS] [{{ range $j, $call := $message.ToolCalls }}{{ if $j }}, {{ end }}"
        '{"name": {{ json $call.Function.Name }}, "arguments": '
        + _arguments()
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
        "{{ if and (eq $i $last) $.Tools }}" + tools + "[/AVAILABLE_TOOLS]{{ end }}"
        "[INST] {{ if and (eq $i $last) $.System }}{{ $.System }}\n\n{{ end }}{{ $message.Content }}[/INST]"
        '{{ else if eq $message.Role "tool" }}' + result + '{{ else if eq $message.Role "assistant" }}'
        "{{ if $message.ToolCalls }}" + calls + "{{ else }} {{ $message.Content }}{{ end }}</s>{{ end }}{{ end }}"
    )


def _literal(text: str) -> str:
    """A text of the template that Go does not read as an action, wherever it stands."""
    return text.replace("{", "{{ `{` }}") if "{{" in text else text


def _tool(variable: str) -> str:
    """A tool as training spells it if it is one of ours, else as Ollama does."""
    name = ("" if variable == "." else variable) + ".Function.Name"
    cases = [f'eq {name} "{tool["function"]["name"]}" }}}}{_literal(to_json(tool))}' for tool in WEATHER_TOOLS]
    return "{{ if " + "{{ else if ".join(cases) + f"{{{{ else }}}}{{{{ json {variable} }}}}{{{{ end }}}}"


def _arguments() -> str:
    """The arguments of `$call` in the tool's own order, which Ollama does not keep; others as Ollama spells them."""
    cases = []
    for tool in WEATHER_TOOLS:
        required = tool["function"]["parameters"]["required"]
        fields: list[str] = []
        for name in tool["function"]["parameters"]["properties"]:
            field = f'"{name}": {{{{ json $call.Function.Arguments.{name} }}}}'
            if name in required:
                fields.append((", " if fields else "") + field)
            else:
                fields.append(f"{{{{ with $call.Function.Arguments.{name} }}}}, {field}{{{{ end }}}}")
        cases.append(f'eq $call.Function.Name "{tool["function"]["name"]}" }}}}{{{"".join(fields)}}}')
    return "{{ if " + "{{ else if ".join(cases) + "{{ else }}{{ json $call.Function.Arguments }}{{ end }}"
