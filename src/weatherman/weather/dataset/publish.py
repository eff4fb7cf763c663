"""Build the data set into its folder with a description of itself, and link it where configurations look."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from weatherman import messages
from weatherman.quality.measures import load
from weatherman.quality.report import as_document, passes
from weatherman.system.atomic import write_atomic
from weatherman.system.fingerprint import hash_file
from weatherman.weather.dataset.build import BUILDER_VERSION, FILES, build
from weatherman.weather.dataset.promises import measure_with_promises
from weatherman.weather.dataset.voices import PERSONAS

Item = TypeVar("Item")
METADATA = "merge_metadata.json"
_LINKS = {"train.jsonl": "final_train.jsonl", "validation.jsonl": "final_validation.jsonl"}


def build_data_set(num_examples: int, seed: int, folder: Path, personas: Sequence[str] = PERSONAS) -> bool:
    """Write both files and merge_metadata.json.

    Args:
        num_examples: how many conversations.
        seed: the same seed gives the same bytes.
        folder: where to.
        personas: which voices.

    Returns:
        Whether every goal is reached.
    """
    messages.say("DATA", f"Building {num_examples:,} conversations ({', '.join(personas)}), seed {seed}.")
    build(num_examples, seed, folder, personas, progress=lambda slots: _with_bar(slots, num_examples))
    messages.say("DATA", "Measuring what was built.")
    data = load(folder / FILES[0], folder / FILES[1])
    metrics = list(measure_with_promises(data, seed))
    about = {
        "builder_version": BUILDER_VERSION,
        "seed": seed,
        "personas": list(personas),
        "conversations": {"all": len(data.all), "train": len(data.train), "validation": len(data.validation)},
        "files": {name: _file_facts(folder / name) for name in FILES},
        **as_document(metrics),
    }
    text = json.dumps(about, ensure_ascii=False, indent=1) + "\n"
    write_atomic(folder / METADATA, text.encode("utf-8"))
    return passes(metrics)


def _file_facts(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": hash_file(path)}


def _with_bar(items: Sequence[Item], total: int) -> Iterator[Item]:
    """The same items, with a progress bar on stderr if that is a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, "building", total=total, console=Console(stderr=True), transient=True)


def link_processed(data_folder: Path) -> list[Path]:
    """Make processed/train.jsonl and processed/validation.jsonl, links to the built files, where they are missing.

    Args:
        data_folder: the folder that holds synthetic/ and processed/.

    Returns:
        The links that were made.
    """
    folder = data_folder / "processed"
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, target in _LINKS.items():
        link = folder / name
        if link.is_symlink() and not link.exists():
            link.unlink()
        if not link.exists():
            link.symlink_to(Path("..") / "synthetic" / target)
            made.append(link)
    return made
