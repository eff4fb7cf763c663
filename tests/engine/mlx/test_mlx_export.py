"""What becomes of an adapter that MLX trained: in mlx-lm's own loader, and merged into the base that it was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mlx.core")
pytest.importorskip("mlx_lm")

import mlx.core as mx
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import load_model as mlx_lm_load
from safetensors.numpy import load_file, save_file

from mlx_models_for_tests import EXAMPLES, open_tiny, plans, save_family
from weatherman.engine.mlx.dequantised import write_dequantised
from weatherman.errors import WeathermanError
from weatherman.export.mlx_adapter import mlx_commands, write_mlx_adapter
from weatherman.models.adapter import AdapterPlace


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_family(tmp_path_factory.mktemp("llama"), "llama")


def trained(llama: Path, folder: Path, quantization: str = "none") -> tuple[AdapterPlace, object]:
    made = open_tiny(llama, "mlx", quantization=quantization)
    made.step(plans(1)[0], 5e-3)
    made.save_adapter(folder)
    return AdapterPlace(folder, str(llama), None, {"config": {"quantization": quantization}}), made


def test_mlx_lms_own_loader_reads_it(llama: Path, tmp_path: Path) -> None:
    place, made = trained(llama, tmp_path / "adapter")
    target = tmp_path / "mlx"
    target.mkdir()
    assert write_mlx_adapter(place, target) == ["adapter_config.json", "adapters.safetensors"]
    model, _ = mlx_lm_load(llama)
    load_adapters(model, str(target)).eval()
    row = EXAMPLES[0]
    scores = model(mx.array(row.ids)[None])[0, :-1]
    places = np.flatnonzero(row.mask[1:])
    chosen, target_ids = scores[mx.array(places)], mx.array(row.ids[1:][places])
    loss = (mx.logsumexp(chosen, axis=-1) - mx.take_along_axis(chosen, target_ids[:, None], axis=1)[:, 0]).mean()
    assert float(loss) == pytest.approx(made.evaluate([row]).loss, rel=1e-5)  # type: ignore[attr-defined]
    assert abs(float(loss) - made.evaluate([row], adapter=False).loss) > 1e-3  # type: ignore[attr-defined]


def test_its_commands_take_the_base_as_it_was_trained(llama: Path, tmp_path: Path) -> None:
    place, _ = trained(llama, tmp_path / "adapter", "4bit")
    words = dict(mlx_commands(place, tmp_path / "mlx"))
    assert "-q --q-bits 4 --q-group-size 64" in words["the base as it was trained"]
    assert "--model mlx-base-4bit --adapter-path" in words["ask"]


def test_what_mlx_lm_has_no_name_for_is_refused(llama: Path, tmp_path: Path) -> None:
    place, _ = trained(llama, tmp_path / "adapter")
    path = place.folder / "adapter_model.safetensors"
    save_file({**load_file(path), "base_model.model.lm_head.lora_A.weight": np.zeros((8, 4), np.float32)}, path)
    with pytest.raises(WeathermanError, match="has no name for") as caught:
        write_mlx_adapter(place, tmp_path)
    assert caught.value.code == "export.mlx"


def test_the_dequantised_base_is_the_one_that_was_trained_on(llama: Path, tmp_path: Path) -> None:
    _, made = trained(llama, tmp_path / "adapter", "4bit")
    folder = tmp_path / "base"
    write_dequantised(str(llama), None, "4bit", folder)
    assert "quantization" not in json.loads((folder / "config.json").read_text())
    plain = open_tiny(folder, "torch")
    from weatherman.engine.torch.lora import load_adapter

    load_adapter(plain._model, tmp_path / "adapter")
    expected = made.evaluate(EXAMPLES).loss  # type: ignore[attr-defined]
    assert plain.evaluate(EXAMPLES).loss == pytest.approx(expected, rel=1e-5)
