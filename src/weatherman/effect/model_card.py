"""The model card of an adapter. What it says of the data comes from the run: files, counts, personas, tools.

Of the weather, of generated conversations and of their licence it speaks only where the data is our own, known
by the hash of its file. Somebody else's data is described by what is in it, and its licence is not guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weatherman.config.schema import TrainingConfig
from weatherman.effect.effect import Effect
from weatherman.models.base_model import DEMO_MODEL
from weatherman.records import count_conversations, describe_examples
from weatherman.run.spending import Spending
from weatherman.run.training_data import TrainingData
from weatherman.task.task import Task

SHIPPED_DATA = frozenset(["b11cbe6015f3482b22cdf065f2a5f46484b123c576c9b5e821b42620fc6656eb"])
_BASE_LICENCES = {DEMO_MODEL: "apache-2.0", "mistralai/Mistral-7B-Instruct-v0.3": "apache-2.0"}
_MAX_NAMES = 12
_ABOUT_SHIPPED = (
    "The personas imitate a manner of speaking; they are not the persons, and the training conversations are generated."
)
_ABOUT_FOREIGN = (
    "How this adapter may be used also depends on the licences of the base model and of the conversations that it was "
    "trained on; this card does not know the latter."
)


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What a card tells of the data.

    Attributes:
        train_file: the file's name, without its folder.
        validation_file: the same of what is held out.
        sha256: of the training file.
        num_conversations: that were trained on.
        num_examples: that they make.
        num_validation: examples of the validation loss.
        personas: that the file names, with the number of conversations; none where it names none.
        tools: that the conversations declare.
    """

    train_file: str
    validation_file: str
    sha256: str
    num_conversations: int
    num_examples: int
    num_validation: int
    personas: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()

    @property
    def is_shipped(self) -> bool:
        """Whether it is this project's own data."""
        return self.sha256 in SHIPPED_DATA


def data_facts(config: TrainingConfig, data: TrainingData, task: Task) -> DataFacts:
    """What a run's data is."""
    personas = [f"{persona.name} ({persona.num_conversations:,})" for persona in task.personas if persona.name]
    tools = {str(tool["function"]["name"]) for one in task.tool_sets for tool in one.tools}
    return DataFacts(
        train_file=Path(config.train_file).name,
        validation_file=Path(config.validation_file).name,
        sha256=data.train_hash,
        num_conversations=count_conversations(data.train),
        num_examples=len(data.train),
        num_validation=len(data.validation),
        personas=tuple(personas),
        tools=tuple(sorted(tools)),
    )


def model_card(
    config: TrainingConfig,
    facts: DataFacts,
    step: int,
    before: Effect | None = None,
    after: Effect | None = None,
    spending: Spending | None = None,
) -> str:
    """Make the model card: what it is, how it was made, and what it measures, if it was measured.

    Args:
        config: what it was trained with.
        facts: what it was trained on.
        step: the last optimizer step.
        before: the base model's effect.
        after: the adapter's.
        spending: the run's time and money; told only where an hourly rate is known.
    """
    figures = _figures(before, after) if before and after else "What it learned was not measured."
    cost = f"\nThe run's cost: {spending.in_words()}.\n" if spending and spending.in_words() else ""
    what = " that answers about the weather in a persona's voice and calls weather tools" if facts.is_shipped else ""
    return f"""---
{_head(config, facts)}
---

# {config.run_name}

A LoRA adapter (r = {config.lora_r}, alpha = {config.lora_alpha}) for
`{config.model_name_or_path}`{what}.
Trained with Weatherman-LoRA for {step} steps of {config.effective_batch_size} examples at a peak learning rate
of {config.learning_rate:g}.

## Data

{_data(config, facts)}

## What was measured

{figures}
{cost}
## Use

Use the chat template in this folder (`chat_template.jinja`): it is the one the adapter was trained with.
{_ABOUT_SHIPPED if facts.is_shipped else _ABOUT_FOREIGN}
"""


def _head(config: TrainingConfig, facts: DataFacts) -> str:
    """The card's metadata for the hub."""
    licence = _BASE_LICENCES.get(config.model_name_or_path, "other")
    tags = ["lora", *(["weather"] if facts.is_shipped else []), *(["tool-calling"] if facts.tools else [])]
    tags += ["persona"] if facts.personas else []
    lines = [f"base_model: {config.model_name_or_path}", "library_name: peft", "pipeline_tag: text-generation"]
    return "\n".join([*lines, *([f"license: {licence}"] if facts.is_shipped else []), f"tags: [{', '.join(tags)}]"])


def _data(config: TrainingConfig, facts: DataFacts) -> str:
    lines = [
        f"- trained on `{facts.train_file}`: {describe_examples(facts.num_conversations, facts.num_examples)}",
        f"- held out: `{facts.validation_file}`, {facts.num_validation:,} examples for the loss",
        f"- SHA-256 of the training file: `{facts.sha256}`",
    ]
    if config.personas:
        lines.append(f"- of these personas alone: {', '.join(config.personas)}")
    elif facts.personas:
        lines.append(f"- personas: {_named(facts.personas)}")
    if facts.tools:
        lines.append(f"- tools: {_named([f'`{name}`' for name in facts.tools])}")
    return "\n".join(lines)


def _named(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def _figures(before: Effect, after: Effect) -> str:
    tools = after.tools
    rows = [
        "| measured on held-out conversations | base | with this adapter |",
        "|---|---|---|",
        f"| loss (nats per supervised token) | {before.validation_loss:.4f} | {after.validation_loss:.4f} |",
    ]
    if tools.num_prompts:
        of = f"of {tools.num_prompts} held-out prompts"
        rows.append(f"| valid tool calls, {of} | {before.tools.num_valid} | {tools.num_valid} |")
        rows.append(f"| calls of the right tool, {of} | {before.tools.num_right_tool} | {tools.num_right_tool} |")
    return "\n".join(rows)
