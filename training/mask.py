"""Which tokens are learnt: those that the assistant says, found by rendering prefixes with the chat template.

For each assistant message i of weight 1 the text of messages[:i] with the generation prompt must be the
start of the text of messages[:i+1]; what lies between, up to the token that ends the turn, is what the engine
would have to generate. Called by data.py; tests/training/templates holds the families that it is tested with.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Any

import jinja2

from records.dataset import Assistant, Example, InvalidLine
from training.chat import Renderer, tools_of

Span = tuple[int, int]

# Characters that one line may be rendered to in all: some seconds. Each answer renders all that is before it.
MAX_RENDERED = 1 << 25


@dataclass(frozen=True)
class Sequence:
    """Token ids of one text (int32) and, for each, 1 where it is learnt (compact: files reach 512 MB);
    `full_length` is the number of tokens before truncation."""

    ids: array[int]
    learnt: bytes
    full_length: int


@dataclass(frozen=True)
class Encoded:
    """One example: one sequence, or several where the template shows earlier answers in another form."""

    line: int
    sequences: tuple[Sequence, ...]

    @property
    def tokens(self) -> int:
        return sum(len(sequence.ids) for sequence in self.sequences)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence before truncation."""
        return max(sequence.full_length for sequence in self.sequences)

    @property
    def teaches(self) -> bool:
        """False when truncation left nothing to learn."""
        return any(any(sequence.learnt) for sequence in self.sequences)


def encode(example: Example, line: int, renderer: Renderer, max_length: int) -> Encoded:
    """The example as token sequences of at most `max_length`, cut at the end.

    Raises InvalidLine when the base model's template cannot render it; answers behind the cut are not looked
    at where the template shows them as they are shown last.
    """
    sequences = (
        _sequence(text, spans, renderer.tokenizer, max_length)
        for text, spans in _texts(example, line, _Bounded(renderer, tools_of(example), line), max_length)
    )
    return Encoded(line, tuple(sequences))


class _Bounded:
    """Renders for one line, which is refused when that comes to more than MAX_RENDERED characters."""

    def __init__(self, renderer: Renderer, tools: list[dict[str, Any]] | None, line: int) -> None:
        self.renderer, self._tools, self._line, self._left = renderer, tools, line, MAX_RENDERED

    def render(self, messages: list[dict[str, Any]], *, prompt: bool) -> str:
        text = self.renderer.render(messages, self._tools, prompt=prompt)
        self._left -= len(text)
        if self._left < 0:
            raise InvalidLine(
                self._line,
                f"to find its answers it would have to be rendered to more than {MAX_RENDERED:,} characters, "
                "as each answer renders all that is before it; split the conversation.",
            )
        return text


def _texts(example: Example, line: int, bounded: _Bounded, max_length: int) -> list[tuple[str, list[Span]]]:
    """Texts to train on and the character spans in them that are learnt.

    One text as a rule. Templates that show the last answer differently from earlier ones (Qwen3 drops the
    thoughts of earlier turns) get a text per answer: each then looks exactly as it will when served.
    """
    answers: list[tuple[str, Span]] = []
    learnt = [
        index
        for index, message in enumerate(example.messages)
        if isinstance(message, Assistant) and message.weight
    ]
    end: tuple[str, Span] | None = None  # the last answer, once it is known, and what is kept of its text
    kept = 0
    try:
        messages = bounded.renderer.messages(example)
        for index in learnt:
            before = bounded.render(messages[:index], prompt=True)
            if end is None and len(before) >= max_length and index != learnt[-1]:
                until = bounded.render(messages[: learnt[-1]], prompt=True)
                end = _answer(example, line, bounded, messages, learnt[-1], until)
                kept = _kept(end[0], bounded.renderer.tokenizer, max_length)
            answers.append(_answer(example, line, bounded, messages, index, before))
            if end and len(before) > kept and _all_begin(end[0], [text for text, _ in answers]):
                answers.append(end)
                break  # nothing is kept of this answer, nor of those behind it
    except InvalidLine:
        raise
    except (jinja2.TemplateError, TypeError, LookupError, AttributeError, ValueError) as error:
        raise InvalidLine(line, f"the base model's chat template refuses it: {error}.") from None
    last = answers[-1][0]
    if _all_begin(last, [text for text, _ in answers]):
        return [(last, [span for _, span in answers])]
    return [(text, [span]) for text, span in answers]


