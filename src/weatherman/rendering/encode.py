"""Rendered text -> token ids: control tokens by number, and each text between them encoded once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from weatherman.errors import WeathermanError
from weatherman.rendering.control_tokens import ControlTokens, is_marked, unmarked
from weatherman.rendering.tokenizer import FastTokenizer, TextTokenizer

_MAX_REMEMBERED_TEXTS = 20_000
_NUM_PROVEN = 32
Segment = tuple[str, bool, bool]  # text, whether it is a control token, whether it stands at the very beginning


class Encoder:
    """Encodes texts as a server's tokenizer would, piece by piece, and remembers the pieces.

    Args:
        controls: what is a control token.
        tokenizer: encodes the texts between them.
    """

    def __init__(self, controls: ControlTokens, tokenizer: TextTokenizer) -> None:
        self._controls, self._tokenizer = controls, tokenizer
        self._texts: dict[Segment, list[int]] = {}
        self._faults: dict[Segment, WeathermanError] = {}
        self._num_to_prove = _NUM_PROVEN if isinstance(tokenizer, FastTokenizer) else 0

    def segments(self, text: str, *, inner: bool = False) -> list[Segment]:
        """Cut a text where control tokens stand.

        Args:
            text: a rendered text, or a part of one.
            inner: whether it stands behind other text.
        """
        parts = self._controls.split(text)
        return [(part, special, not (place or inner)) for place, (part, special) in enumerate(parts)]

    def forget_if_full(self) -> None:
        """Forget what was learnt if that is much; to be called where nothing learnt is still to be used."""
        if len(self._texts) > _MAX_REMEMBERED_TEXTS:
            self._texts.clear()
            self._faults.clear()

    def learn(self, segments: Iterable[Segment]) -> None:
        """Encode the texts that are not known yet, all at once; those that cannot be are known as faults."""
        new = [segment for segment in dict.fromkeys(segments) if segment not in self._texts]
        first = [segment for segment in new if segment[2] and not segment[1]]
        plain = [segment for segment in new if not segment[1] and not segment[2] and is_marked(segment[0])]
        inner = [segment for segment in new if not segment[1] and not segment[2] and not is_marked(segment[0])]
        for segment in new:
            if segment[1]:
                self._texts[segment] = [self._controls.ids[segment[0]]]
        encode = self._tokenizer.whole if isinstance(self._tokenizer, FastTokenizer) else self._tokenizer.encode
        self._keep(first, encode([unmarked(text) for text, _, _ in first]))
        self._keep(inner, self._tokenizer.encode_inner([text for text, _, _ in inner], plain=False))
        self._keep(plain, self._tokenizer.encode_inner([unmarked(text) for text, _, _ in plain], plain=True))

    def _keep(self, segments: list[Segment], ids: list[list[int]]) -> None:
        for segment, own in zip(segments, ids, strict=True):
            text = unmarked(segment[0])
            back = self._tokenizer.decode(own)
            if back != text and not self._is_same(back, text):
                self._faults[segment] = WeathermanError(
                    "template.lossy",
                    f"the model's vocabulary spells {_shown(text, back)!r} otherwise: {_shown(back, text)!r}.",
                    "take these characters out of the data.",
                )
            if is_marked(segment[0]) and set(own) & set(self._controls.ids.values()):
                self._faults[segment] = WeathermanError(
                    "data.control-token",
                    f"{_shown(text, '')!r} spells a control token that this vocabulary has no plain text for.",
                    "take it out of the data.",
                )
            self._texts[segment] = own

    def _is_same(self, back: str, text: str) -> bool:
        """Whether a text came back as the vocabulary's normaliser leaves it; a first space is nobody's."""
        wanted, found = self._tokenizer.normalized(text), self._tokenizer.normalized(back)
        return found.removeprefix(" ") == wanted.removeprefix(" ") or back.removeprefix(" ") == text.removeprefix(" ")

    def ids(self, segments: Iterable[Segment]) -> list[int]:
        """The ids of segments that were learnt."""
        found: list[int] = []
        for segment in segments:
            found += self._texts[segment]
        return found

    def parts(self, prompt: Sequence[Segment], whole: Sequence[Segment]) -> bool:
        """Whether a token of the whole text reaches over the end of its prompt; all segments are learnt."""
        end = len(prompt)
        if not end or whole[:end] == prompt:
            return False
        last, joined = self._texts.get(prompt[-1], []), self._texts.get(whole[end - 1], [])
        return joined[: len(last)] != last

    def ids_now(self, segments: Sequence[Segment], source: str) -> list[int]:
        """Learn segments and give their ids.

        Raises:
            WeathermanError: the vocabulary cannot spell one of them.
        """
        self.learn(segments)
        self.refuse_faults(segments, source)
        return self.ids(segments)

    def ids_alone(self, text: str, source: str) -> list[int]:
        """The ids of a text that stands behind other text, and whose tokens have no part in that.

        Raises:
            WeathermanError: the vocabulary cannot spell it.
        """
        return self.ids_now(self.segments(text, inner=True), source)

    def refuse_faults(self, segments: Iterable[Segment], source: str) -> None:
        """Refuse a text that holds a segment which the vocabulary cannot spell.

        Raises:
            WeathermanError: there is one.
        """
        fault = next((self._faults[segment] for segment in segments if segment in self._faults), None)
        if fault:
            raise WeathermanError(fault.code, f"{source}: {fault.message}", fault.hint)

    def prove(self, text: str, ids: list[int]) -> None:
        """Hold the first texts against the tokenizer's own reading of the whole.

        Raises:
            WeathermanError: they differ.
        """
        if self._num_to_prove <= 0 or is_marked(text) or not isinstance(self._tokenizer, FastTokenizer):
            return
        self._num_to_prove -= 1
        if self._tokenizer.whole([text])[0] != ids:
            raise WeathermanError(
                "template.segments",
                "this tokenizer reads a prompt otherwise as a whole than piece by piece between its control tokens.",
                "use another model; its added tokens change the text around them.",
            )


def _shown(text: str, other: str) -> str:
    """The part of a text where it begins to differ."""
    place = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
    return text[max(0, place - 5) : place + 15]
