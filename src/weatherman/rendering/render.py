"""Conversation -> token ids and loss mask, turn by turn: each behind the prompt that a server would have built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from weatherman.errors import WeathermanError
from weatherman.records import Conversation, Message, Rendered
from weatherman.rendering.control_tokens import ControlTokens, unmarked
from weatherman.rendering.encode import Encoder, Segment
from weatherman.rendering.template import Template
from weatherman.rendering.tokenizer import TextTokenizer
from weatherman.rendering.turn_checks import check_turn
from weatherman.rendering.turns import TextOf, Turn
from weatherman.rendering.views import EncodedTurn, merge_turns

_CONVERSATIONS_PER_BATCH = 512


def render(conversation: Conversation, template: Template, tokenizer: TextTokenizer) -> list[Rendered]:
    """Render one conversation: one example per context in which the template lets the assistant speak.

    Every token of a supervised turn, its stop included, is supervised in exactly one of them, behind the prompt that a
    server would have built; system, user and tool tokens never are.

    Raises:
        WeathermanError: the template cannot hold the conversation.
    """
    return next(render_all([conversation], template, tokenizer))


def render_all(
    conversations: Iterable[Conversation], template: Template, tokenizer: TextTokenizer
) -> Iterator[list[Rendered]]:
    """Render many conversations; texts are tokenised in batches, and those that rows share only once.

    Yields:
        The examples of each conversation, in order; none if no turn of it is supervised.

    Raises:
        WeathermanError: the template cannot hold a conversation.
    """
    for rendered in render_each(conversations, template, tokenizer):
        if isinstance(rendered, WeathermanError):
            raise rendered
        yield rendered


def render_each(
    conversations: Iterable[Conversation], template: Template, tokenizer: TextTokenizer
) -> Iterator[list[Rendered] | WeathermanError]:
    """The same, where a conversation that the template cannot hold is no end.

    Yields:
        For each conversation its examples, or why there are none.
    """
    binding = bind(template, tokenizer)
    rest = iter(conversations)
    while batch := list(islice(rest, _CONVERSATIONS_PER_BATCH)):
        cut = [_cut(binding, conversation) for conversation in batch]
        right = (turns for turns in cut if not isinstance(turns, WeathermanError))
        binding.learn([turn for turns in right for turn in turns])
        for conversation, turns in zip(batch, cut, strict=True):
            yield turns if isinstance(turns, WeathermanError) else _join(binding, turns, conversation.source)


def _cut(binding: Binding, conversation: Conversation) -> list[CutTurn] | WeathermanError:
    try:
        return list(binding.cut_turns(conversation))
    except WeathermanError as problem:
        return problem


def _join(binding: Binding, turns: list[CutTurn], source: str) -> list[Rendered] | WeathermanError:
    try:
        views = merge_turns(binding.encode_turn(turn, source) for turn in turns)
    except WeathermanError as problem:
        return problem
    return [Rendered(view.ids, view.mask, source) for view in views]


@dataclass(frozen=True, slots=True)
class CutTurn:
    """A turn in words, and as segments: its prompt, and prompt and completion as one text."""

    prompt_text: str
    completion_text: str
    prompt: list[Segment]
    whole: list[Segment]

    def segments(self) -> Iterator[Segment]:
        """All of them."""
        yield from self.prompt
        yield from self.whole


class Binding:
    """A template on a vocabulary.

    Args:
        template: the chat template.
        tokenizer: its tokenizer.
    """

    def __init__(self, template: Template, tokenizer: TextTokenizer) -> None:
        self._template = template
        self.controls = ControlTokens(template, tokenizer)
        self.encoder = Encoder(self.controls, tokenizer)
        self.stops = tuple(stop for stop in template.stops if stop in self.controls.ids)
        self.stop_ids = frozenset(self.controls.ids[stop] for stop in self.stops)
        self._bos = self.controls.ids.get(dict(template.variables).get("bos_token", ""), -1)

    def words(self, conversation: Conversation) -> TextOf:
        """What renders a conversation; its texts can no longer be taken for control tokens.

        Raises:
            WeathermanError: a text spells a control token, and that is refused.
        """
        source = conversation.source
        messages = self.controls.guarded(self._template.shape(conversation.messages), source)
        return TextOf(conversation, self._template, messages, self.controls.guarded(list(conversation.tools), source))

    def cut_turns(self, conversation: Conversation) -> Iterator[CutTurn]:
        """The supervised turns of a conversation, each proven and cut into segments.

        Raises:
            WeathermanError: the template cannot hold the conversation.
        """
        words = self.words(conversation)
        for turn in words.turns():
            completion = self.until_stop(words, turn, conversation.source)
            check_turn(conversation, turn.index, unmarked(turn.prompt), unmarked(completion), self._template.name)
            prompt = self.encoder.segments(turn.prompt)
            whole = self.encoder.segments(turn.prompt + completion)
            yield CutTurn(turn.prompt, completion, prompt, whole)

    def until_stop(self, words: TextOf, turn: Turn, source: str) -> str:
        """A turn's completion up to its stop token, which may be the one that opens the next message.

        Raises:
            WeathermanError: nothing ends the turn, or it ends twice.
        """
        span = self.controls.first_stop(turn.completion, self.stops)
        if span is None:
            opening = words.opening_of_next(turn)
            span = self.controls.first_stop(opening, self.stops)
            if span is not None and not opening[: span[0]].strip():
                return turn.completion + opening[: span[1]]
        elif turn.completion[slice(*span)] not in turn.completion[span[1] :]:
            return turn.completion[: span[1]]
        problem = "ends twice" if span else f"has no token that ends it ({', '.join(self.stops) or 'none is known'})"
        raise WeathermanError(
            "template.no-stop",
            f"{source}: message {turn.index + 1} {problem} in the chat template {self._template.name}.",
            "add the token that ends a turn to eos_token_id in the model's generation_config.json.",
        )

    def learn(self, turns: Sequence[CutTurn]) -> None:
        """Tokenise the texts of many turns at once; also completions of which a token would reach into the prompt."""
        self.encoder.forget_if_full()
        self.encoder.learn(segment for turn in turns for segment in turn.segments())
        apart = [turn.completion_text for turn in turns if self.encoder.parts(turn.prompt, turn.whole)]
        self.encoder.learn(segment for text in apart for segment in self.encoder.segments(text, inner=True))

    def encode_turn(self, turn: CutTurn, source: str) -> EncodedTurn:
        """Token ids of a turn that was cut and whose segments were learnt.

        Raises:
            WeathermanError: what came out is not one prompt, one completion, one stop.
        """
        self.encoder.refuse_faults(turn.segments(), source)
        prompt, whole = self.encoder.ids(turn.prompt), self.encoder.ids(turn.whole)
        self.encoder.prove(turn.prompt_text, prompt)
        joins = whole[: len(prompt)] == prompt
        # Where a token spans the end of the prompt, the model never sees it: it goes on from the prompt's own tokens.
        completion = whole[len(prompt) :] if joins else self.encoder.ids_alone(turn.completion_text, source)
        found = [number for number in completion if number in self.stop_ids]
        if found != completion[-1:] or not prompt or prompt[:2] == [self._bos, self._bos]:
            text = f"{source}: the chat template {self._template.name} gives {len(found)} stops, or two beginnings."
            raise WeathermanError("template.tokens", text, "use another chat_template.")
        return EncodedTurn(prompt, completion)


@lru_cache(maxsize=8)
def bind(template: Template, tokenizer: TextTokenizer) -> Binding:
    """The binding of a template and a tokenizer, made once."""
    return Binding(template, tokenizer)


def prompt_ids(conversation: Conversation, template: Template, tokenizer: TextTokenizer) -> list[int]:
    """Token ids of a conversation so far, ending where the assistant's next turn begins.

    Raises:
        WeathermanError: the template cannot hold the conversation.
    """
    binding = bind(template, tokenizer)
    binding.encoder.forget_if_full()
    segments = binding.encoder.segments(binding.words(conversation).prompt())
    return binding.encoder.ids_now(segments, conversation.source)


def stop_ids(template: Template, tokenizer: TextTokenizer) -> list[int]:
    """The tokens that end a generated turn, the template's first one first."""
    return [tokenizer.special(stop) for stop in bind(template, tokenizer).stops]


def parse_reply(ids: Sequence[int], template: Template, tokenizer: TextTokenizer) -> Message:
    """Read a generated turn: text, or tool calls if it is made of well-formed ones.

    Args:
        ids: what the model generated, with or without the stop token; what follows that is ignored.
        template: the template that the prompt was made with.
        tokenizer: its tokenizer.
    """
    ids = [int(number) for number in ids]
    stops = bind(template, tokenizer).stop_ids
    ids = ids[: next((place for place, number in enumerate(ids) if number in stops), len(ids))]
    text = tokenizer.decode(ids)
    if template.call_token is not None and ids[:1] != [tokenizer.special(template.call_token)]:
        return Message("assistant", text.strip())  # the call token merely spelled out is text
    return template.parse(text) if template.parse else Message("assistant", text.strip())
