"""How much memory a run needs, by formula, before it starts.

Peak = weights + adapter + optimizer + activations + logits + runtime, where

- weights: parameters x bytes of their type, and on a CPU a merged copy of the adapted ones (torch/fast_lora.py);
- adapter: LoRA's weights and their gradients, float32;
- optimizer: Adam's two moments, float32;
- activations: what the backward pass needs of every token that is held at the worst moment (`layer_bytes`), and what
  the allocator loses between them;
- logits: a chunk of the head's output and its copies, and the hidden states at supervised positions;
  workers (torch/crew.py) have these, their sums of gradients and those of the trunks' K and V each for themselves;
- runtime: the interpreter and libraries, or the device's context.

Checked against measured peaks by `tests/planning/test_plan.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from weatherman.config.schema import TrainingConfig
from weatherman.models.shape import ModelShape
from weatherman.steps.passes import Pass, plan_passes
from weatherman.steps.prefix_tree import PrefixTree

GIB = 2**30
_FLOAT = 4
_LOGITS_CHUNK_BYTES = 48 * 2**20  # engine/torch/loss.py
_LOGITS_COPIES = 3
_DROPOUT_COPIES = 3  # mask and product are kept; the measured growth on a CPU is that of three
_RUNTIME_BYTES = {"cpu": int(0.35 * GIB), "mps": 1 * GIB, "cuda": 1 * GIB}
_ALLOCATOR_FACTOR = {"cpu": 1.27, "mps": 1.1, "cuda": 1.1}  # the first is measured, the others are guesses

# With recomputation a layer keeps its input. On a CPU the measured growth is that of five: what is freed between two
# inputs that stay is not given back. Elsewhere two is a guess with a margin.
_INPUTS_KEPT = {"cpu": 5, "mps": 2, "cuda": 2}


@dataclass(frozen=True, slots=True)
class Held:
    """Tokens at the worst moment of a step.

    Attributes:
        tokens: whose activations are held.
        keys: for each query, the keys it may see, summed: what the joined keys and values are as long as.
        scores: cells of the attention masks: queries x keys.
        supervised: targets of the pass.
        trunk_tokens: whose K and V, and their gradients, are held for the branches.
        num_workers: that compute branches side by side.
    """

    tokens: int
    keys: int
    scores: int
    supervised: int
    trunk_tokens: int = 0
    num_workers: int = 1


@dataclass(frozen=True, slots=True)
class Memory:
    """The estimate in bytes, part by part."""

    weights: int
    adapter: int
    optimizer: int
    activations: int
    logits: int
    runtime: int

    @property
    def total(self) -> int:
        """The peak."""
        return self.weights + self.adapter + self.optimizer + self.activations + self.logits + self.runtime


def merges_weights(config: TrainingConfig, device: str, dtype_bytes: int) -> bool:
    """Whether the adapted weights are merged for a step: a copy more, and less to keep (torch/fast_lora.py)."""
    return device == "cpu" and dtype_bytes == _FLOAT and config.lora_dropout == 0


def layer_bytes(shape: ModelShape, config: TrainingConfig, held: Held, dtype_bytes: int, *, merges: bool) -> int:
    """Activations of one layer that the backward pass needs.

    Per token: the inputs of the two norms, the queries, the attention's output, the MLP's gate before and after its
    nonlinearity and its other half; and for LoRA's A the inputs of its modules in float32: shared by neighbours
    where that is the model's own type, one copy a module where it is not, with its dropout's mask where there is one.
    Merged weights keep two of the MLP's three, and find the input of its last module again (torch/fast_layers.py).
    """
    width, inner = shape.num_heads * shape.head_dim, shape.intermediate
    own = 2 * _FLOAT * shape.hidden + dtype_bytes * (2 * width + (2 if merges else 3) * inner)
    targets = [shape.modules[name][0] for name in config.target_modules]
    if config.lora_dropout > 0:
        lora = _DROPOUT_COPIES * _FLOAT * sum(targets)
    elif dtype_bytes < _FLOAT:
        lora = _FLOAT * sum(targets)
    else:
        lora = _FLOAT * (2 * shape.hidden + width + (0 if merges else inner))
    keys_values = 2 * dtype_bytes * shape.num_kv_heads * shape.head_dim * held.keys
    inside = _FLOAT * config.lora_r * len(targets)
    return held.tokens * (own + lora + inside) + keys_values


def estimate_memory(shape: ModelShape, config: TrainingConfig, held: Held, *, device: str, dtype_bytes: int) -> Memory:
    """The peak of a training step.

    Args:
        shape: the base model's.
        config: LoRA's rank and modules, dropout, gradient checkpointing.
        held: tokens at the worst moment.
        device: "cpu", "mps" or "cuda".
        dtype_bytes: of the base's weights: 4 or 2.

    Returns:
        The estimate.
    """
    adapter = shape.num_adapter_parameters(config.lora_r, list(config.target_modules)) * _FLOAT
    merges = merges_weights(config, device, dtype_bytes)
    merged = _FLOAT * shape.num_adapted_parameters(list(config.target_modules)) if merges else 0
    one_layer = layer_bytes(shape, config, held, dtype_bytes, merges=merges)
    apart = held.num_workers if held.num_workers > 1 else 0  # what each worker has besides what all have
    trunk_token = 2 * (dtype_bytes + (1 + apart) * _FLOAT) * shape.num_kv_heads * shape.head_dim * shape.num_layers
    trunk = trunk_token * held.trunk_tokens
    if config.recomputes:
        inputs = held.tokens * dtype_bytes * shape.hidden * shape.num_layers
        kept = _INPUTS_KEPT[device] * inputs + one_layer
    else:
        kept = one_layer * shape.num_layers
    masks = dtype_bytes * held.scores * (shape.num_heads // shape.num_kv_heads)  # one mask serves all layers
    backward = held.tokens * _FLOAT * (2 * shape.intermediate + 2 * shape.hidden)
    return Memory(
        weights=shape.num_parameters * dtype_bytes + merged,
        adapter=(2 + 2 * apart) * adapter,  # a worker's sums, and the gradients of the pass that it is in
        optimizer=2 * adapter,
        activations=int((kept + trunk + masks + backward) * _ALLOCATOR_FACTOR[device]),
        logits=held.num_workers * _LOGITS_COPIES * _LOGITS_CHUNK_BYTES
        + 2 * dtype_bytes * held.supervised * shape.hidden,
        runtime=_RUNTIME_BYTES[device],
    )


def held_by_tree(tree: PrefixTree, budget: int | None, max_held_tokens: int | None, num_workers: int = 1) -> Held:
    """The worst moment of a step over its prefix tree, cut as the engine cuts it."""
    return _worst(tree, plan_passes(tree, budget, max_held_tokens), Held(0, 0, 0, 0), num_workers)


def _worst(tree: PrefixTree, passes: Sequence[Pass], above: Held, num_workers: int) -> Held:
    """The worst moment of passes that have the same trunks above; workers may be in their largest ones at a time."""
    if num_workers == 1 or len(passes) < 2:
        return max((_worst_of(tree, one, above, num_workers) for one in passes), key=_size, default=above)
    moments = sorted((_worst_of(tree, one, above, 1) for one in passes), key=_size)[-num_workers:]
    return Held(
        above.tokens + sum(moment.tokens - above.tokens for moment in moments),
        above.keys + sum(moment.keys - above.keys for moment in moments),
        above.scores + sum(moment.scores - above.scores for moment in moments),
        above.supervised + sum(moment.supervised - above.supervised for moment in moments),
        above.trunk_tokens + sum(moment.trunk_tokens - above.trunk_tokens for moment in moments),
        len(moments),
    )


def _worst_of(tree: PrefixTree, one: Pass, above: Held, num_workers: int) -> Held:
    """The worst moment of a pass and of what is below it."""
    segments = [tree.segments[index] for index in one.segments]
    tokens = sum(len(segment.ids) for segment in segments)
    own = Held(
        above.tokens + tokens,
        above.keys + sum(segment.start + len(segment.ids) for segment in segments),
        above.scores + sum(len(segment.ids) * (segment.start + len(segment.ids)) for segment in segments),
        above.supervised + sum(len(segment.target) for segment in segments),
        above.trunk_tokens,
    )
    if not one.children:
        return own
    trunk = replace(above if one.recompute else own, trunk_tokens=above.trunk_tokens + tokens)
    return max(own, _worst(tree, one.children, trunk, num_workers), key=_size)


def _size(held: Held) -> tuple[int, int]:
    return held.tokens, held.scores


def held_by_padding(lengths: Sequence[int], supervised: int) -> Held:
    """The worst moment of a padded micro-batch: every row as long as the longest."""
    longest, rows = max(lengths), len(lengths)
    return Held(rows * longest, rows * longest, rows * longest * longest, supervised)
