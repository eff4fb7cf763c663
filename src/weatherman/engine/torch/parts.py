"""The parts of a loaded model, whatever its family: the text decoder and the output head."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from weatherman.engine.torch.loss import Head
from weatherman.errors import WeathermanError


def text_decoder(model: PreTrainedModel) -> PreTrainedModel:
    """The module that maps token ids to hidden states: without images, sound, or the output head.

    Raises:
        WeathermanError: the model has no such part.
    """
    decoder: Any = model.get_decoder()
    if decoder is model or decoder.get_input_embeddings() is None:
        raise WeathermanError(
            "model.no-decoder",
            f"{type(model).__name__} has no text decoder that can be trained by itself.",
            "use a causal language model (Llama, Mistral, Qwen, Gemma, Phi, SmolLM).",
        )
    return decoder  # type: ignore[no-any-return]


def output_head(model: PreTrainedModel) -> Head:
    """The output head, with what the family does to its logits.

    Raises:
        WeathermanError: the model has none.
    """
    layer: Any = model.get_output_embeddings()
    if layer is None:
        raise WeathermanError("model.no-head", f"{type(model).__name__} has no output head.", "use a causal model.")
    config: Any = text_decoder(model).config
    scale = float(getattr(config, "logit_scale", None) or 1.0) * float(
        getattr(config, "lm_head_multiplier", None) or 1.0
    )
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    return Head(layer.weight, layer.bias, scale, getattr(config, "final_logit_softcapping", None))


def query_groups(decoder: PreTrainedModel) -> int:
    """Query heads per key-value head."""
    config: Any = decoder.config
    return int(
        config.num_attention_heads // (getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    )
