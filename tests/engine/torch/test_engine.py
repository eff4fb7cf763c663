"""The engine as training uses it: tree against padded and plain transformers, saved and resumed, proofs and refusals."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tokenizers_for_tests import smollm2
from torch_models_for_tests import conversations, randomise_lora_b, rendered, save_tiny_base
from weatherman.config.schema import TrainingConfig
from weatherman.data.read import read_conversations
from weatherman.engine.torch import sdpa as torch_sdpa
from weatherman.engine.torch.engine import TorchEngine
from weatherman.errors import WeathermanError
from weatherman.records import Rendered, StepPlan
from weatherman.rendering.render import render
from weatherman.rendering.templates import choose_template
from weatherman.steps.prefix_tree import build_tree
from weatherman.steps.sampling import step_plans
from weatherman.steps.schedule import learning_rate

TRAIN_FILE = Path(__file__).parents[3] / "data" / "synthetic" / "final_train.jsonl"


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_base(tmp_path_factory.mktemp("base"), num_hidden_layers=2)


def engine(folder: Path, *, sharing: bool = True, **changes: Any) -> TorchEngine:
    settings: dict[str, Any] = {
        "model_name_or_path": str(folder),
        "dtype": "float32",
        "device": "cpu",
        "lora_r": 8,
        "lora_alpha": 16,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 5e-3,
        "max_tokens_per_chunk": 64,
    }
    made = TorchEngine(TrainingConfig(**(settings | changes)), sharing=sharing, stop_token_ids=[2])
    randomise_lora_b(made._model)
    return made


def plans(num_steps: int, first_step: int = 1) -> list[StepPlan]:
    examples = conversations(num_shared=40, num_own=12, num_rows=10)
    return list(step_plans(examples, batch_size=4, seed=3, first_step=first_step, last_step=num_steps))


def rate(step: int) -> float:
    return learning_rate(step, num_steps=30, base=5e-3, warmup_ratio=0.1, kind="cosine")


def adapter(made: TorchEngine) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in made._model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_thirty_steps_of_the_tree_are_those_of_padded_batches(base_folder: Path, checkpointing: bool) -> None:
    tree = engine(base_folder, gradient_checkpointing=checkpointing)
    padded = engine(base_folder, sharing=False, gradient_checkpointing=checkpointing)
    losses = []
    for plan in plans(30):
        a, b = tree.step(plan, rate(plan.step)), padded.step(plan, rate(plan.step))
        assert abs(a.loss - b.loss) < 1e-4 * b.loss, plan.step
        assert abs(a.grad_norm - b.grad_norm) < 1e-3 * b.grad_norm, plan.step
        assert a.num_computed_tokens < b.num_effective_tokens <= b.num_computed_tokens
        losses.append(a.loss)
    assert losses[-1] < 0.7 * losses[0]


def plain_transformers(folder: Path, start: dict[str, torch.Tensor], adapter_folder: Path) -> list[float]:
    """The same run by other people's code: model(labels=) example by example, PEFT, torch's AdamW and clipping."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model = PeftModel.from_pretrained(base, adapter_folder, is_trainable=True)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in start:
                parameter.copy_(start[name])
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1.0, weight_decay=0.01, foreach=False, fused=False)
    losses = []
    for plan in plans(6):
        optimizer.zero_grad()
        total = 0.0
        for example in plan.examples:
            ids = torch.tensor(example.ids.astype(np.int64))[None]
            labels = torch.where(torch.tensor(example.mask)[None], ids, -100)
            part = model(input_ids=ids, labels=labels).loss * example.num_supervised_tokens / plan.num_supervised_tokens
            part.backward()
            total += float(part.detach())
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.param_groups[0]["lr"] = rate(plan.step)
        optimizer.step()
        losses.append(total)
    return losses


@pytest.mark.parametrize("sharing", [True, False])
def test_the_engine_trains_like_plain_transformers(base_folder: Path, tmp_path: Path, sharing: bool) -> None:
    made = engine(base_folder, sharing=sharing, weight_decay=0.01)
    made.save_adapter(tmp_path)
    expected = plain_transformers(base_folder, adapter(made), tmp_path)
    found = [made.step(plan, rate(plan.step)).loss for plan in plans(6)]
    assert found == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize(("sharing", "dropout"), [(True, 0.0), (True, 0.1), (False, 0.1)])
def test_saved_and_loaded_goes_on_bit_for_bit(base_folder: Path, tmp_path: Path, sharing: bool, dropout: float) -> None:
    whole = engine(base_folder, sharing=sharing, lora_dropout=dropout)
    for plan in plans(3):
        whole.step(plan, rate(plan.step))
    whole.save_adapter(tmp_path)
    whole.save_optimizer(tmp_path)
    expected = [whole.step(plan, rate(plan.step)) for plan in plans(6, first_step=4)]
    torch.manual_seed(99)  # the global generator must not matter
    resumed = engine(base_folder, sharing=sharing, lora_dropout=dropout)
    resumed.load(tmp_path)
    for before, plan in enumerate(plans(6, first_step=4)):
        resumed.prepare(plan)
        assert resumed.step(plan, rate(plan.step)) == expected[before]
    assert all(torch.equal(value, adapter(whole)[name]) for name, value in adapter(resumed).items())


