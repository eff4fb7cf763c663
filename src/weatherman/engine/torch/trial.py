"""What a calibration's child process does: try a kernel, or time settings; `python -m weatherman.engine.torch.trial`.

The request is one JSON object on standard input, each result one on standard output. A kernel may crash, hang or fill
the memory here without harm to the run. The timed model has the run's shape and random weights, which cost the same as
trained ones and are not read from disk.

Shape legend: H query heads, G key-value heads, N tokens of a pass, D head size.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from weatherman.config.schema import TrainingConfig
from weatherman.engine.calibration import (
    TOLERANCES,
    Calibration,
    Setting,
    Timing,
    budgets,
    first_settings,
    further_settings,
    judge_memory,
)
from weatherman.engine.pass_layout import PassLayout
from weatherman.engine.torch import kernels
from weatherman.engine.torch.attention import TrunkLayer
from weatherman.engine.torch.device import choose_device, choose_dtype, choose_token_budget
from weatherman.engine.torch.engine import TorchEngine
from weatherman.models.base_model import model_folder
from weatherman.records import Rendered, StepPlan

# A trunk above, a root with two branches, one of which forks again; sizes that are no multiple of a block.
_LAYOUT = PassLayout(lengths=(70, 33, 41, 19, 150), ancestors=((), (0,), (0, 1), (0, 1), (0,)), num_past_tokens=45)
_FIRST_BRANCH, _LAST_BRANCH = 1, 4


def try_kernel(kernel: Any, device: torch.device, dtype: torch.dtype, heads: tuple[int, int, int]) -> str:
    """Compare a kernel's output and gradients on a small tree with float32 SDPA's.

    Args:
        kernel: its name.
        device: where.
        dtype: of queries, keys and values.
        heads: query heads, key-value heads, head size.

    Returns:
        What is wrong with it, in words; empty when it agrees.
    """
    generator = torch.Generator().manual_seed(0)
    num_heads, num_groups, size = heads

    def draw(count: int, num_tokens: int) -> Tensor:
        return torch.randn(1, count, num_tokens, size, generator=generator).to(device, dtype)

    inputs = [draw(count, _LAYOUT.num_tokens) for count in (num_heads, num_groups, num_groups)]
    past = [draw(num_groups, _LAYOUT.num_past_tokens) for _ in range(2)]
    weights = draw(num_heads, _LAYOUT.num_tokens)
    wanted = _run("sdpa", [one.float() for one in inputs], [one.float() for one in past], weights.float())
    found = _run(kernel, inputs, past, weights)
    name = str(dtype).removeprefix("torch.")
    for what, ours, theirs in zip(("output", "dQ", "dK", "dV", "trunk dK", "trunk dV"), found, wanted, strict=True):
        if not bool(torch.isfinite(ours).all()):
            return f"its {what} is not a number"
        distance = float((ours.float() - theirs).norm() / theirs.norm())
        if distance > TOLERANCES[name]:
            leak = _leaks(kernel, inputs, past, weights)
            return leak or f"its {what} differs from float32 SDPA by {distance:.2g} (at most {TOLERANCES[name]:g})"
    return _leaks(kernel, inputs, past, weights)


def _run(kernel: Any, inputs: list[Tensor], past: list[Tensor], weights: Tensor) -> list[Tensor]:
    """The output [1, H, N, D] and the gradients of Q, K, V and of the trunk's K and V."""
    leaves = [one.detach().clone().requires_grad_() for one in inputs]
    trunk = TrunkLayer.detached(past[0], past[1], requires_grad=True)
    groups = leaves[0].shape[1] // leaves[1].shape[1]
    prepared = kernels.prepare_kernel(kernel, _LAYOUT, groups, leaves[0].dtype, leaves[0].device)
    output = prepared.attend(leaves[0], leaves[1], leaves[2], [trunk], None)
    (output * weights).sum().backward()
    return [output.detach(), *(one.grad for one in leaves), trunk.key_grad, trunk.value_grad]  # type: ignore[list-item]


