"""A base in 4 or 8 bits: its gradients are the dequantised base's; what would be taken for something else is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mlx.core")
pytest.importorskip("mlx_lm")

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.utils import dequantize_model, quantize_model, save

from mlx_models_for_tests import EXAMPLES, assert_close, mlx_gradients, open_tiny, plans, save_family
from weatherman.engine.mlx import library, proofs
from weatherman.engine.mlx.model import load_model
from weatherman.errors import WeathermanError


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_family(tmp_path_factory.mktemp("llama"), "llama")


def changed(folder: Path, tmp_path: Path, **changes: Any) -> Path:
    """A copy of a model's folder whose config.json says something else."""
    copy = tmp_path / "changed"
    shutil.copytree(folder, copy)
    path = copy / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return copy


@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_gradients_through_it_are_the_dequantised_bases(llama: Path, quantization: str) -> None:
    made = open_tiny(llama, "mlx", quantization=quantization)
    names = {type(module).__name__ for _, module in made._decoder.model.named_modules()}
    assert {"QuantizedLinear", "QuantizedEmbedding"} <= names
    found = mlx_gradients(made)
    plain = mlx_gradients(open_tiny(llama, "mlx"))
    assert abs(found[0] - plain[0]) > 1e-4 * plain[0], "the base is not quantised at all"
    dequantize_model(made._decoder.model)
    assert not any(isinstance(module, nn.QuantizedLinear) for _, module in made._decoder.model.named_modules())
    assert_close(found, mlx_gradients(made), 1e-5)


def test_an_mlx_community_folder_gives_the_same_as_quantising_at_load(llama: Path, tmp_path: Path) -> None:
    model, _ = load_model(str(llama), None, mx.float32, "none", 2048)
    config = json.loads((llama / "config.json").read_text())
    for layer in model.layers:
        layer.self_attn.rope = layer.self_attn.rope._rope
    model, config = quantize_model(model, config, 64, 4)

    class NoTokenizer:
        def save_pretrained(self, folder: Path) -> None: ...

    save(tmp_path / "q4", llama, model, NoTokenizer(), config)
    at_load = mlx_gradients(open_tiny(llama, "mlx", quantization="4bit"))
    loss, gradients = mlx_gradients(open_tiny(tmp_path / "q4", "mlx", quantization="4bit"))
    assert loss == at_load[0]
    assert all(np.array_equal(gradient, at_load[1][name]) for name, gradient in gradients.items())
    with pytest.raises(WeathermanError, match="quantised to 4 bits, and quantization is none"):
        open_tiny(tmp_path / "q4", "mlx")


