"""How much memory a run on MLX needs, by formula; MLX holds one pass at a time, and packs quantised weights.

What differs from `planning/memory.py`: every trunk is computed twice and holds its K and V alone; attention inside a
gradient's trace is not fused, so its scores exist, for one layer with recomputation and for all without; freed blocks
stay in a cache up to its limit (engine/mlx/device.py). Checked against measured peaks by `tests/planning`.
"""

from __future__ import annotations

from weatherman.config.schema import TrainingConfig
from weatherman.engine.choose import MLX_QUANTIZATIONS, choose_engine
from weatherman.models.shape import ModelShape
from weatherman.planning.memory import GIB, Held, Memory, estimate_memory
from weatherman.planning.time import dtype_bytes, run_device

MAC_SHARE = 0.72  # of a Mac's memory: about what Metal recommends as the most (11.5 of 16 GB)
_FLOAT = 4
_GROUP_SIZE = 64  # engine/mlx/model.py
_SCALES_PER_GROUP = 2  # a scale and a bias
_SCORE_COPIES = 3  # scores, their softmax, and its gradient
_LAYER_COPIES = 3  # of a layer's vectors: values, what the backward pass keeps of them, gradients
_LOGITS_CHUNK_BYTES = 48 * 2**20  # engine/mlx/loss.py
_LOGITS_COPIES = 4
_CACHE_BYTES = 1 * GIB  # engine/mlx/device.py
_RUNTIME_BYTES = int(0.75 * GIB)  # Python with mlx-lm and what it imports


def uses_mlx(config: TrainingConfig) -> bool:
    """Whether a run of this configuration is planned for MLX: an M4's is, where `auto` takes it on Apple Silicon."""
    return choose_engine(config, apple_silicon=config.platform == "m4" or None) == "mlx"


def engine_words(config: TrainingConfig) -> list[str]:
    """Say that a plan is for MLX; nothing for PyTorch."""
    return [f"MLX computes (engine: {config.engine}, quantization: {config.quantization})"] if uses_mlx(config) else []


def weight_bytes(config: TrainingConfig, shape: ModelShape) -> int:
    """What the frozen base takes: packed groups of 64 with a scale and a bias each where it is quantised."""
    if config.quantization not in MLX_QUANTIZATIONS:
        return shape.num_parameters * dtype_bytes(config)
    bits = int(config.quantization.removesuffix("bit"))
    per_weight = bits / 8 + _SCALES_PER_GROUP * dtype_bytes(config) / _GROUP_SIZE
    return int(shape.num_parameters * per_weight)


def peak_memory(config: TrainingConfig, shape: ModelShape, held: Held) -> Memory:
    """The peak of a training step on the engine that the configuration chooses."""
    if uses_mlx(config):
        return estimate_mlx_memory(config, shape, held)
    return estimate_memory(shape, config, held, device=run_device(config), dtype_bytes=dtype_bytes(config))


def estimate_mlx_memory(config: TrainingConfig, shape: ModelShape, held: Held) -> Memory:
    """The peak of a training step on MLX.

    Args:
        config: LoRA's rank and modules, recomputation, quantisation.
        shape: the base model's.
        held: tokens at the worst moment: of one pass, and of the trunks above it.

    Returns:
        The estimate.
    """
    size = dtype_bytes(config)
    adapter = shape.num_adapter_parameters(config.lora_r, list(config.target_modules)) * _FLOAT
    width = shape.num_heads * shape.head_dim
    vectors = size * (4 * shape.hidden + 3 * width + 4 * shape.intermediate)
    inputs = _FLOAT * sum(shape.modules[name][0] for name in config.target_modules)  # LoRA's, widened to float32
    scores = _SCORE_COPIES * _FLOAT * shape.num_heads * held.scores
    layer = _LAYER_COPIES * held.tokens * (vectors + inputs) + scores
    if config.gradient_checkpointing:
        kept = layer + held.tokens * size * shape.hidden * shape.num_layers
    else:
        kept = layer + (shape.num_layers - 1) * (held.tokens * (vectors + inputs) + scores // _SCORE_COPIES * 2)
    # K and V; what one pass sends up; float32 sums, old and new at once
    per_trunk_token = 2 * (2 * size + 2 * _FLOAT) * shape.num_kv_heads * shape.head_dim * shape.num_layers
    own = 2 * size * shape.num_kv_heads * shape.head_dim * shape.num_layers * held.tokens
    return Memory(
        weights=weight_bytes(config, shape),
        adapter=3 * adapter,  # weights, the step's sums, and the gradients of one pass
        optimizer=2 * adapter,
        activations=kept + own + per_trunk_token * held.trunk_tokens,
        logits=_LOGITS_COPIES * _LOGITS_CHUNK_BYTES + 2 * size * held.supervised * shape.hidden,
        runtime=_RUNTIME_BYTES + _CACHE_BYTES,
    )
