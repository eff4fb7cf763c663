"""The two engines on one tiny random model in float32, with adapters that are not zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from torch_models_for_tests import conversations, tiny_base
from weatherman.config.schema import TrainingConfig
from weatherman.engine.base import Engine
from weatherman.engine.choose import open_engine
from weatherman.records import StepPlan
from weatherman.steps.sampling import step_plans

EXAMPLES = conversations(num_shared=40, num_own=12, num_rows=10)
FAMILIES = ("llama", "mistral", "qwen3")


def save_family(folder: Path, family: str, **changes: Any) -> Path:
    """Write a tiny model of a family, with projections that 64 divides."""
    sizes: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2} | changes
    model: PreTrainedModel
    if family == "qwen3":
        torch.manual_seed(0)
        fixed = {"vocab_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
        config = Qwen3Config(**{**sizes, **fixed, "initializer_range": 0.2, "tie_word_embeddings": True})
        model = Qwen3ForCausalLM(config)
    else:
        model = tiny_base(family, **sizes)
    model.save_pretrained(folder)
    return folder


def open_tiny(folder: Path, engine: str, *, sharing: bool = True, **changes: Any) -> Any:
    """An engine whose adapter's B is random: at zero, the gradient of A is zero and proves nothing."""
    settings: dict[str, Any] = {
        "model_name_or_path": str(folder), "dtype": "float32", "device": "cpu", "engine": engine,
        "lora_r": 8, "lora_alpha": 16, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2,
        "learning_rate": 5e-3, "max_tokens_per_chunk": 64,
    }  # fmt: skip
    made: Engine = open_engine(TrainingConfig(**(settings | changes)), sharing=sharing, stop_token_ids=[2])
    set_adapter(made, random_adapter(made))
    return made


def adapter_of(made: Any) -> dict[str, np.ndarray]:
    """Every LoRA weight by PEFT's name, whichever engine holds it."""
    if hasattr(made, "_adapter") and hasattr(made._adapter, "named"):
        return {name: np.array(value) for name, value in made._adapter.named()}
    named = made._model.named_parameters()
    return {n.removesuffix(".default.weight"): p.detach().numpy().copy() for n, p in named if p.requires_grad}


def random_adapter(made: Any) -> dict[str, np.ndarray]:
    """The adapter with B drawn by name; the same for both engines."""
    found = adapter_of(made)
    for number, name in enumerate(sorted(found)):
        if name.endswith("lora_B"):
            found[name] = (np.random.default_rng(number).standard_normal(found[name].shape) * 0.2).astype(np.float32)
    return found


def set_adapter(made: Any, values: dict[str, np.ndarray]) -> None:
    """Give an engine these weights."""
    if hasattr(made, "_adapter") and hasattr(made._adapter, "replace"):
        import mlx.core as mx

        made._adapter.replace({name: mx.array(value) for name, value in values.items()})
        return
    for name, parameter in made._model.named_parameters():
        if parameter.requires_grad:
            parameter.data.copy_(torch.from_numpy(values[name.removesuffix(".default.weight")]))


def plans(last: int, first: int = 1) -> list[StepPlan]:
    return list(step_plans(EXAMPLES, batch_size=4, seed=3, first_step=first, last_step=last))


def mlx_gradients(made: Any, step: int = 1) -> tuple[float, dict[str, np.ndarray]]:
    from weatherman.engine.mlx.step import TreeRun

    tree = made._build(plans(step)[-1].examples)
    run = TreeRun(made._decoder, tree, made._config.seed, step, backward=True)
    run.run_all(made._cut(tree))
    return float(run.loss), {name: np.array(value) for name, value in made._named_gradients(run).items()}


def assert_close(
    found: tuple[float, dict[str, np.ndarray]], expected: tuple[float, dict[str, np.ndarray]], tolerance: float
) -> None:
    assert abs(found[0] - expected[0]) <= min(1e-5, tolerance) * expected[0]
    assert found[1].keys() == expected[1].keys()
    largest = max(float(np.linalg.norm(gradient)) for gradient in expected[1].values())
    for name, gradient in expected[1].items():
        norm = float(np.linalg.norm(gradient))
        assert norm > 0, name
        assert np.linalg.norm(found[1][name] - gradient) <= tolerance * max(norm, 0.01 * largest), name
