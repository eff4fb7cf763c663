"""How files are to be read: their form, what is trained on, and whether anything may be changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from weatherman.data.masks import TrainOn

FormatName = Literal[
    "auto", "openai", "sharegpt", "chatml", "alpaca", "xlam", "hermes", "tau-bench", "glaive", "trl", "mistral-finetune"
]

FORMS_BY_NAME: tuple[str, ...] = get_args(FormatName)
TRAIN_ON: tuple[str, ...] = get_args(TrainOn)


@dataclass(frozen=True, slots=True)
class Reading:
    """The choices of a reader.

    Attributes:
        form: the files' format; "auto" goes by the keys of the first rows.
        train_on: which of the assistant's turns are trained on.
        strict: refuse a row rather than change it.
        tools_text: JSON text of the tools of rows that declare none; empty if there are none.
        tools_kind: the kind of change that giving these tools to a row is counted as.
    """

    form: FormatName = "auto"
    train_on: TrainOn = "all"
    strict: bool = False
    tools_text: str = ""
    tools_kind: str = "tools-from-file"


PLAIN = Reading()
