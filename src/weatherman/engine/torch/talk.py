"""A trained model that answers: the base model with its adapter attached, greedy, token by token."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from peft import PeftModel
from transformers.generation.streamers import BaseStreamer

from weatherman.engine.torch.common_prompt import KeptPrompt
from weatherman.engine.torch.device import choose_device, choose_dtype
from weatherman.engine.torch.model import load_model
from weatherman.errors import WeathermanError
from weatherman.models.adapter import AdapterPlace

Use = Literal["adapter", "base", "both"]


class TorchTalker:
    """One model, with and without its adapter.

    Keys and values of the last prompt and answer are kept: a tool round and the next question pay only for what is
    new. An adapter that alone is wanted is merged into float32 weights, which is faster and the same to rounding; in
    lower precision merging would change the weights by more than that, and it stays attached.

    Args:
        place: the adapter.
        stop_token_ids: the tokens that end a turn.
        device: "auto", "cpu", "mps" or "cuda".
        use: what `generate` will be asked for.

    Raises:
        WeathermanError: the base model cannot be loaded, or the adapter does not fit it.
    """

    def __init__(
        self, place: AdapterPlace, stop_token_ids: Sequence[int], device: str = "auto", *, use: Use = "both"
    ) -> None:
        self._device = choose_device(device)
        dtype = choose_dtype("auto", self._device)
        base = load_model(place.base_model, place.revision, dtype, self._device)
        self._model: Any = attach_adapter(base, place)
        if use == "adapter" and dtype == torch.float32:
            self._model = self._model.merge_and_unload()
        self._use = use
        self._kept: dict[bool, KeptPrompt] = {}
        self._stop_token_ids = list(stop_token_ids)
        self.max_tokens = int(base.config.max_position_embeddings)

    def generate(
        self,
        prompt: Sequence[int],
        max_new_tokens: int,
        on_token: Callable[[int], None],
        *,
        adapter: bool = True,
    ) -> list[int]:
        """The greedy continuation of a prompt, up to and without the stop token.

        Args:
            prompt: token ids.
            max_new_tokens: at most so many are generated.
            on_token: hears each token as it comes.
            adapter: with the adapter, or the base model alone.
        """
        if self._use not in ("both", "adapter" if adapter else "base"):
            raise ValueError(f"made for {self._use}")
        cache = self._kept.pop(adapter, KeptPrompt()).cache_for(prompt)  # an interrupted pass may leave it half written
        ids = torch.tensor([list(prompt)], device=self._device)
        listener = _Listener(on_token, self._stop_token_ids)
        without = contextlib.nullcontext() if adapter else self._model.disable_adapter()
        with torch.no_grad(), without:
            done = self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                eos_token_id=self._stop_token_ids,
                pad_token_id=self._stop_token_ids[0],
                streamer=listener,
                past_key_values=cache,
                return_dict_in_generate=True,
            )
        self._kept[adapter] = KeptPrompt(done.past_key_values, done.sequences[0].tolist())
        return listener.ids


class _Listener(BaseStreamer):
    """Collects generated tokens; transformers sends the prompt first."""

    def __init__(self, on_token: Callable[[int], None], stop_token_ids: Sequence[int]) -> None:
        self._on_token, self._stop_token_ids = on_token, stop_token_ids
        self._is_prompt = True
        self.ids: list[int] = []

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt, then each token."""
        if self._is_prompt:
            self._is_prompt = False
            return
        for token in value.flatten().tolist():
            if token not in self._stop_token_ids:
                self.ids.append(token)
                self._on_token(token)

    def end(self) -> None:
        """Nothing is left to do."""


def attach_adapter(base: Any, place: AdapterPlace) -> PeftModel:
    """Attach a saved adapter to its base model, for inference.

    Raises:
        WeathermanError: the adapter does not fit the model.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about names that peft asks transformers for
            model = PeftModel.from_pretrained(base, str(place.folder), is_trainable=False)
    except (OSError, ValueError, RuntimeError, KeyError) as problem:
        first_line = str(problem).strip().splitlines()[0]
        raise WeathermanError(
            "adapter.unfit",
            f"the adapter in {place.folder} does not fit {place.base_model!r}: {first_line}",
            "use it with the base model that it was trained on.",
        ) from problem
    return model.eval()