def test_the_adapter_is_pefts_and_gives_the_same_loss(base_folder: Path, tmp_path: Path) -> None:
    made = engine(base_folder)
    made.step(plans(1)[0], 1e-3)
    made.save_adapter(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, tmp_path).eval()
    (example, *_) = plans(1)[0].examples
    ids = torch.tensor(example.ids.astype(np.int64))[None]
    with torch.no_grad():
        loss = float(model(input_ids=ids, labels=torch.where(torch.tensor(example.mask)[None], ids, -100)).loss)
    assert made.evaluate([example]).loss == pytest.approx(loss, rel=1e-5)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["r"] == 8


def test_evaluation_does_not_depend_on_sharing_or_batches(base_folder: Path) -> None:
    examples = conversations(num_shared=40, num_own=12, num_rows=7)
    heard: list[int] = []
    tree, padded = engine(base_folder), engine(base_folder, sharing=False, per_device_eval_batch_size=3)
    found = tree.evaluate(examples, heard.append)
    assert heard == [7]
    assert found.num_supervised_tokens == sum(example.num_supervised_tokens for example in examples)
    assert padded.evaluate(examples).loss == pytest.approx(found.loss, rel=1e-5)
    without = tree.evaluate(examples, adapter=False).loss
    assert padded.evaluate(examples, adapter=False).loss == pytest.approx(without, rel=1e-5)
    assert abs(without - found.loss) > 1e-3
    assert all(p.grad is None for p in tree._parameters)


def test_generation_is_greedy_and_ends_before_the_stop_token(base_folder: Path) -> None:
    made = engine(base_folder)
    prompts = [[5, 6, 7], [9, 10, 11, 12, 13]]
    found = made.generate(prompts, 8)
    for prompt, reply in zip(prompts, found, strict=True):
        assert reply == made.generate([prompt], 8)[0]  # padding on the left changes nothing
        assert 2 not in reply
    stop = found[0][3]
    made._stop_token_ids = [stop]
    assert made.generate(prompts[:1], 8)[0] == found[0][: found[0].index(stop)]


@pytest.mark.parametrize("sharing", [True, False])
def test_attention_is_proven_causal(base_folder: Path, sharing: bool) -> None:
    engine(base_folder, sharing=sharing).prove_causality()


