"""The shape of a base model, known before its weights are there: what a plan's memory and time follow from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from weatherman.models.base_model import DEMO_MODEL


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder of the Llama family, with gated MLPs and RMS norms, which Mistral and SmolLM2 are too.

    Attributes:
        num_layers: of the decoder.
        hidden: the width of the residual stream.
        intermediate: the width inside the MLP.
        num_heads: query heads.
        num_kv_heads: key-value heads.
        head_dim: the width of a head.
        vocabulary: tokens.
        tied: whether the input and output embeddings are one matrix.
    """

    num_layers: int
    hidden: int
    intermediate: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool

    @property
    def modules(self) -> dict[str, tuple[int, int]]:
        """The projections of a layer: (inputs, outputs)."""
        query, key_value = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, query),
            "k_proj": (self.hidden, key_value),
            "v_proj": (self.hidden, key_value),
            "o_proj": (query, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def num_parameters(self) -> int:
        """All weights, each counted once."""
        layer = sum(inputs * outputs for inputs, outputs in self.modules.values()) + 2 * self.hidden
        return self.num_layers * layer + self.hidden + (1 if self.tied else 2) * self.vocabulary * self.hidden

    @property
    def num_computing_parameters(self) -> int:
        """The weights that a token is multiplied with: all but the input embedding, which is looked up."""
        return self.num_parameters - (0 if self.tied else self.vocabulary * self.hidden)

    def num_adapted_parameters(self, target_modules: list[str]) -> int:
        """The base weights of the modules that get an adapter."""
        pairs = [self.modules[name] for name in target_modules]
        return self.num_layers * sum(inputs * outputs for inputs, outputs in pairs)

    def num_adapter_parameters(self, rank: int, target_modules: list[str]) -> int:
        """LoRA's weights: rank x (inputs + outputs) for each target module of each layer."""
        return self.num_layers * rank * sum(sum(self.modules[name]) for name in target_modules)


KNOWN: dict[str, ModelShape] = {
    DEMO_MODEL: ModelShape(30, 576, 1536, 9, 3, 64, 49152, tied=True),
    "mistralai/Mistral-7B-Instruct-v0.3": ModelShape(32, 4096, 14336, 32, 8, 128, 32768, tied=False),
}


def model_shape(name: str) -> ModelShape | None:
    """The shape of a model: built in for the models of the shipped configurations, else from its `config.json`.

    Args:
        name: as in `model_name_or_path`; nothing is fetched.

    Returns:
        The shape; None if it is not known here.
    """
    if name in KNOWN:
        return KNOWN[name]
    path = Path(name) / "config.json" if Path(name).is_dir() else _cached(name)
    if path is None:
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        heads, hidden = int(raw["num_attention_heads"]), int(raw["hidden_size"])
        return ModelShape(
            num_layers=int(raw["num_hidden_layers"]),
            hidden=hidden,
            intermediate=int(raw["intermediate_size"]),
            num_heads=heads,
            num_kv_heads=int(raw.get("num_key_value_heads") or heads),
            head_dim=int(raw.get("head_dim") or hidden // heads),
            vocabulary=int(raw["vocab_size"]),
            tied=bool(raw.get("tie_word_embeddings", False)),
        )
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError, AttributeError):
        return None


def _cached(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None