def test_the_same_parameters_are_counted(llama: Path) -> None:
    counts = {open_tiny(llama, "mlx", quantization=q).info.num_parameters for q in ("none", "4bit", "8bit")}
    assert len(counts) == 1


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"model_type": "gemma9"}, "model.family", "is a 'gemma9' model"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4}}, "model.rope", "'dynamic' rotary"),
        ({"sliding_window": 512}, "model.sliding-window", "window of 512 tokens"),
        ({"quantization": {"group_size": 32, "bits": 4}}, "model.quantization", "groups of 32"),
        ({"quantization": {"group_size": 64, "bits": 4, "mode": "mxfp4"}}, "model.quantization", "mode mxfp4"),
        ({"quantization_config": {"quant_method": "awq"}}, "model.quantization", "quantised by 'awq'"),
    ],
)
def test_a_base_it_would_get_wrong_is_refused(
    llama: Path, tmp_path: Path, changes: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(WeathermanError, match=words) as caught:
        open_tiny(changed(llama, tmp_path, **changes), "mlx")
    assert caught.value.code == code


def test_a_width_that_groups_do_not_divide_is_refused(tmp_path: Path) -> None:
    folder = save_family(tmp_path, "llama", intermediate_size=96)
    with pytest.raises(WeathermanError, match="has 96 inputs"):
        open_tiny(folder, "mlx", quantization="4bit")


def test_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for name in (tmp_path, tmp_path / "model.gguf"):
        with pytest.raises(WeathermanError, match="GGUF") as caught:
            open_tiny(name, "mlx")
        assert caught.value.code == "model.gguf"


def test_the_theta_of_transformers_5_is_heeded(llama: Path, tmp_path: Path) -> None:
    other = changed(llama, tmp_path, rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    losses = {engine: open_tiny(other, engine).evaluate(EXAMPLES).loss for engine in ("mlx", "torch")}
    assert losses["mlx"] == pytest.approx(losses["torch"], rel=1e-5)
    assert abs(losses["mlx"] - open_tiny(llama, "mlx").evaluate(EXAMPLES).loss) > 1e-4


def test_llama_3s_rope_is_torchs(llama: Path, tmp_path: Path) -> None:
    rope = {
        "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }  # fmt: skip
    other = changed(llama, tmp_path, rope_parameters=rope)
    losses = {engine: open_tiny(other, engine).evaluate(EXAMPLES).loss for engine in ("mlx", "torch")}
    assert losses["mlx"] == pytest.approx(losses["torch"], rel=1e-5)


def test_all_proofs_hold_here(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for settings in ({}, {"quantization": "4bit", "lora_dropout": 0.1, "gradient_checkpointing": True}):
        made = open_tiny(llama, "mlx", **settings)
        before = mlx_gradients(made)
        made.prove_causality()
        after = mlx_gradients(made)
        assert before[0] == after[0], "a proof has changed the adapter"
    assert capsys.readouterr().out == ""


def test_a_wrong_quantised_backward_is_found(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = open_tiny(llama, "mlx", quantization="4bit")
    call = nn.QuantizedLinear.__call__

    def wrong(self: Any, x: mx.array) -> mx.array:
        return call(self, mx.concatenate([x[:, :-1], mx.stop_gradient(x[:, -1:])], axis=1))

    monkeypatch.setattr(nn.QuantizedLinear, "__call__", wrong)
    with pytest.raises(WeathermanError, match="4-bit product") as caught:
        made.prove_causality()
    assert caught.value.code == "engine.quantised-backward"


def test_a_wrong_tree_is_found(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = open_tiny(llama, "mlx")
    monkeypatch.setattr("weatherman.engine.mlx.step.Trunk.add", lambda *_: None)  # what the branches send up is lost
    with pytest.raises(WeathermanError, match="differs from one without sharing") as caught:
        made.prove_causality()
    assert caught.value.code == "engine.tree"


def test_other_bits_the_second_time_are_told(
    llama: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flat, calls = proofs._flat, iter([0.0, 1e-9, 0.0])
    monkeypatch.setattr(
        proofs, "_flat", lambda gradients: (lambda noise: [one + noise for one in flat(gradients)])(next(calls))
    )
    open_tiny(llama, "mlx").prove_causality()
    assert "⚠️ WARNING: The same step gave other bits the second time" in capsys.readouterr().out


def test_the_largest_pass_is_tried_in_full(llama: Path) -> None:
    made = open_tiny(llama, "mlx", max_tokens_per_chunk=64)
    small = proofs.try_largest_pass(made._decoder, 64, 128)
    mx.reset_peak_memory()
    assert proofs.try_largest_pass(made._decoder, 1024, 2048) > small > 0
    made.step(plans(1)[0], 1e-3)


def test_a_missing_or_old_mlx_and_an_intel_python_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    library.require_mlx()
    monkeypatch.setattr(library, "version", lambda name: "0.29.1")
    with pytest.raises(WeathermanError, match=r"needs mlx 0\.31 or newer, and 0\.29\.1 is installed"):
        library.require_mlx()

    def missing(name: str) -> str:
        raise library.PackageNotFoundError(name)

    monkeypatch.setattr(library, "version", missing)
    with pytest.raises(WeathermanError, match="which is not installed"):
        library.require_mlx()
    monkeypatch.setattr(library.sys, "platform", "darwin")
    monkeypatch.setattr(library.platform, "machine", lambda: "x86_64")
    with pytest.raises(WeathermanError, match="is built for x86_64"):
        library.require_mlx()
