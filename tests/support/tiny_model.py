"""A whole training setting that runs in seconds: a 2-layer Llama of random weights, its tokenizer, data and config."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather now.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CITIES = ("Lisbon", "Oslo", "Quito", "Nairobi", "Perth", "Lima", "Bergen", "Kyoto")
PERSONAS = ("twain", "franklin", "satire", "neutral")

CONFIG = """\
model_name_or_path: {root}/model
dtype: float32
device: cpu
train_file: {root}/train.jsonl
validation_file: {root}/validation.jsonl
output_dir: {root}/run
max_seq_length: 512
num_train_epochs: 2
per_device_train_batch_size: 2
gradient_accumulation_steps: 2
learning_rate: 5e-3
lora_r: 8
lora_alpha: 16
lora_dropout: 0.1
save_steps: 3
save_total_limit: 2
eval_steps: 5
logging_steps: 1
sharing: "on"
max_tokens_per_chunk: 128
num_threads: 1
num_tool_eval_prompts: 2
sample_prompts: ["Is it wet in Oslo?"]
"""


def conversation(rng: Random, number: int) -> dict[str, Any]:
    """One short conversation: with a tool call three times out of four."""
    city, persona = rng.choice(CITIES), PERSONAS[number % len(PERSONAS)]
    degrees = rng.randint(-9, 35)
    call_id = f"call{number:05d}"
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": f"You are the {persona} weather reporter."},
        {"role": "user", "content": f"How is {city}?"},
    ]
    if number % 4:
        function = {"name": "get_weather", "arguments": json.dumps({"city": city})}
        messages += [
            {"role": "assistant", "tool_calls": [{"id": call_id, "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": call_id, "content": json.dumps({"temperature_c": degrees})},
            {"role": "assistant", "content": f"{city} has {degrees} degrees."},
        ]
    else:
        messages.append({"role": "assistant", "content": f"Ask me about {city} tomorrow."})
    return {"messages": messages, "tools": [TOOL], "metadata": {"id": f"t{number}", "persona": persona}}


def write_rows(path: Path, num_rows: int, seed: int) -> None:
    """Write a data file."""
    rng = Random(seed)
    rows = [json.dumps(conversation(rng, number)) for number in range(num_rows)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def write_model(folder: Path, *, hidden_size: int = 32) -> None:
    """Write the model and its tokenizer; the same bytes every time."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = Random(0)
    tokenizer.train_from_iterator([json.dumps(conversation(rng, number)) for number in range(64)], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=SPECIALS[2], pad_token=SPECIALS[0])
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=hidden_size, intermediate_size=2 * hidden_size, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        LlamaForCausalLM(config).save_pretrained(folder)


def write_setting(root: Path, *, num_rows: int = 22, hidden_size: int = 32) -> Path:
    """Write model, data and configuration below `root`.

    Returns:
        The configuration's path; its run goes to `root/run`: two epochs, 12 steps, the last of an epoch half full.
    """
    root.mkdir(parents=True, exist_ok=True)
    write_model(root / "model", hidden_size=hidden_size)
    write_rows(root / "train.jsonl", num_rows, seed=1)
    write_rows(root / "validation.jsonl", 6, seed=2)
    config = root / "config.yaml"
    config.write_text(CONFIG.format(root=root), encoding="utf-8")
    return config
