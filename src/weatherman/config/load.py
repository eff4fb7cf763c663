"""A configuration from its file: read, overridden, dated and checked, every problem reported at once."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from weatherman.config.dates import DATED_KEYS, expand_dates
from weatherman.config.problems import describe
from weatherman.config.schema import TrainingConfig
from weatherman.config.yaml_reader import parse_value, read_yaml
from weatherman.errors import Problems, WeathermanError

_FREE_TEXT_KEYS = ("sample_prompts",)
_AFTER_THE_FILE = 10**9


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a key's value was written: its order in the report, and the words in front of a problem."""

    order: int
    words: str
    shows_value: bool = False


def load_config(path: Path, overrides: Sequence[str] = (), *, now: datetime.datetime | None = None) -> TrainingConfig:
    """Read, override, fill in dates and check a configuration.

    Args:
        path: the YAML file.
        overrides: `key=value` texts, the value read as YAML; of two for the same key the later wins.
        now: the time that `$(date +FMT)` means; the present by default.

    Returns:
        The configuration. Dates are filled in once: it holds the text that they became.

    Raises:
        WeathermanError: the file cannot be read.
        Problems: every value that is wrong, each with its file and line (or its `--set`).
    """
    source = read_yaml(path)
    found = list(source.problems)
    values = dict(source.values)
    places = {key: _Place(line, f"{path}:{line} {key}") for key, line in source.lines.items()}
    for number, override in enumerate(overrides):
        place = _Place(_AFTER_THE_FILE + number, f"--set {override}", shows_value=True)
        try:
            key, values[key] = _read_override(override)
            places[key] = place
        except WeathermanError as problem:
            found.append(
                (place.order, WeathermanError(problem.code, f"{place.words}: {problem.message}", problem.hint))
            )
    config = _check(values, places, found, now or datetime.datetime.now())
    if config is None or found:
        found.sort(key=lambda pair: pair[0])
        count = f"{len(found)} problem{'s' if len(found) > 1 else ''}"
        raise Problems("config.invalid", [problem for _, problem in found], f"{path}: {count}; nothing was started.")
    return config


def _read_override(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise WeathermanError("config.override", "expected key=value.", "for example --set learning_rate=1e-4")
    return key.strip(), parse_value(text)


def _check(
    values: dict[str, Any], places: dict[str, _Place], found: list[tuple[int, WeathermanError]], now: datetime.datetime
) -> TrainingConfig | None:
    """Make the configuration of these values, or add what is wrong with them to `found`."""
    expanded, undated = dict(values), set()
    for key, value in values.items():
        if isinstance(value, str) and key not in _FREE_TEXT_KEYS:
            try:
                expanded[key] = expand_dates(value, now, allowed=key in DATED_KEYS)
            except ValueError as problem:
                text = f"{places[key].words}: {problem}."
                found.append((places[key].order, WeathermanError("config.executable", text)))
                undated.add(key)
    try:
        return TrainingConfig.model_validate(expanded)
    except ValidationError as failure:
        schema = TrainingConfig.model_json_schema()
        for error in failure.errors(include_url=False):
            key = str(error["loc"][0])
            if key not in undated:
                place = places[key]
                told = describe(error, place.words, schema, given=not place.shows_value)
                if str(told) not in [str(one) for _, one in found]:  # a union tells it once a member
                    found.append((place.order, told))
    return None
