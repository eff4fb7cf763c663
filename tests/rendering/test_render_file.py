"""Files to examples: long ones left out whole and named; the cache gives back the same, or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tokenizers_for_tests import mistral
from weatherman.data.read import read_conversations
from weatherman.errors import WeathermanError
from weatherman.rendering.render import render
from weatherman.rendering.render_cache import read_cache, write_cache
from weatherman.rendering.render_file import describe_dropped, render_file
from weatherman.rendering.templates import MISTRAL_V3, SMOLLM2


def row(answer: str, *, turns: int = 1) -> str:
    messages = [
        m for _ in range(turns) for m in ({"role": "user", "content": "Hi?"}, {"role": "assistant", "content": answer})
    ]
    return json.dumps({"messages": messages})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "x.jsonl"
    file.write_text("\n".join([row("Short."), row("Long " * 100), row("Two turns.", turns=2)]) + "\n", encoding="utf-8")
    return file


def test_too_long_conversations_are_left_out_whole_and_named(path: Path) -> None:
    found = render_file(path, MISTRAL_V3, mistral(), max_seq_length=50)
    assert [example.source for example in found.examples] == ["x.jsonl:1", "x.jsonl:3"]
    assert [(dropped.source, dropped.num_tokens) for dropped in found.dropped] == [("x.jsonl:2", 106)]
    assert found.num_conversations == 3
    assert "1 of 3 conversations are longer than max_seq_length=50 tokens: x.jsonl:2 (106)." in describe_dropped(
        found, 50
    )
    with pytest.raises(WeathermanError, match="longer than") as refused:
        render_file(path, MISTRAL_V3, mistral(), max_seq_length=50, too_long="error")
    assert refused.value.code == "data.too-long"
    with pytest.raises(WeathermanError) as empty:
        render_file(path, MISTRAL_V3, mistral(), max_seq_length=3)
    assert empty.value.code == "data.all-too-long"


def spoken(persona: str | None, answer: str) -> str:
    return json.dumps({**json.loads(row(answer)), "metadata": {"persona": persona} if persona else {}})


def test_only_the_chosen_personas_are_taken_and_each_choice_is_kept_apart(tmp_path: Path) -> None:
    path, cache = tmp_path / "x.jsonl", tmp_path / "cache"
    lines = [spoken("twain", "A."), spoken("satire", "B."), spoken(None, "C."), spoken("satire", "Long " * 100)]
    path.write_text("\n".join(lines) + "\n")

    def sources(*personas: str) -> list[str]:
        found = render_file(path, MISTRAL_V3, mistral(), max_seq_length=50, personas=personas, cache_folder=cache)
        return [example.source for example in found.examples]

    for _ in range(2):  # rendered, then from the cache
        assert sources() == ["x.jsonl:1", "x.jsonl:2", "x.jsonl:3"]
        assert sources("satire") == ["x.jsonl:2"]
        assert sources("satire", "twain") == sources("twain", "satire") == ["x.jsonl:1", "x.jsonl:2"]
    assert len(list(cache.iterdir())) == 3
    satire = render_file(path, MISTRAL_V3, mistral(), max_seq_length=50, personas=["satire"])
    assert (satire.num_conversations, [one.source for one in satire.dropped]) == (2, ["x.jsonl:4"])


def test_a_persona_that_has_no_conversation_is_refused(path: Path, tmp_path: Path) -> None:
    named = tmp_path / "named.jsonl"
    named.write_text(spoken("twain", "A.") + "\n" + spoken("twain", "B.") + "\n")
    for file, has in ((named, "it has twain (2)."), (path, "it has no persona.")):
        with pytest.raises(WeathermanError) as refused:
            render_file(file, MISTRAL_V3, mistral(), max_seq_length=50, personas=["twain", "pirate"])
        assert refused.value.code == "data.persona"
        assert has in refused.value.message
        assert "pirate" in refused.value.message


def test_the_cache_gives_back_the_same_examples(path: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = render_file(path, MISTRAL_V3, mistral(), max_seq_length=50, cache_folder=cache)
    (stored,) = cache.iterdir()
    again = render_file(path, MISTRAL_V3, mistral(), max_seq_length=50, cache_folder=cache)
    assert again.dropped == first.dropped
    assert (again.num_conversations, again.data_hash) == (first.num_conversations, first.data_hash)
    for one, other in zip(first.examples, again.examples, strict=True):
        assert one.source == other.source
        assert other.ids.dtype == np.int32
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.mask, other.mask)
    fresh = [view for one in read_conversations(path) for view in render(one, MISTRAL_V3, mistral())]
    np.testing.assert_array_equal(again.examples[0].ids, fresh[0].ids)
    stored.write_bytes(stored.read_bytes()[:-1] + b"\xff")  # what is read is verified, not believed
    assert len(render_file(path, MISTRAL_V3, mistral(), max_seq_length=50, cache_folder=cache).examples) == 2


def test_anything_that_matters_makes_another_entry(path: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def entries(template=MISTRAL_V3, length: int = 50) -> int:
        from tokenizers_for_tests import smollm2

        tokenizer = mistral() if template is MISTRAL_V3 else smollm2()
        render_file(path, template, tokenizer, max_seq_length=length, cache_folder=cache)
        return len(list(cache.iterdir()))

    assert [entries(), entries(), entries(length=60), entries(SMOLLM2)] == [1, 1, 2, 3]
    path.write_text(path.read_text() + row("One more.") + "\n")
    assert entries() == 4


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:40], lambda b: b[:-1], lambda b: b.replace(b"rendered 1", b"rendered 9"), lambda b: b + b"x"])  # fmt: skip
def test_a_damaged_entry_is_as_good_as_none(
    path: Path, tmp_path: Path, damage, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    write_cache(cache, "key", render_file(path, MISTRAL_V3, mistral(), max_seq_length=50))
    assert read_cache(cache, "key") is not None
    file = cache / "key.rendered"
    file.write_bytes(damage(file.read_bytes()))
    assert read_cache(cache, "key") is None
    assert "⚠️ WARNING" in capsys.readouterr().out
    assert read_cache(cache, "other") is None


def test_only_the_newest_entries_are_kept(path: Path, tmp_path: Path) -> None:
    rendered = render_file(path, MISTRAL_V3, mistral(), max_seq_length=50)
    for number in range(11):
        write_cache(tmp_path / "cache", f"key{number}", rendered)
    assert len(list((tmp_path / "cache").iterdir())) == 8


def test_a_cache_that_cannot_be_written_is_only_a_warning(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert (
        render_file(path, MISTRAL_V3, mistral(), max_seq_length=50, cache_folder=blocked / "cache").num_conversations
        == 3
    )
    assert "is not kept in" in capsys.readouterr().out
