"""Write Llama-shaped models and LoRA adapters as GGUF, with the gguf package's writer, for llama.cpp and Ollama.

Only byte-level BPE vocabularies (SmolLM2, Llama 3) are written; for SentencePiece ones use llama.cpp's own converter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from weatherman.errors import WeathermanError

FILE_TYPES = {"f32": torch.float32, "f16": torch.float16}
_ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM")
_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4


def write_model_gguf(folder: Path, target: Path, file_type: str) -> None:
    """Write a merged model folder as one GGUF file.

    Args:
        folder: `config.json`, safetensors, `tokenizer.json` and the chat template.
        target: the file.
        file_type: "f32" or "f16"; norms are always float32.

    Raises:
        WeathermanError: the model or its tokenizer is of a kind that is not written here.
    """
    import gguf

    config = _config(folder)
    vocabulary = _Vocabulary(folder)
    writer = gguf.GGUFWriter(target, "llama")
    _write_shape(writer, config)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if file_type == "f32" else gguf.LlamaFileType.MOSTLY_F16)
    vocabulary.write(writer)
    for name, weight in _weights(folder):
        if name == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue
        dtype = torch.float32 if weight.ndim == 1 else FILE_TYPES[file_type]
        writer.add_tensor(_gguf_name(name), _rows(name, weight, config).to(dtype).contiguous().numpy())
    _finish(writer)


def write_adapter_gguf(adapter: Path, base_config: Path, target: Path) -> None:
    """Write a PEFT LoRA adapter as a GGUF adapter, in float32.

    Args:
        adapter: `adapter_config.json` and `adapter_model.safetensors`.
        base_config: folder of the base model's `config.json`.
        target: the file.

    Raises:
        WeathermanError: the model is of a kind that is not written here.
    """
    import gguf

    config = _config(base_config)
    lora = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(lora["lora_alpha"]))
    for name, weight in _weights(adapter):
        module, _, side = name.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".")
        if side not in ("lora_A", "lora_B"):
            raise WeathermanError("gguf.adapter", f"{adapter}: {name} is no LoRA weight.", "use llama.cpp's converter.")
        rows = _rows(f"{module}.weight", weight, config) if side == "lora_B" else weight
        writer.add_tensor(f"{_gguf_name(module + '.weight')}.{side.lower()}", rows.float().contiguous().numpy())
    _finish(writer)


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("architectures", [None])[0] not in _ARCHITECTURES:
        text = f"{folder} is a {config.get('architectures')}; only Llama-shaped models are written as GGUF here."
        raise WeathermanError("gguf.architecture", text, "use llama.cpp's convert_hf_to_gguf.py.")
    return config


def _write_shape(writer: Any, config: dict[str, Any]) -> None:
    num_heads = config["num_attention_heads"]
    head_size = config.get("head_dim") or config["hidden_size"] // num_heads
    rope = config.get("rope_parameters") or {}
    writer.add_name("weatherman-lora")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(num_heads)
    writer.add_head_count_kv(config.get("num_key_value_heads", num_heads))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(float(rope.get("rope_theta", config.get("rope_theta", 10000.0))))
    writer.add_rope_dimension_count(head_size)
    writer.add_vocab_size(config["vocab_size"])


class _Vocabulary:
    """A byte-level BPE `tokenizer.json` in llama.cpp's terms."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        self._settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        self._template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
        self._pre = _pre_tokenizer(self._tokenizer, folder)

    def write(self, writer: Any) -> None:
        """Add tokens, merges, special tokens and the chat template."""
        added = {token["id"]: token for token in self._tokenizer["added_tokens"]}
        by_id = {number: token for token, number in self._tokenizer["model"]["vocab"].items()}
        by_id.update({number: token["content"] for number, token in added.items()})
        tokens = [by_id[number] for number in range(len(by_id))]
        kinds = [
            _NORMAL if number not in added else _CONTROL if added[number]["special"] else _USER_DEFINED
            for number in range(len(tokens))
        ]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(self._pre)
        writer.add_token_list(tokens)
        writer.add_token_types(kinds)
        writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in self._tokenizer["model"]["merges"]])
        number_of = {token: number for number, token in by_id.items()}
        for name, add in (
            ("bos_token", writer.add_bos_token_id),
            ("eos_token", writer.add_eos_token_id),
            ("unk_token", writer.add_unk_token_id),
            ("pad_token", writer.add_pad_token_id),
        ):
            if self._settings.get(name) in number_of:
                add(number_of[self._settings[name]])
        writer.add_add_bos_token(False)
        writer.add_add_space_prefix(False)
        writer.add_chat_template(self._template)


def _pre_tokenizer(tokenizer: dict[str, Any], folder: Path) -> str:
    """llama.cpp's name for how text is cut before BPE: GPT-2's way, alone or with digits apart (SmolLM)."""
    pre = tokenizer.get("pre_tokenizer") or {}
    kinds = [part.get("type") for part in pre.get("pretokenizers", [pre])]
    if tokenizer.get("model", {}).get("type") == "BPE" and tokenizer.get("normalizer") is None:
        if kinds == ["ByteLevel"]:
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"]:
            return "smollm"
    raise WeathermanError(
        "gguf.tokenizer",
        f"the tokenizer of {folder} is not a byte-level BPE that is written as GGUF here.",
        "use llama.cpp's convert_hf_to_gguf.py.",
    )


def _weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in sorted(tensors.keys()):
                yield name, tensors.get_tensor(name)


def _gguf_name(name: str) -> str:
    module = name.removesuffix(".weight")
    if module.startswith("model.layers."):
        _, _, layer, part = module.split(".", 3)
        return f"blk.{layer}.{_NAMES[part]}.weight"
    return f"{_NAMES[module]}.weight"


def _rows(name: str, weight: Tensor, config: dict[str, Any]) -> Tensor:
    """Rows of the query and key projections in llama.cpp's order: it rotates neighbours, transformers halves."""
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config.get("num_key_value_heads")}
    num_heads = heads.get(name.removesuffix(".weight").rpartition(".")[2])
    if not num_heads:
        return weight
    return weight.view(num_heads, 2, -1, weight.shape[-1]).transpose(1, 2).reshape(weight.shape)


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
