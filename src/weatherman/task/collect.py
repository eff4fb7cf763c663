"""Training conversations -> the task that they teach, in bounded memory, the most frequent first."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from weatherman.records import Conversation
from weatherman.task.task import Persona, SystemPrompt, Task, ToolSet

MAX_TOOL_SETS, MAX_PERSONAS, MAX_PROMPTS, MAX_QUESTIONS = 32, 32, 8, 6
_MAX_DISTINCT = 4096  # texts that are counted apart; further ones are only counted as conversations
_MAX_KEPT_CHARS = 2**21
_MAX_QUESTION_CHARS = 500


class _Room:
    """Grants room until the file would become too large; what is too long is left out, shorter texts still enter."""

    def __init__(self) -> None:
        self._left = _MAX_KEPT_CHARS

    def has(self, text: str | None) -> bool:
        size = len(text or "")
        if size > self._left:
            return False
        self._left -= size
        return True


def collect_task(
    conversations: Iterable[Conversation], questions: Sequence[str] = (), order: Sequence[str] = ()
) -> Task:
    """Count what conversations declare.

    Args:
        conversations: what is trained on.
        questions: the task's; none takes the first that the users of these conversations ask.
        order: personas that come first, in this order; others follow by their number of conversations.

    Returns:
        The task: at most 32 tool sets, 32 personas of 8 system prompts each, 6 questions and 2 MiB of text.
    """
    tools: Counter[str] = Counter()
    prompts: dict[str, Counter[str | None]] = defaultdict(Counter)
    people: Counter[str] = Counter()
    asked: dict[str, None] = {}
    num_conversations = num_prompts = 0
    for conversation in conversations:
        num_conversations += 1
        declared = json.dumps(conversation.tools, ensure_ascii=False)
        if declared in tools or len(tools) < _MAX_DISTINCT:
            tools[declared] += 1
        name = str(conversation.metadata.get("persona") or "")
        if name not in people and len(people) >= _MAX_DISTINCT:
            continue
        people[name] += 1
        first = conversation.messages[0]
        prompt = first.content if first.role == "system" else None
        if prompt in prompts[name] or num_prompts < _MAX_DISTINCT:
            num_prompts += prompt not in prompts[name]
            prompts[name][prompt] += 1
        if len(asked) < MAX_QUESTIONS and (question := first_question(conversation)):
            asked.setdefault(question)
    room = _Room()
    kept = tuple(
        ToolSet(tuple(json.loads(text)), count) for text, count in tools.most_common(MAX_TOOL_SETS) if room.has(text)
    )
    ranks = {name: rank for rank, name in enumerate(order)}
    names = sorted(people, key=lambda name: (ranks.get(name, len(ranks)), -people[name]))[:MAX_PERSONAS]
    personas = tuple(Persona(name, people[name], _most_common(prompts[name], room)) for name in names)
    return Task(personas, kept, tuple(questions or asked), num_conversations)


def first_question(conversation: Conversation) -> str:
    """What the user says first, if that is short enough to be shown; else nothing."""
    text = next((m.content or "" for m in conversation.messages if m.role == "user"), "").strip()
    return text if len(text) <= _MAX_QUESTION_CHARS else ""


def _most_common(counter: Counter[str | None], room: _Room) -> tuple[SystemPrompt, ...]:
    return tuple(SystemPrompt(text, count) for text, count in counter.most_common(MAX_PROMPTS) if room.has(text))
