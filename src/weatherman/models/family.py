"""What a model's `config.json` says of its layers: windows, and what a prefix tree cannot do. No torch here.

A tree computes a token once for all examples that share everything before it. That is exact where a layer looks at
single tokens or attends to earlier ones by their positions. A layer with a running state (linear attention,
convolutions, state spaces) would carry one branch's state into the next, and rotary positions that depend on the
length of the sequence differ between examples of different lengths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

TREE_LAYERS = ("full_attention", "sliding_attention")
_NAMES = {"attention": "full_attention", "mamba": "linear_attention"}
_NEMOTRON_LAYERS = {"M": "linear_attention", "*": "full_attention", "-": "mlp", "E": "moe"}
_LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
_DROPOUTS = ("attention_dropout", "resid_pdrop", "embd_pdrop", "hidden_dropout")


def text_config(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language part of a configuration; models that also see images keep it in a section of its own."""
    inner = raw.get("text_config")
    return inner if isinstance(inner, Mapping) else raw


def layer_kinds(text: Mapping[str, Any]) -> list[str]:
    """Name the kind of each layer as transformers does; full attention where nothing else is said.

    Args:
        text: the language part of a configuration.

    Returns:
        For example `["sliding_attention", "full_attention"]`.
    """
    num_layers = int(text.get("num_hidden_layers") or 0)
    if isinstance(kinds := text.get("layer_types"), (list, tuple)):
        return [_NAMES.get(str(kind), str(kind)) for kind in kinds]
    if isinstance(pattern := text.get("hybrid_override_pattern"), str):
        return [_NEMOTRON_LAYERS.get(letter, letter) for letter in pattern]
    if isinstance(places := text.get("full_attn_idxs"), (list, tuple)):
        return ["full_attention" if place in places else "conv" for place in range(num_layers)]
    model_type = str(text.get("model_type", ""))
    if model_type.startswith(("qwen3_5", "qwen3_next")):
        every = int(text.get("full_attention_interval") or 4)
        return [TREE_LAYERS[0] if (place + 1) % every == 0 else "linear_attention" for place in range(num_layers)]
    window = sliding_window(text)
    if window and model_type == "gemma2":
        return [TREE_LAYERS[(place + 1) % 2] for place in range(num_layers)]
    if window and model_type.startswith("gemma3"):
        every = int(text.get("sliding_window_pattern") or 6)
        return [TREE_LAYERS[bool((place + 1) % every)] for place in range(num_layers)]
    return [TREE_LAYERS[bool(window)]] * num_layers


def sliding_window(text: Mapping[str, Any]) -> int | None:
    """How many tokens a layer with a sliding window sees, itself included; None if the model has no window."""
    window = text.get("sliding_window")
    used = text.get("use_sliding_window", True)
    return int(window) if window and used else None


def tree_obstacle(text: Mapping[str, Any], max_seq_length: int) -> str:
    """Say why a prefix tree cannot be used, in words that follow "the model has"; empty if it can.

    Args:
        text: the language part of a configuration.
        max_seq_length: the longest conversation of the run, in tokens.

    Returns:
        For example `18 layers of linear attention`.
    """
    others = Counter(kind for kind in layer_kinds(text) if kind not in TREE_LAYERS)
    if others:
        return " and ".join(f"{count} layers of the kind {kind}" for kind, count in sorted(others.items()))
    if kind := length_dependent_rope(text, max_seq_length):
        return f"rotary positions that depend on the conversation's length ({kind})"
    if text.get("model_type") == "gpt_oss":
        return "attention sinks"
    if rates := [key for key in _DROPOUTS if isinstance(text.get(key), float) and text[key] > 0]:
        return f"dropout of its own ({', '.join(rates)})"
    return ""


def length_dependent_rope(text: Mapping[str, Any], max_seq_length: int) -> str:
    """The kind of rotary positions that change within the run's lengths; empty if they do not.

    `dynamic` and `longrope` change once a sequence is longer than the model was first made for.
    """
    for rope in _ropes(text):
        kind = str(rope.get("rope_type", rope.get("type", "default")))
        if kind in _LENGTH_DEPENDENT_ROPE:
            original = rope.get("original_max_position_embeddings") or text.get("original_max_position_embeddings")
            known = original or text.get("max_position_embeddings") or 0
            if max_seq_length > int(known):
                return kind
    return ""


def _ropes(text: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every set of rotary parameters: one for all layers, or one for each kind of layer."""
    for key in ("rope_parameters", "rope_scaling"):
        found = text.get(key)
        if isinstance(found, Mapping):
            yield found
            yield from (inner for inner in found.values() if isinstance(inner, Mapping))
