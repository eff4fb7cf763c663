"""The real tokenizers, offline: SmolLM2's from the packaged model, Mistral's from mistral-common."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import mistral_common
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from weatherman.models.base_model import packaged_demo_file
from weatherman.rendering.tokenizer import FastTokenizer, SentencePieceTokenizer

MISTRAL_MODEL = Path(mistral_common.__file__).parent / "data" / "mistral_instruct_tokenizer_240323.model.v3"


@functools.cache
def smollm2_folder() -> Path:
    """A folder with the tokenizer alone: reading it out of the packaged model takes seconds, the weights a minute."""
    from transformers import AutoTokenizer

    model = packaged_demo_file()
    folder = Path(tempfile.gettempdir()) / f"weatherman-test-tokenizer-{model.stat().st_size}"
    if not (folder / "tokenizer.json").is_file():
        with tempfile.TemporaryDirectory() as staging:
            AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name).save_pretrained(staging)
            folder.mkdir(exist_ok=True)
            for file in sorted(Path(staging).iterdir(), reverse=True):  # tokenizer_config.json before tokenizer.json
                temporary = folder / f".{file.name}.{id(staging)}"
                temporary.write_bytes(file.read_bytes())
                temporary.replace(folder / file.name)
    return folder


@functools.cache
def smollm2() -> FastTokenizer:
    return FastTokenizer(smollm2_folder() / "tokenizer.json")


@functools.cache
def mistral() -> SentencePieceTokenizer:
    return SentencePieceTokenizer(MISTRAL_MODEL)


@functools.cache
def mistral_reference() -> MistralTokenizer:
    return MistralTokenizer.v3()