def _answer(
    example: Example, line: int, bounded: _Bounded, messages: list[dict[str, Any]], index: int, before: str
) -> tuple[str, Span]:
    """The text that ends with the answer at `index`, and where it stands in it. Raises InvalidLine."""
    said = _said(bounded, before, messages[: index + 1])
    if said is None:
        raise InvalidLine(
            line,
            f"messages.{index}: the chat template of this base model renders the answer in a way "
            "that its own generation prompt cannot lead to, so it cannot be learnt.",
        )
    message = example.messages[index]
    assert isinstance(message, Assistant)
    if (hidden := _hidden(message, said)) is not None:
        raise InvalidLine(
            line,
            f"messages.{index}.{hidden}: the chat template of this base model does not show it, so "
            "it cannot be learnt; write it into content, or use another base model.",
        )
    return before + said, (len(before), len(before) + len(said))


def _all_begin(text: str, starts: list[str]) -> bool:
    return all(text.startswith(start) for start in starts)


def _kept(text: str, tokenizer: Any, max_length: int) -> int:
    """How many characters of the text the first `max_length` tokens reach over."""
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return max((past for _, past in coded["offset_mapping"][:max_length]), default=0)


def _said(bounded: _Bounded, before: str, messages: list[dict[str, Any]]) -> str | None:
    """The text of the last message as the engine would generate it after `before`: with the token that ends
    the turn, with nothing behind that. None where the template's generation prompt cannot lead to it."""
    whole = bounded.render(messages, prompt=False)
    if not whole.startswith(before):
        # Mistral shows the system text only while the user's message is the last: ask without it.
        if len(messages) < 3 or messages[0]["role"] not in ("system", "developer"):
            return None
        messages = messages[1:]
        return _said(bounded, bounded.render(messages[:-1], prompt=True), messages)
    onward = bounded.render(messages, prompt=True)
    if onward.startswith(whole):
        # ChatML as vLLM ships it ends the last turn only where the conversation goes on.
        said, rest, end = whole[len(before) :], onward[len(whole) :], bounded.renderer.tokenizer.eos_token
        if end and rest.startswith(end) and not said.endswith(end):
            said += end
    else:
        # Phi closes the last turn with more than a turn's end, which the engine never comes to generate.
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(whole, onward, strict=False)))
        said = whole[len(before) : shared]
        said = said[
            : max((said.rfind(end) + len(end) for end in bounded.renderer.ends if end in said), default=0)
        ]
    # White space behind the end is the template's, not the engine's, which stops there.
    return said.rstrip() if said.rstrip().endswith(bounded.renderer.ends) else said or None


def _hidden(message: Assistant, said: str) -> str | None:
    """The name of a field that the message has and `said` does not show."""
    if any(call.function.name not in said for call in message.tool_calls or ()):
        return "tool_calls"
    if message.reasoning_content and message.reasoning_content.strip() not in said:
        return "reasoning_content"
    return None


def _sequence(text: str, spans: list[Span], tokenizer: Any, max_length: int) -> Sequence:
    # No special tokens are added: the template wrote those that belong, as it does when served.
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids, offsets = coded["input_ids"], coded["offset_mapping"]
    starts = sorted(start for start, _ in spans)
    reaches = list(accumulate((end for _, end in sorted(spans)), max))  # of all that start so far
    learnt = bytearray(min(len(ids), max_length))
    for k, (first, past) in enumerate(offsets[:max_length]):
        # A token that reaches over the start is the prompt's: the engine cannot generate half of it.
        begun = bisect_right(starts, first)
        learnt[k] = begun > 0 and past <= reaches[begun - 1]
    return Sequence(array("i", ids[:max_length]), bytes(learnt), len(ids))
