"""What a run says before its first step: how much data, how many steps, what is shared, what is left out."""

from __future__ import annotations

from weatherman import messages
from weatherman.config.schema import TrainingConfig
from weatherman.records import count_conversations, describe_examples
from weatherman.rendering.template import describe_template
from weatherman.run.training_data import TrainingData
from weatherman.steps.prefix_tree import decide_sharing
from weatherman.steps.sampling import steps_per_epoch


def line_tag(config: TrainingConfig) -> str:
    """The tag of a run's lines."""
    return f"TRAINING-{config.platform.upper()}"


def print_plan(config: TrainingConfig, data: TrainingData, num_steps: int) -> bool:
    """Say what is about to happen.

    Returns:
        Whether shared prefixes will be computed once.
    """
    tag, batch_size = line_tag(config), config.effective_batch_size
    num_tokens = sum(len(example.ids) for example in data.train)
    num_supervised = sum(example.num_supervised_tokens for example in data.train)
    epochs = num_steps / steps_per_epoch(len(data.train), batch_size)
    share, factor = decide_sharing(data.train, batch_size, config.seed)
    sharing = share if config.sharing == "auto" else config.sharing == "on"
    messages.say(tag, f"Chat template: {describe_template(data.template)}")
    if data.template.reads_date:
        messages.warning(
            f"the chat template tells the model the date; every conversation is trained with {data.template.date}."
        )
    messages.say(tag, f"Model {config.model_name_or_path}, LoRA r={config.lora_r} alpha={config.lora_alpha}")
    messages.say(
        tag,
        f"Plan: {describe_examples(count_conversations(data.train), len(data.train))}; {num_tokens:,} tokens, "
        f"{num_supervised:,} of them trained on; {num_steps} steps of {batch_size} ({epochs:.1f} epochs), "
        f"{len(data.validation):,} for validation",
    )
    messages.say(
        tag,
        f"A step's prefixes are shared {factor:.2f} times over: "
        f"{'each is computed once' if sharing else 'padded batches are used'} (sharing: {config.sharing})",
    )
    _tell_dropped(config, data)
    return sharing


def _tell_dropped(config: TrainingConfig, data: TrainingData) -> None:
    """Say what is left out for its length: a warning, unless only a subset was wanted anyway."""
    if not data.num_dropped:
        return
    text = f"{data.num_dropped:,} conversations are longer than max_seq_length={config.max_seq_length} tokens"
    if config.max_train_examples is None:
        messages.warning(f"{text} and are left out; none is ever cut.")
    else:
        messages.say(line_tag(config), f"The subset is taken from the shorter ones: {text}")
