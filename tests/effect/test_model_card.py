"""The model card: both scores, the run's own data in its own words, and weather only where the data is ours."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from weatherman.config.schema import TrainingConfig
from weatherman.effect.effect import Effect
from weatherman.effect.evaluation import ToolScore
from weatherman.effect.model_card import SHIPPED_DATA, DataFacts, data_facts, model_card
from weatherman.records import Rendered
from weatherman.run.spending import Spending
from weatherman.system.fingerprint import hash_file
from weatherman.task.task import Persona, Task, ToolSet

ROOT = Path(__file__).parents[2]
BEFORE, AFTER = (Effect(loss, ToolScore(20, valid, right), ()) for loss, valid, right in ((2.5, 1, 0), (1.25, 20, 16)))
CONFIG = TrainingConfig(learning_rate=3e-3, per_device_train_batch_size=6, run_name="bookings")
FOREIGN = DataFacts("mine.jsonl", "held.jsonl", "f" * 64, 30, 42, 8, (), ("book_room",))
OURS = replace(FOREIGN, sha256=next(iter(SHIPPED_DATA)), personas=("twain", "satire"))


def test_the_shipped_data_is_known_by_its_hash() -> None:
    assert hash_file(ROOT / "data/synthetic/final_train.jsonl") in SHIPPED_DATA


def test_both_scores_are_in_the_card() -> None:
    card = model_card(CONFIG, OURS, 60, BEFORE, AFTER)
    assert "for 60 steps of 6 examples at a peak learning rate\nof 0.003.\n" in card
    assert "| loss (nats per supervised token) | 2.5000 | 1.2500 |\n" in card
    assert "| valid tool calls, of 20 held-out prompts | 1 | 20 |\n" in card
    assert "| calls of the right tool, of 20 held-out prompts | 0 | 16 |\n" in card
    assert "What it learned was not measured." in model_card(CONFIG, OURS, 60)


def test_the_card_of_somebody_else_s_data_speaks_of_that_data_alone() -> None:
    card = model_card(CONFIG, FOREIGN, 60, BEFORE, AFTER).replace("Trained with Weatherman-LoRA", "")
    for word in ("weather", "generated", "license:", "apache", "imitate", "persona"):
        assert word not in card.lower(), word
    for fact in ("`mine.jsonl`: 30 conversations, 42 examples", "`held.jsonl`, 8 examples", "f" * 64, "`book_room`",
                 "tags: [lora, tool-calling]"):  # fmt: skip
        assert fact in card, fact


def test_the_card_of_the_shipped_data_says_what_it_is() -> None:
    card = model_card(CONFIG, OURS, 60, BEFORE, AFTER)
    for fact in ("answers about the weather", "conversations are generated", "license: apache-2.0",
                 "- personas: twain, satire", "tags: [lora, weather, tool-calling, persona]"):  # fmt: skip
        assert fact in card, fact
    chosen = model_card(CONFIG.model_copy(update={"personas": ["satire"]}), OURS, 60)
    assert "- of these personas alone: satire\n" in chosen


def test_the_cost_is_told_where_a_rate_is_known() -> None:
    told = model_card(CONFIG, OURS, 60, BEFORE, AFTER, Spending(360.0, 0.3))
    assert "The run's cost: $0.30 = $3.00 an hour x 0.10 hours.\n" in told
    assert "cost" not in model_card(CONFIG, OURS, 60, BEFORE, AFTER, Spending(360.0, None))


def test_what_is_said_of_the_data_comes_from_the_run(tmp_path: Path) -> None:
    tool: dict[str, Any] = {"type": "function", "function": {"name": "book_room", "parameters": {}}}
    personas = (Persona("b", 3, ()), Persona("", 2, ()), Persona("a", 1, ()))
    task = Task(personas, (ToolSet((tool,), 5), ToolSet((), 1)))
    example = [Rendered(np.arange(3, dtype=np.int32), np.ones(3, np.bool_), f"mine.jsonl:{n // 2}") for n in range(6)]
    data: Any = SimpleNamespace(train=example, validation=example[:2], train_hash="0" * 64)
    config = CONFIG.model_copy(update={"train_file": "x/mine.jsonl", "validation_file": "y/held.jsonl"})
    facts = data_facts(config, data, task)
    assert facts == DataFacts("mine.jsonl", "held.jsonl", "0" * 64, 3, 6, 2, ("b (3)", "a (1)"), ("book_room",))
    assert not facts.is_shipped


def test_the_manifest_of_the_data_names_the_same_hash() -> None:
    manifest = json.loads((ROOT / "data/synthetic/merge_metadata.json").read_text())
    assert any(value in json.dumps(manifest) for value in SHIPPED_DATA)
