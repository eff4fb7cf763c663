"""Merge an adapter into its base model, and prove on real prompts that the merged weights on disk compute the same."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from weatherman.engine.torch.model import load_model
from weatherman.engine.torch.talk import attach_adapter
from weatherman.errors import WeathermanError
from weatherman.models.adapter import AdapterPlace
from weatherman.models.base_model import model_folder

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# The largest difference of a logit that rounding the weights may make; on the demo model 0.0001, 0.05 and 0.55 were
# measured (docs/decisions/export.md). It must also stay below half of what the adapter itself changes.
TOLERANCES = {"float32": 1e-3, "float16": 0.25, "bfloat16": 2.0}
_EFFECT_SHARE = 0.5
_CPU = torch.device("cpu")
_SPARE_SHARE = 1.15


@dataclass(frozen=True, slots=True)
class MergeCheck:
    """How the merged model compares with base and adapter; differences are the largest of any logit.

    Attributes:
        max_difference: between the merged weights, read back from disk, and the adapter on its base.
        tolerance: what `max_difference` was held against.
        adapter_effect: between the adapter on its base and the base alone.
        same_top_share: positions at which merged and adapter put the same token first.
        num_prompts: compared.
        num_positions: compared.
    """

    max_difference: float
    tolerance: float
    adapter_effect: float
    same_top_share: float
    num_prompts: int
    num_positions: int


def merge(place: AdapterPlace, dtype: str, folder: Path, prompts: Sequence[Sequence[int]]) -> MergeCheck:
    """Merge in float32, save as safetensors, read back and compare logits; all of it on the CPU.

    Args:
        place: the adapter.
        dtype: of the saved weights: "float32", "float16" or "bfloat16".
        folder: where config and weights are written.
        prompts: token ids to compare on.

    Returns:
        The comparison.

    Raises:
        WeathermanError: too little memory, or the merged model computes something else.
    """
    _check_memory(place)
    model = attach_adapter(load_model(place.base_model, place.revision, torch.float32, _CPU), place)
    wanted = [_logits(model, prompt) for prompt in prompts]
    with model.disable_adapter():
        effect = max(
            _difference(_logits(model, prompt), logits) for prompt, logits in zip(prompts, wanted, strict=True)
        )
    merged = model.merge_and_unload(safe_merge=True)
    merged.to(DTYPES[dtype]).save_pretrained(folder)
    del model, merged
    gc.collect()
    saved = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = [_logits(saved, prompt) for prompt in prompts]
    check = MergeCheck(
        max_difference=max(_difference(a, b) for a, b in zip(found, wanted, strict=True)),
        tolerance=min(TOLERANCES[dtype], max(_EFFECT_SHARE * effect, TOLERANCES["float32"])),
        adapter_effect=effect,
        same_top_share=_same_top_share(found, wanted),
        num_prompts=len(prompts),
        num_positions=sum(len(prompt) for prompt in prompts),
    )
    if not check.max_difference <= check.tolerance:  # also where it is not a number
        raise WeathermanError(
            "export.merge-differs",
            f"the merged model's logits differ from the adapter's by up to {check.max_difference:.4g}, more than "
            f"{check.tolerance:.4g}; the adapter changes them by up to {effect:.4g}. Nothing was exported.",
            "export with --dtype float32 or float16.",
        )
    return check


@torch.no_grad()
def _logits(model: torch.nn.Module, prompt: Sequence[int]) -> Tensor:
    logits_TV: Tensor = model(torch.tensor([list(prompt)])).logits[0]
    return logits_TV.float()


def _difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def _same_top_share(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    same = sum(int((a.argmax(-1) == b.argmax(-1)).sum()) for a, b in zip(found, wanted, strict=True))
    return same / sum(len(logits) for logits in wanted)


def _check_memory(place: AdapterPlace) -> None:
    """Refuse what cannot fit: a merge holds every weight in float32."""
    config = AutoConfig.from_pretrained(model_folder(place.base_model), revision=place.revision)
    with torch.device("meta"):
        shape: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    need_bytes = 4 * _SPARE_SHARE * sum(parameter.numel() for parameter in shape.parameters())
    have_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need_bytes > have_bytes:
        raise WeathermanError(
            "export.memory",
            f"merging {place.base_model} needs {need_bytes / 2**30:.0f} GB of memory; this machine has "
            f"{have_bytes / 2**30:.0f} GB.",
            "merge on a larger machine, or convert the adapter alone: llama.cpp's convert_lora_to_gguf.py.",
        )