def _leaks(kernel: Any, inputs: list[Tensor], past: list[Tensor], weights: Tensor) -> str:
    """Change a branch's keys and values, and see that the last branch does not change."""
    begins = [*_LAYOUT.offsets, _LAYOUT.num_tokens]
    sibling = slice(begins[_FIRST_BRANCH], begins[_FIRST_BRANCH + 1])
    other = slice(begins[_LAST_BRANCH], begins[_LAST_BRANCH + 1])
    changed = [inputs[0], *(one.clone() for one in inputs[1:])]
    for one in changed[1:]:
        one[:, :, sibling] = 3 - one[:, :, sibling]
    before, after = _run(kernel, inputs, past, weights)[0], _run(kernel, changed, past, weights)[0]
    difference = float((before - after)[:, :, other].abs().max() / before.abs().max())
    return "a branch sees its sibling" if difference > TOLERANCES["float32"] else ""


def time_settings(request: Mapping[str, Any]) -> None:
    """Time the settings that the configuration leaves open, and print each as soon as it is known."""
    config = TrainingConfig.model_validate(request["config"])
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    shape = AutoConfig.from_pretrained(model_folder(config.model_name_or_path), revision=config.model_revision)
    largest = {
        again: config.max_tokens_per_chunk or choose_token_budget(device, dtype, shape, checkpointing=again)
        for again in (False, True)
    }
    choices = {again: [top] if config.max_tokens_per_chunk else budgets(top) for again, top in largest.items()}
    plan = _plan(request["examples"])
    timings: list[Timing] = []

    def measure(setting: Setting) -> None:
        timings.append(_measure(config, setting, plan, shape, device, dtype))
        say(Calibration((), (timings[-1],), None).to_json()["timings"][0])

    for setting in first_settings(request["kernels"], request["recompute"], largest):
        measure(setting)
    for setting in further_settings(timings, request["kernels"], request["recompute"], choices):
        measure(setting)


def _plan(examples: list[list[list[int]]]) -> StepPlan:
    rendered = tuple(Rendered(np.array(ids, np.int32), np.array(mask, np.bool_)) for ids, mask in examples)
    return StepPlan(1, 0, tuple(range(len(rendered))), rendered)


def _measure(
    config: TrainingConfig, setting: Setting, plan: StepPlan, shape: Any, device: torch.device, dtype: torch.dtype
) -> Timing:
    changes = {
        "attn_implementation": setting.kernel,
        "gradient_checkpointing": setting.recompute,
        "max_tokens_per_chunk": setting.budget_tokens,
    }
    engine = None
    try:
        base = _random_base(shape, device, dtype)
        engine = TorchEngine(config.model_copy(update=changes), sharing=True, stop_token_ids=[], base=base)
        engine.step(plan, 0.0)  # compiles and allocates
        began_s = time.monotonic()
        engine.step(plan, 0.0)
        speed = plan.num_effective_tokens / (time.monotonic() - began_s)
        share = engine.peak_memory_bytes() / torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else 0.0
        return Timing(setting, speed, share, judge_memory(share))
    except Exception as problem:
        return Timing(setting, 0.0, 0.0, in_words(problem))
    finally:
        del engine
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)


def _random_base(shape: Any, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    torch.manual_seed(0)
    with device:
        model: PreTrainedModel = AutoModelForCausalLM.from_config(shape, dtype=dtype)
    return model.requires_grad_(False).train()


def in_words(problem: BaseException) -> str:
    """A failure in a few words."""
    if isinstance(problem, (torch.OutOfMemoryError, MemoryError)):
        return "out of memory"
    text = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {text[0][:200] if text else 'no words'}"


def say(result: Mapping[str, Any]) -> None:
    """Print one result as a line of JSON, at once."""
    print(json.dumps(result), file=sys.__stdout__, flush=True)


def kernel_problem(request: Mapping[str, Any]) -> str:
    """Try the kernel that is asked for; what is wrong with it, whatever happens to it short of its process's death."""
    try:
        device = choose_device(request["device"])
        dtype = choose_dtype(request["dtype"], device)
        return try_kernel(request["kernel"], device, dtype, tuple(request["heads"]))
    except Exception as failure:
        return in_words(failure)


def main() -> None:
    """Answer the request on standard input."""
    request = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        if request["kind"] == "timing":
            time_settings(request)
        else:
            say({"problem": kernel_problem(request)})


if __name__ == "__main__":
    main()
