"""What training did, in figures and in words: validation loss, tool calls and sample answers, before and after."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weatherman import messages
from weatherman.config.schema import TrainingConfig
from weatherman.effect.evaluation import Sample, ToolScore, answer_samples, sample_prompts, score_tool_calls
from weatherman.engine.base import Engine
from weatherman.run.training_data import TrainingData
from weatherman.system.atomic import read_json_object, write_json
from weatherman.system.quarantine import set_aside_unless_file
from weatherman.task.task import Task

EFFECT_FILE = "effect.json"
_MAX_BYTES = 2**22
_SHOWN_CHARS = 600


@dataclass(frozen=True, slots=True)
class Effect:
    """The model at one moment: mean validation loss (nats per supervised token), tool score, sample answers."""

    validation_loss: float
    tools: ToolScore
    samples: tuple[Sample, ...]


def measure_effect(
    output_dir: Path, engine: Engine, config: TrainingConfig, data: TrainingData, task: Task, *, adapter: bool
) -> Effect:
    """Measure the model with or without its adapter, and keep the result in `effect.json`.

    The base is frozen, so "before" can be measured after training, by leaving the adapter out; what an earlier attempt
    measured is taken from the file.

    Args:
        output_dir: the run's folder.
        engine: the model.
        config: how many prompts, and which.
        data: validation examples and conversations.
        task: under whose prompts and with which tools the sample questions are asked.
        adapter: false measures the base model: "before".

    Returns:
        The effect.
    """
    known = read_effects(output_dir)
    name = "after" if adapter else "before"
    if name in known and not adapter:
        return known[name]
    held_out = data.held_out_conversations(config.seed)
    effect = Effect(
        validation_loss=engine.evaluate(data.validation, adapter=adapter).loss,
        tools=score_tool_calls(
            engine, held_out, config.num_tool_eval_prompts, data.encode, data.parse, adapter=adapter
        ),
        samples=tuple(
            answer_samples(
                engine,
                sample_prompts(held_out, config.sample_prompts, task),
                data.encode,
                data.tokenizer.decode,
                adapter=adapter,
            )
        ),
    )
    set_aside_unless_file(output_dir, output_dir / EFFECT_FILE)
    write_json(output_dir / EFFECT_FILE, {key: asdict(value) for key, value in {**known, name: effect}.items()})
    return effect


def read_effects(output_dir: Path) -> dict[str, Effect]:
    """What is known of a run's effect, by "before" and "after"; nothing if there is no such file or it is damaged."""
    try:
        raw = read_json_object(output_dir / EFFECT_FILE, _MAX_BYTES)
        return {name: _effect(raw[name]) for name in ("before", "after") if name in raw}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _effect(raw: dict[str, Any]) -> Effect:
    samples = tuple(Sample(**{**sample, "messages": tuple(sample.get("messages", ()))}) for sample in raw["samples"])
    return Effect(float(raw["validation_loss"]), ToolScore(**raw["tools"]), samples)


def report_effect(tag: str, before: Effect, after: Effect) -> None:
    """Print what training changed: samples first, figures last."""
    for old, new in zip(before.samples, after.samples, strict=True):
        messages.say(tag, f"Asked ({new.persona or 'no persona'}): {new.prompt}")
        messages.say(tag, f"- before: {_short(old.answer)}")
        messages.say(tag, f"- after: {_short(new.answer)}")
    if after.tools.num_prompts:
        text = f"Valid tool calls on {after.tools.num_prompts} held-out prompts"
        messages.say(tag, f"{text}: {_share(before.tools)} before, {_share(after.tools)} after")
    messages.say(tag, f"Validation loss: {before.validation_loss:.4f} before, {after.validation_loss:.4f} after")


def _share(tools: ToolScore) -> str:
    return f"{tools.num_valid} ({tools.num_right_tool} with the right tool)"


def _short(text: str) -> str:
    line = " ".join(text.split()) or "(nothing)"
    return line if len(line) <= _SHOWN_CHARS else line[:_SHOWN_CHARS].rstrip() + " …"
