"""The memory of a run on MLX: the formula against measured peaks, the shipped 16 GB configuration, the choice."""

from __future__ import annotations

from pathlib import Path

import pytest

from machines import ROOT
from weatherman.config.schema import TrainingConfig, load_config
from weatherman.engine import choose
from weatherman.engine.choose import choose_engine
from weatherman.errors import WeathermanError
from weatherman.models.shape import KNOWN, model_shape
from weatherman.planning.limits import memory_limit
from weatherman.planning.memory import GIB
from weatherman.planning.mlx_memory import estimate_mlx_memory, uses_mlx, weight_bytes
from weatherman.planning.plan import held_by_step, make_plan, run_memory
from weatherman.planning.time import estimate_time

MISTRAL = KNOWN["mistralai/Mistral-7B-Instruct-v0.3"]
SMALL = ROOT / "configs/training_config_m4_16gb.yaml"


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    """The first conversations of the shipped data, as overrides."""
    rows = (ROOT / "data/synthetic/final_train.jsonl").read_text().splitlines()[:64]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n")
    return [f"{side}_file={tmp_path}/rows.jsonl" for side in ("train", "validation")]


def test_four_bits_in_groups_of_64_are_four_and_a_half() -> None:
    config = TrainingConfig(platform="m4", engine="mlx", quantization="4bit", dtype="bfloat16")
    assert weight_bytes(config, MISTRAL) == int(MISTRAL.num_parameters * 4.5 / 8)
    eight = config.model_copy(update={"quantization": "8bit"})
    assert weight_bytes(eight, MISTRAL) == int(MISTRAL.num_parameters * 8.5 / 8)


@pytest.mark.parametrize("gigabytes", [16, 24, None])
def test_the_16_gb_configuration_fits_a_16_gb_mac(gigabytes: int | None, data: list[str]) -> None:
    config = load_config(SMALL, data)
    limit = memory_limit(config, gigabytes and gigabytes * GIB)
    memory = run_memory(config, limit)
    assert memory.total < min(limit, 11.5 * GIB)
    assert 3.7 * GIB < memory.weights < 3.9 * GIB
    assert limit / GIB == pytest.approx(0.72 * (gigabytes or 16), abs=0.01)


def test_the_large_configuration_fits_32_gb_on_either_engine(data: list[str]) -> None:
    for overrides in ((), ("engine=mlx", "device=auto")):
        config = load_config(ROOT / "configs/training_config_m4.yaml", (*data, *overrides))
        limit = memory_limit(config, 32 * GIB)
        assert run_memory(config, limit).total < limit
        assert uses_mlx(config) == bool(overrides)


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("quantization", ["none", "4bit"])
def test_the_formula_is_not_far_from_what_mlx_takes(tmp_path: Path, quantization: str, recompute: bool) -> None:
    mx = pytest.importorskip("mlx.core")
    pytest.importorskip("mlx_lm")
    from mlx_models_for_tests import open_tiny, save_family
    from torch_models_for_tests import conversations
    from weatherman.records import StepPlan

    sizes = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "vocab_size": 2048}
    folder = save_family(tmp_path / "model", "mistral", num_key_value_heads=4, **sizes)
    settings = {"gradient_checkpointing": recompute, "quantization": quantization, "max_tokens_per_chunk": 256}
    mx.reset_peak_memory()
    made = open_tiny(folder, "mlx", **settings)
    examples = conversations(num_shared=400, num_own=150, num_rows=6, vocab_size=2048)
    made.step(StepPlan(1, 0, tuple(range(6)), tuple(examples)), 1e-4)
    measured = mx.get_peak_memory()
    shape = model_shape(str(folder))
    assert shape is not None
    held, _ = held_by_step(made._config, examples, True, 256)
    memory = estimate_mlx_memory(made._config, shape, held)
    estimated = memory.total - memory.runtime
    assert measured < 1.05 * estimated
    assert estimated - memory.logits < 3 * measured  # a chunk of logits is far smaller with this vocabulary


def test_auto_takes_mlx_for_a_quantised_base_on_apple_silicon_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    quantised, plain = TrainingConfig(quantization="4bit"), TrainingConfig()
    assert choose_engine(quantised, apple_silicon=True) == "mlx"
    assert choose_engine(plain, apple_silicon=True) == "torch"
    assert choose_engine(TrainingConfig(engine="mlx"), apple_silicon=False) == "mlx"
    monkeypatch.setattr(choose, "on_apple_silicon", lambda: False)
    with pytest.raises(WeathermanError, match="which is for Apple Silicon") as caught:
        choose_engine(quantised)
    assert caught.value.code == "engine.quantization"
    monkeypatch.setattr(choose, "on_apple_silicon", lambda: True)
    assert choose_engine(quantised) == "mlx"


def test_the_plan_names_the_chip_and_the_others() -> None:
    config = load_config(SMALL)
    (low, high), (words, others) = estimate_time(config, MISTRAL, 1_000_000, "Apple M4 Pro")
    assert "an M4 Pro: 9.2 TFLOP/s on paper" in words
    assert low == pytest.approx(4 * MISTRAL.num_computing_parameters * 1e6 / (9.2e12 * 0.43))
    assert high / low == pytest.approx(0.43 / 0.18)
    assert all(f"{name} " in others for name in ("M4", "M4 Max", "M5", "M5 Max"))
    assert estimate_time(config, MISTRAL, 10)[1][0].startswith("time is an estimate: an M4: 4.6 TFLOP/s")


def test_a_plan_of_the_small_mac_counts_one_pass_at_a_time(data: list[str]) -> None:
    plan = make_plan(load_config(SMALL, data), device_bytes=16 * GIB)
    assert plan.fits
    assert plan.max_tokens_per_chunk == 256
    assert plan.memory == run_memory(load_config(SMALL, data), plan.memory_limit_bytes)
    larger = make_plan(load_config(SMALL, (*data, "max_tokens_per_chunk=1024")), device_bytes=16 * GIB)
    assert larger.memory.activations > 1.2 * plan.memory.activations
