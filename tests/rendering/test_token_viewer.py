"""The token viewer: the texts of the tokens joined are the text, and exactly what is supervised is marked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings

from strategies import PLAIN_TEXT
from tokenizers_for_tests import mistral, smollm2
from weatherman.errors import WeathermanError
from weatherman.rendering.templates import MISTRAL_V3, SMOLLM2
from weatherman.rendering.token_viewer import show_line, token_texts

ROW = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Grüße aus 東京 ☔?"},
        {"role": "assistant", "content": "Nass, 🌦️ und\n4 °C."},
        {"role": "user", "content": "And now?"},
        {"role": "assistant", "content": "Dry\x1b[2J."},
    ]
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    return file


def test_what_is_supervised_stands_between_brackets(path: Path) -> None:
    text = show_line(path, 1, SMOLLM2, smollm2(), colour=False)
    marked = re.findall("⟦(.*?)⟧", text, re.DOTALL)
    assert [part.replace("↵\n", "\n").removesuffix("<|im_end|>") for part in marked] == [
        "Nass, 🌦️ und\n4 °C.",
        "Dry\\x1b[2J.",
    ]
    assert text.startswith("x.jsonl:1 · smollm2 · view 1 of 1 · ")


def test_mistral_has_a_view_for_each_user_turn(path: Path) -> None:
    text = show_line(path, 1, MISTRAL_V3, mistral(), colour=False)
    assert "view 1 of 2" in text
    assert "view 2 of 2" in text
    assert re.findall("⟦(.*?)</s>⟧", text, re.DOTALL) == ["Nass, 🌦️ und↵\n4 °C.", "Dry\\x1b[2J."]


def test_colour_never_lets_text_move_the_cursor(path: Path) -> None:
    text = show_line(path, 1, SMOLLM2, smollm2(), colour=True)
    assert "⟦" not in text
    assert set(re.findall("\x1b\\[[^m]*.", text)) <= {
        f"\x1b[{code}m" for code in ("0", "2", "36", "1;32", "4;32", "1;36;42")
    }
    plain = re.sub("\x1b\\[[0-9;]*m", "", text).replace("↵\n", "\n")
    assert "Grüße aus 東京 ☔?" in plain
    assert "Dry\\x1b[2J." in plain


@settings(max_examples=60, deadline=None)
@given(PLAIN_TEXT)
def test_token_texts_joined_are_the_text(text: str) -> None:
    for tokenizer in (mistral(), smollm2()):
        ids = tokenizer.encode([text])[0]
        assert "".join(token_texts(ids, tokenizer)) == tokenizer.decode(ids)


def test_an_absent_line_is_named(path: Path) -> None:
    with pytest.raises(WeathermanError, match="no line 3"):
        show_line(path, 3, SMOLLM2, smollm2(), colour=False)
