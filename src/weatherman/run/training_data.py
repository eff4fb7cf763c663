"""What a run trains on and validates with: rendered examples, chosen by the seed, and their fingerprints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weatherman import messages
from weatherman.config.schema import TrainingConfig, resolved
from weatherman.errors import WeathermanError
from weatherman.models.adapter import frozen_facts_of, template_choice
from weatherman.models.base_model import cache_folder, model_folder
from weatherman.records import Conversation, Message, Rendered
from weatherman.rendering.choose import template_of_model
from weatherman.rendering.render import parse_reply, prompt_ids, stop_ids
from weatherman.rendering.render_file import conversations_of, render_file, require_file
from weatherman.rendering.templates import Template
from weatherman.rendering.tokenizer import TextTokenizer, load_tokenizer
from weatherman.steps.sampling import epoch_order, seeded_subset
from weatherman.system.fingerprint import hash_file


@dataclass(frozen=True, slots=True)
class DataIdentity:
    """SHA-256 of what a run trains on: the training file, the chat template, the tokenizer.

    An empty one is not known.
    """

    train: str
    template: str
    tokenizer: str


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The examples of a run.

    Attributes:
        train: what is trained on, in the file's order.
        validation: what the validation loss is taken over.
        num_dropped: conversations of the training file that are longer than `max_seq_length`.
        train_hash: SHA-256 of the training file.
        validation_hash: SHA-256 of the validation file.
        validation_path: the validation file.
        personas: whose conversations are taken; empty for all.
        template: the chat template.
        tokenizer: its tokenizer.
    """

    train: Sequence[Rendered]
    validation: Sequence[Rendered]
    num_dropped: int
    train_hash: str
    validation_hash: str
    validation_path: Path
    personas: Sequence[str]
    template: Template
    tokenizer: TextTokenizer

    @property
    def identity(self) -> DataIdentity:
        """What the data is told by."""
        return DataIdentity(self.train_hash, self.template.hash, self.tokenizer.hash)

    @property
    def stop_token_ids(self) -> list[int]:
        """The tokens that end a generated turn."""
        return stop_ids(self.template, self.tokenizer)

    def held_out_conversations(self, seed: int) -> list[Conversation]:
        """The chosen conversations of the validation file, in an order that depends on `seed` alone."""
        conversations = list(conversations_of(self.validation_path, self.personas))
        return [conversations[index] for index in epoch_order(len(conversations), seed, 0)]

    def encode(self, conversation: Conversation) -> list[int]:
        """Token ids that ask for the assistant's next turn."""
        return prompt_ids(conversation, self.template, self.tokenizer)

    def parse(self, ids: Sequence[int]) -> Message:
        """A generated turn as a message."""
        return parse_reply(ids, self.template, self.tokenizer)


def load_training_data(config: TrainingConfig) -> TrainingData:
    """Read, validate, render (or take from the cache) and choose the examples of a run.

    Args:
        config: the configuration.

    Returns:
        The data; conversations that are too long are left out and counted, or refused (`too_long`).

    Raises:
        WeathermanError: a file is missing or wrong, or nothing is left to train on.
    """
    template, tokenizer = _speech(config)
    rendered = [
        render_file(
            Path(path),
            template,
            tokenizer,
            max_seq_length=config.max_seq_length,
            too_long=config.too_long,
            personas=config.personas,
            cache_folder=cache_folder() / "rendered",
        )
        for path in (config.train_file, config.validation_file)
    ]
    train, validation = rendered
    return TrainingData(
        train=seeded_subset(train.examples, config.max_train_examples, config.seed),
        validation=seeded_subset(validation.examples, config.max_eval_examples, config.seed),
        num_dropped=len(train.dropped),
        train_hash=train.data_hash,
        validation_hash=validation.data_hash,
        validation_path=Path(config.validation_file),
        personas=config.personas,
        template=template,
        tokenizer=tokenizer,
    )


def require_files(config: TrainingConfig) -> None:
    """Refuse a configuration whose data is not there, before anything is made for the run.

    Raises:
        WeathermanError: a file is missing.
    """
    for path in (config.train_file, config.validation_file):
        require_file(Path(path))


def identify_data(config: TrainingConfig) -> DataIdentity:
    """The identity of the data that `load_training_data` would load, without rendering it.

    Template and tokenizer are left empty, with a warning, where the base model is no longer at hand.

    Raises:
        WeathermanError: the training file cannot be read.
    """
    path = Path(config.train_file)
    require_file(path)
    try:
        train = hash_file(path)
    except OSError as problem:
        raise WeathermanError("data.unreadable", f"{path}: {problem.strerror}.", "put it back.") from problem
    try:
        template, tokenizer = _speech(config)
    except WeathermanError as problem:
        messages.warning(f"Whether template and tokenizer are the same cannot be known: {problem}")
        return DataIdentity(train, "", "")
    return DataIdentity(train, template.hash, tokenizer.hash)


def _speech(config: TrainingConfig) -> tuple[Template, TextTokenizer]:
    place = model_folder(config.model_name_or_path)
    tokenizer = load_tokenizer(place, config.model_revision)
    choice = template_choice(resolved(config), frozen_facts_of(Path(config.output_dir)))
    return template_of_model(choice, place, config.model_revision, tokenizer), tokenizer