def _future_seen(mask: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(mask)


def _nothing_seen_but_itself(mask: torch.Tensor) -> torch.Tensor:
    blind = torch.full_like(mask, float("-inf"))
    return blind.fill_diagonal_(0) if mask.shape[0] == mask.shape[1] else blind.index_fill(1, torch.tensor([0]), 0)


@pytest.mark.parametrize(
    ("wrong", "words"), [(_future_seen, "a later token"), (_nothing_seen_but_itself, "changes nothing after it")]
)
def test_a_wrong_mask_is_found(base_folder: Path, monkeypatch: pytest.MonkeyPatch, wrong: Any, words: str) -> None:
    masks_of = torch_sdpa.SegmentSdpa.masks_of

    def broken(kernel: Any, window: int | None) -> Any:
        return [[replace(mask, added=wrong(mask.added)) for mask in blocks] for blocks in masks_of(kernel, window)]

    monkeypatch.setattr(torch_sdpa.SegmentSdpa, "masks_of", broken)
    with pytest.raises(WeathermanError, match=words) as caught:
        engine(base_folder).prove_causality()
    assert caught.value.code == "engine.leak"


def test_a_visible_sibling_is_found(base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weatherman.engine.torch import step as torch_step

    lay_out = torch_step.lay_out

    def confused(tree: Any, segments: Any, num_past_tokens: int) -> Any:
        layout = lay_out(tree, segments, num_past_tokens)
        ancestors = [tuple(range(place)) for place in range(len(layout.lengths))]  # everything before, siblings too
        return type(layout)(layout.lengths, tuple(ancestors), num_past_tokens)

    monkeypatch.setattr(torch_step, "lay_out", confused)
    with pytest.raises(WeathermanError, match="a sibling branch"):
        engine(base_folder).prove_causality()


def test_a_padded_leak_is_found(base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine(base_folder, sharing=False)
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    def blind(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **kwargs: Any) -> Any:
        return sdpa_attention_forward(module, query, key, value, None, **(kwargs | {"is_causal": False}))

    monkeypatch.setitem(AttentionInterface._global_mapping, "weatherman_sdpa", blind)
    with pytest.raises(WeathermanError, match="leaks"):
        made.prove_causality()


def test_a_step_that_is_not_finite_changes_nothing(base_folder: Path) -> None:
    made = engine(base_folder)
    with torch.no_grad():
        made._parameters[0][0, 0] = math.inf
    before = adapter(made)
    with pytest.raises(WeathermanError, match="not applied"):
        made.step(plans(1)[0], 1e-3)
    assert all(torch.equal(value, before[name]) for name, value in adapter(made).items())


def test_sliding_windows_are_refused_with_sharing(tmp_path: Path) -> None:
    folder = save_tiny_base(tmp_path, family="mistral")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sliding_window": 16}))
    with pytest.raises(WeathermanError, match="sliding") as caught:
        engine(folder)
    assert caught.value.code == "model.sliding-window"
    engine(folder, sharing=False).prove_causality()


@pytest.mark.parametrize("rope", [{"rope_type": "dynamic", "factor": 2.0}, {"rope_type": "longrope"}])
def test_positions_that_depend_on_the_length_are_refused(tmp_path: Path, rope: dict[str, Any]) -> None:
    folder = save_tiny_base(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    if rope["rope_type"] == "longrope":
        rope = rope | {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "original_max_position_embeddings": 64}
    config["rope_parameters"] = {"rope_theta": 10000.0} | rope
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeathermanError) as caught:
        engine(folder)
    assert caught.value.code == "model.rope"


def test_bfloat16_gathers_the_trunks_gradients_in_float32(base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weatherman.engine.torch import step as torch_step

    kinds = set()
    push = torch_step._TreeRun._push_through

    def watched(self: Any, one: Any, past: Any, loss: Any, context: Any, trunk: Any) -> None:
        kinds.update((layer.key.dtype, layer.key_grad.dtype, layer.value_grad.dtype) for layer in trunk)
        push(self, one, past, loss, context, trunk)

    monkeypatch.setattr(torch_step._TreeRun, "_push_through", watched)
    half, full = engine(base_folder, dtype="bfloat16"), engine(base_folder)
    assert {p.dtype for p in half._parameters} == {torch.float32}
    plan = plans(1)[0]
    assert half.step(plan, 1e-3).loss == pytest.approx(full.step(plan, 1e-3).loss, rel=0.02)
    assert kinds == {(torch.bfloat16,) + (torch.float32,) * 2, (torch.float32,) * 3}


def shipped_examples(count: int) -> list[Rendered]:
    tokenizer = smollm2()
    template = choose_template("smollm2", tokenizer.has)
    conversations_ = [c for _, c in zip(range(count), read_conversations(TRAIN_FILE), strict=False)]
    return [example for conversation in conversations_ for example in render(conversation, template, tokenizer)][:count]


@pytest.mark.parametrize("budget", [128, 512, 4096])
def test_shipped_conversations_give_the_padded_step(tmp_path: Path, budget: int) -> None:
    folder = save_tiny_base(tmp_path, vocab_size=49152)
    examples = shipped_examples(8)
    plan = StepPlan(1, 0, tuple(range(8)), tuple(examples))
    assert build_tree(examples).num_computed_tokens < 0.9 * plan.num_effective_tokens
    tree, padded = engine(folder, max_tokens_per_chunk=budget), engine(folder, sharing=False)
    a, b = tree.step(plan, 0.0), padded.step(plan, 0.0)
    assert a.loss == pytest.approx(b.loss, rel=1e-6)
    assert a.grad_norm == pytest.approx(b.grad_norm, rel=1e-5)
    norm = b.grad_norm
    for mine, theirs in zip(tree._parameters, padded._parameters, strict=True):
        assert float((mine.grad - theirs.grad).norm()) <= 1e-5 * max(float(theirs.grad.norm()), 0.01 * min(norm, 1.0))


def test_info_says_what_is_in_force(base_folder: Path) -> None:
    info = engine(base_folder).info
    assert (info.device, info.dtype, info.attention, info.sharing) == ("cpu", "float32", "sdpa", True)
    assert info.max_tokens_per_chunk == 64
    assert 128 <= engine(base_folder, max_tokens_per_chunk=None).info.max_tokens_per_chunk <= 1024
    assert info.num_trainable_parameters == sum(p.numel() for p in engine(base_folder)._parameters)


def test_an_example_over_the_budget_is_chained(base_folder: Path) -> None:
    long = rendered(list(range(60)) * 4, [0] * 200 + [1] * 40)
    plan = StepPlan(1, 0, (0,), (long,))
    a = engine(base_folder).step(plan, 0.0)
    b = engine(base_folder, sharing=False).step(plan, 0.0)
    assert a.loss == pytest.approx(b.loss, rel=1e-6)
    assert a.grad_norm == pytest.approx(b.grad_norm, rel=1e-5)
