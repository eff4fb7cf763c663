"""The damage matrix on `transformers.Trainer`: what its resume does with each damaged file of its newest checkpoint.

Usage: python benchmarks/trainer_damage.py [--write]

Run once, for comparison with docs/reliability.md. A 2-layer Llama of random weights with a PEFT adapter is trained for
12 steps with a checkpoint every 3; the run is cut off after step 9, a file of checkpoint-9 is damaged, and
`train(resume_from_checkpoint=True)` is called in a new process, as the documentation says. The outcome is judged by the
final adapter: the bytes of the resume from the undamaged checkpoint, or others; or by the exception.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",
}
DAMAGES = ("missing", "empty", "truncated", "bit flipped", "of the step before", "symlink", "folder")
NEWEST, BEFORE = "checkpoint-9", "checkpoint-6"
STEPS, CUT = 12, 9
RESULT = Path(__file__).parent / "results"


def train(folder: Path, *, resume: bool, stop_at: int | None = None) -> str:
    """Train in this process; returns the SHA-256 of the final adapter."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments, set_seed

    class Stop(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = state.global_step == stop_at

    torch.set_num_threads(1)
    set_seed(7)
    config = LlamaConfig(
        vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    model = get_peft_model(
        LlamaForCausalLM(config), LoraConfig(r=8, lora_alpha=16, lora_dropout=0.1, task_type="CAUSAL_LM")
    )
    generator = torch.Generator().manual_seed(1)
    rows = [{"input_ids": (ids := torch.randint(3, 256, (24,), generator=generator)), "labels": ids} for _ in range(48)]
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=STEPS, save_steps=3, save_total_limit=2, per_device_train_batch_size=2,
        gradient_accumulation_steps=2, learning_rate=5e-3, report_to=[], disable_tqdm=True, use_cpu=True, seed=7,
        logging_steps=1,
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Stop()])
    trainer.train(resume_from_checkpoint=resume or None)
    trainer.save_model(str(folder / "final"))
    return hashlib.sha256((folder / "final" / "adapter_model.safetensors").read_bytes()).hexdigest()


def damage(path: Path, how: str) -> None:
    """Do to one file what the matrix says."""
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "bit flipped":
        path.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])
    elif how == "of the step before":
        shutil.copyfile(path.parents[1] / BEFORE / path.name, path)
    else:
        path.rename(path.parents[2] / f"elsewhere-{path.parents[1].name}-{path.name}")
        if how == "symlink":
            path.symlink_to(path.parents[2] / f"elsewhere-{path.parents[1].name}-{path.name}")
        elif how == "folder":
            path.mkdir()


def in_a_child(folder: Path) -> dict[str, str]:
    """Resume in a process of its own; what it ended with and what it said."""
    report = folder.with_suffix(".json")
    if (pid := os.fork()) == 0:
        said = io.StringIO()
        answer = {"sha": "", "error": ""}
        with redirect_stdout(said), redirect_stderr(said):
            try:
                answer["sha"] = train(folder, resume=True)
            except Exception as problem:
                answer["error"] = f"{type(problem).__name__}: {problem}"
        report.write_text(json.dumps(answer))
        os._exit(0)
    os.waitpid(pid, 0)
    return json.loads(report.read_text())


def words(answer: dict[str, str], whole: str) -> str:
    """The outcome of one cell."""
    if answer["error"]:
        return f"does not start ({answer['error'].split(':')[0]})"
    return "same" if answer["sha"] == whole else "**other adapter**"


def main() -> int:
    """Run every cell and show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/<date>-trainer-damage.md")
    options = parser.parse_args()
    import peft
    import torch
    import transformers

    root, began_s = Path(tempfile.mkdtemp(prefix="trainer-damage-")), time.monotonic()
    if (pid := os.fork()) == 0:
        train(root / "source", resume=False, stop_at=CUT)
        os._exit(0)
    os.waitpid(pid, 0)
    shutil.rmtree(root / "source" / "final")
    shutil.copytree(root / "source", root / "good")
    good = in_a_child(root / "good")
    (root / "whole").mkdir()
    whole = in_a_child_from_nothing(root / "whole")
    files = sorted(path.name for path in (root / "source" / NEWEST).iterdir())
    lines, tally = [f"| file of `{NEWEST}` | " + " | ".join(DAMAGES) + " |", "|" + "---|" * (len(DAMAGES) + 1)], {}
    for file in files:
        cells = []
        for number, how in enumerate(DAMAGES):
            folder = root / f"{file}-{number}"
            shutil.copytree(root / "source", folder)
            damage(folder / NEWEST / file, how)
            cells.append(words(in_a_child(folder), good["sha"]))
            kind = cells[-1].split("(")[0].strip("* ")
            tally[kind] = tally.get(kind, 0) + 1
        lines.append(f"| `{file}` | " + " | ".join(cells) + " |")
    versions = f"transformers {transformers.__version__}, peft {peft.__version__}, torch {torch.__version__}"
    head = (
        f"{time.strftime('%Y-%m-%d')}, {versions}, CPU; `python benchmarks/trainer_damage.py`, "
        f"{time.monotonic() - began_s:.0f} s. Undamaged, the resumed run ends "
        f"{'the same as' if good['sha'] == whole else 'otherwise than'} the uninterrupted one.\n\n"
        f"{len(files) * len(DAMAGES)} cells: {', '.join(f'{kind} {count}' for kind, count in sorted(tally.items()))}. "
        "*same*: the adapter of the resume from the undamaged checkpoint, bit for bit; *other adapter*: the run "
        "ended without an exception, with other bytes. The flipped bit is one in the middle of the file."
    )
    text = "\n".join([head, "", *lines])
    print(text)
    if options.write:
        RESULT.mkdir(exist_ok=True)
        (RESULT / f"{time.strftime('%Y-%m-%d')}-trainer-damage.md").write_text(
            "# Damaged checkpoints and `transformers.Trainer`\n\n" + text + "\n", encoding="utf-8"
        )
    shutil.rmtree(root)
    return 0


def in_a_child_from_nothing(folder: Path) -> str:
    """The adapter of an uninterrupted run."""
    if (pid := os.fork()) == 0:
        (folder / "sha").write_text(train(folder, resume=False))
        os._exit(0)
    os.waitpid(pid, 0)
    return (folder / "sha").read_text()


if __name__ == "__main__":
    sys.exit(main())
