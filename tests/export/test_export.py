"""The export: what it writes computes and spells what was trained, or nothing is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader
from safetensors.torch import load_file, save_file

from adapters_for_tests import random_adapter, tiny_model
from tasks_for_tests import weather_task
from weatherman.data.read import read_conversations
from weatherman.engine.torch import merge as torch_merge
from weatherman.engine.torch.gguf import write_model_gguf
from weatherman.errors import WeathermanError
from weatherman.export import export as module
from weatherman.export.export import Exported, ExportPlan, commands, export
from weatherman.export.template_parity import Parity, check_parity
from weatherman.models.adapter import find_adapter
from weatherman.records import Conversation
from weatherman.rendering.render import prompt_ids
from weatherman.rendering.templates import SMOLLM2
from weatherman.rendering.tokenizer import load_tokenizer
from weatherman.task.task import read_task

DATA = Path(__file__).parents[2] / "data" / "synthetic" / "final_validation.jsonl"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first of the shipped conversations."""
    path = tmp_path_factory.mktemp("data") / "some.jsonl"
    with DATA.open(encoding="utf-8") as file:
        path.write_text("".join(islice(file, 6)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random adapter on a tiny model."""
    folder = tmp_path_factory.mktemp("tiny")
    base = tiny_model(folder / "base")
    return random_adapter(folder / "run" / "adapter", str(base), strength=0.3)


@pytest.fixture
def plan(adapter: Path, shipped: Path, tmp_path: Path) -> ExportPlan:
    return ExportPlan(find_adapter(adapter), tmp_path / "out" / "export", (shipped,), "float32", "f32")


@pytest.fixture(scope="module")
def exported(adapter: Path, shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("exported") / "export"
    export(ExportPlan(find_adapter(adapter), target, (shipped,), "float32", "f32", weather_task("franklin", "twain")))
    return target


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_all_that_is_needed_is_there(exported: Path) -> None:
    assert left(exported) == [
        "Modelfile", "adapter-f32.gguf", "export.json", "merged", "task.json", "weatherman-f32.gguf",
    ]  # fmt: skip
    assert read_task(exported / "task.json") == weather_task("franklin", "twain")
    assert "in the manner of Benjamin Franklin" in (exported / "Modelfile").read_text()
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= set(
        left(exported / "merged")
    )
    assert (exported / "merged" / "chat_template.jinja").read_text() == SMOLLM2.jinja
    record = json.loads((exported / "export.json").read_text())
    assert record["template"] == {"name": "smollm2", "version": SMOLLM2.version, "hash": SMOLLM2.hash}
    assert record["parity"]["num_conversations"] == 6
    assert record["merge"]["max_difference"] < 1e-4 < record["merge"]["adapter_effect"]
    assert record["merge"]["same_top_share"] == 1.0


def test_merged_weights_are_base_plus_scaled_product(exported: Path, adapter: Path) -> None:
    base = load_file(adapter.parents[1] / "base" / "model.safetensors")
    lora = load_file(adapter / "adapter_model.safetensors")
    merged = load_file(exported / "merged" / "model.safetensors")
    for name in ("self_attn.q_proj", "mlp.down_proj"):
        full = f"model.layers.1.{name}"
        a, b = (lora[f"base_model.model.{full}.lora_{side}.weight"] for side in "AB")
        torch.testing.assert_close(merged[f"{full}.weight"], base[f"{full}.weight"] + 2 * b @ a)
    assert merged.keys() == base.keys()


def test_merge_that_computes_something_else_is_refused(plan: ExportPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch_merge.AutoModelForCausalLM.from_pretrained

    def damaged(folder: Path, **options: Any) -> Any:
        weights = load_file(folder / "model.safetensors")
        weights["model.layers.0.mlp.up_proj.weight"][0, 0] += 0.5
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return real(folder, **options)

    monkeypatch.setattr(torch_merge.AutoModelForCausalLM, "from_pretrained", damaged)
    with pytest.raises(WeathermanError, match="the merged model's logits differ") as caught:
        export(plan)
    assert caught.value.code == "export.merge-differs"
    assert left(plan.target.parent) == []


def test_another_template_is_refused(plan: ExportPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.save_tokenizer

    def other(source: Any, revision: Any, template: Any, folder: Path) -> None:
        real(source, revision, template, folder)
        jinja = folder / "chat_template.jinja"
        jinja.write_text(jinja.read_text().replace("You can call", "You may call"))

    monkeypatch.setattr(module, "save_tokenizer", other)
    with pytest.raises(WeathermanError, match=r"some\.jsonl:1, .* other tokens than training") as caught:
        export(plan)
    assert "may call" in caught.value.message
    assert left(plan.target.parent) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [("im_end|>\\n' -}}\n{%- endfor", "im_end|>' -}}\n{%- endfor"), ("assistant\\n' }}", "assistant' }}"), ("| trim", ""),
     ("\"arguments\": '", "\"arguments\":'")],
    ids=["line break", "header", "trim", "space"],
)  # fmt: skip
def test_the_gate_sees_small_differences(exported: Path, tmp_path: Path, old: str, new: str) -> None:
    assert old in SMOLLM2.jinja
    for file in (exported / "merged").glob("*token*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").write_text(SMOLLM2.jinja.replace(old, new))
    spaced = next(c for c in read_conversations(DATA) if any(m.tool_calls for m in c.messages))
    messages = list(spaced.messages)
    last = messages[-1]
    messages[-1] = type(last)("assistant", f"  {last.content} ")
    conversation = Conversation(tuple(messages), spaced.tools, {}, "x:1")
    tokenizer = load_tokenizer(exported / "merged")
    check_parity(exported / "merged", [conversation], SMOLLM2, tokenizer)
    with pytest.raises(WeathermanError, match="other tokens than training"):
        check_parity(tmp_path, [conversation], SMOLLM2, tokenizer)


def test_adapter_of_another_template_version_is_refused(adapter: Path, plan: ExportPlan) -> None:
    run = adapter.parent / "run.json"
    config = {"model_name_or_path": str(adapter.parents[1] / "base"), "chat_template": "auto"}
    run.write_text(json.dumps({"config": config, "frozen": {"template": "0" * 64}, "weatherman": "0.0.9"}))
    try:
        with pytest.raises(WeathermanError, match="another version of the chat template") as caught:
            find_adapter(adapter.parent).speech()
        assert "weatherman 0.0.9" in caught.value.hint
        run.write_text(json.dumps({"config": config, "frozen": {"template": SMOLLM2.hash}}))
        assert find_adapter(adapter.parent).speech()[0] is SMOLLM2
    finally:
        run.unlink()


def test_existing_folder_and_failing_disk(plan: ExportPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    plan.target.mkdir(parents=True)
    with pytest.raises(WeathermanError, match="exists already"):
        export(plan)
    plan.target.rmdir()

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_tokenizer", full)
    with pytest.raises(WeathermanError, match="No space left on device"):
        export(plan)
    assert left(plan.target.parent) == []


def test_too_little_memory_is_told_before(plan: ExportPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_merge.os, "sysconf", lambda name: 1024)
    with pytest.raises(WeathermanError, match=r"needs \d+ GB of memory"):
        export(plan)


def test_half_precision_is_held_to_its_own_tolerance(plan: ExportPlan) -> None:
    half = ExportPlan(plan.place, plan.target, plan.conversations, "float16", "none")
    done = export(half)
    assert (done.no_gguf, done.merge["tolerance"]) == ("not asked for", 0.25)
    assert 1e-6 < done.merge["max_difference"] < 0.25
    weights = load_file(plan.target / "merged" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    assert "FROM ./merged" in (plan.target / "Modelfile").read_text()
    assert any("convert_lora_to_gguf.py" in command for _, command in commands(done, half))
    assert any("convert_hf_to_gguf.py" in command for _, command in commands(done, half))


def test_no_command_for_what_is_written_already(plan: ExportPlan) -> None:
    done = Exported(plan.target, ("adapter-f32.gguf", "weatherman-f16.gguf"), Parity(1, 1, 1), {}, "", "")
    plan = replace(plan, gguf="f16")
    told = dict(commands(done, plan))
    assert not any("convert_" in command for command in told.values())
    assert told["serve"] == f"llama-server -m {plan.target}/weatherman-f16.gguf --jinja"
    assert f"--lora {plan.target}/adapter-f32.gguf" in told["serve the base with the adapter"]
    none = dict(commands(replace(done, files=()), plan))
    assert sum("convert_" in command for command in none.values()) == 2
    assert none["serve the base with the adapter"].endswith("/adapter-f16.gguf --jinja")


def test_gguf_says_what_the_folder_says(exported: Path) -> None:
    fields = GGUFReader(exported / "weatherman-f32.gguf").fields
    found = {name.removeprefix("llama."): field.contents() for name, field in fields.items()}
    assert (found["block_count"], found["embedding_length"], found["feed_forward_length"]) == (2, 64, 96)
    assert (found["attention.head_count"], found["attention.head_count_kv"]) == (4, 2)
    assert found["tokenizer.chat_template"] == SMOLLM2.jinja
    tokens = found["tokenizer.ggml.tokens"]
    assert (len(tokens), tokens[1], tokens[2]) == (49152, "<|im_start|>", "<|im_end|>")
    assert found["tokenizer.ggml.eos_token_id"] == 2
    assert found["tokenizer.ggml.add_bos_token"] is False


def test_other_tokenizers_get_no_gguf(exported: Path, tmp_path: Path) -> None:
    for file in (exported / "merged").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(WeathermanError, match="not a byte-level BPE") as caught:
        write_model_gguf(tmp_path, tmp_path / "x.gguf", "f32")
    assert "convert_hf_to_gguf.py" in caught.value.hint


# --- llama.cpp itself -----------------------------------------------------------------------------------------------


class Llama:
    """A child process that serves a GGUF by llama.cpp (package xllamacpp), float32 caches, asked over HTTP."""

    def __init__(self, model: Path, lora: Path | None = None) -> None:
        command = [
            sys.executable,
            str(Path(__file__).parents[1] / "support" / "llama_cpp_server.py"),
            str(model),
            *([str(lora)] if lora else []),
        ]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._url = next(line for line in self._process.stdout if line.startswith("http")).strip()

    def __enter__(self) -> Llama:
        return self

    def __exit__(self, *problem: object) -> None:
        self._process.kill()
        self._process.wait()

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        from urllib.request import Request, urlopen

        request = Request(self._url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urlopen(request, timeout=900) as response:
            found: dict[str, Any] = json.load(response)
            return found

    def greedy(self, prompt: list[int], count: int) -> list[int]:
        body = {"prompt": prompt, "n_predict": count, "temperature": 0, "return_tokens": True, "cache_prompt": False}
        tokens: list[int] = self.post("/completion", body)["tokens"]
        return tokens


def prompts(count: int) -> Iterator[list[int]]:
    """Prompts with a tool call and its result behind them, and then one that has no call yet."""
    tokenizer = load_tokenizer(Path(os.environ["WEATHERMAN_TEST_TOKENIZER"]))
    for whole in islice(read_conversations(DATA), count):
        ends = [i for i, message in enumerate(whole.messages) if message.role == "assistant"]
        yield prompt_ids(Conversation(whole.messages[: ends[min(1, len(ends) - 1)]], whole.tools), SMOLLM2, tokenizer)


def greedy(model: Any, prompt: list[int], count: int) -> list[int]:
    ids = torch.tensor([prompt])
    options = {"do_sample": False, "eos_token_id": 2, "pad_token_id": 2, "max_new_tokens": count}
    with torch.no_grad():
        found: list[int] = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)[0].tolist()
    return found[len(prompt) :]


@pytest.mark.slow
def test_tiny_model_answers_alike_in_llama_cpp(
    exported: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("WEATHERMAN_TEST_TOKENIZER", str(exported / "merged"))
    model = AutoModelForCausalLM.from_pretrained(exported / "merged", dtype=torch.float32).eval()
    wanted = [greedy(model, prompt, 16) for prompt in prompts(4)]
    with Llama(exported / "weatherman-f32.gguf") as llama:
        assert [llama.greedy(prompt, 16) for prompt in prompts(4)] == wanted
    base = adapter.parents[1] / "base"
    write_model_gguf(base, tmp_path / "base.gguf", "f32")
    with Llama(tmp_path / "base.gguf", exported / "adapter-f32.gguf") as llama:
        assert [llama.greedy(prompt, 16) for prompt in prompts(4)] == wanted
    with Llama(tmp_path / "base.gguf") as llama:
        assert [llama.greedy(prompt, 16) for prompt in prompts(4)] != wanted


@pytest.mark.slow
def test_demo_model_answers_alike_in_llama_cpp(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Export by the command line, then the same greedy tokens, the same prompt tokens, and a tool call, in llama.cpp."""
    pytest.importorskip("xllamacpp")
    from transformers import AutoModelForCausalLM

    adapter, target = random_adapter(tmp_path / "adapter", "smollm2-135m-instruct"), tmp_path / "export"
    command = [sys.executable, "-m", "weatherman.cli", "export", "-a", str(adapter), "-o", str(target), "--dtype", "float32",
               "--gguf", "f32", "--conversations", str(shipped), "--json"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    told = json.loads(done.stdout)
    assert told["merge"]["max_difference"] < 1e-3 < told["merge"]["adapter_effect"]
    monkeypatch.setenv("WEATHERMAN_TEST_TOKENIZER", str(target / "merged"))
    tokenizer = load_tokenizer(target / "merged")
    model = AutoModelForCausalLM.from_pretrained(target / "merged", dtype=torch.float32).eval()
    with Llama(target / "weatherman-f32.gguf") as llama:
        answers = []
        for prompt in prompts(3):
            wanted = greedy(model, prompt, 24)
            assert llama.greedy(prompt, 24) == wanted
            text = {"content": tokenizer.decode(prompt), "parse_special": True, "add_special": False}
            assert llama.post("/tokenize", text)["tokens"] == prompt
            answers.append(tokenizer.decode(wanted))
        assert any(answer.startswith('<tool_call>\n{"name": "') for answer in answers)
