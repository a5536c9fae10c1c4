"""Which tokens are learnt: those that the assistant says, found by rendering prefixes with the chat template.

For each assistant message i of weight 1 the text of messages[:i] with the generation prompt must be the
start of the text of messages[:i+1]; what lies between, up to the token that ends the turn, is what the engine
would have to generate. Called by data.py; tests/training/templates holds the families that it is tested with.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import jinja2

from records.dataset import Assistant, Example, InvalidLine
from training.chat import Renderer, tools_of

Span = tuple[int, int]


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

    Raises InvalidLine when the base model's template cannot render it.
    """
    sequences = (
        _sequence(text, spans, renderer.tokenizer, max_length)
        for text, spans in _texts(example, line, renderer)
    )
    return Encoded(line, tuple(sequences))


def _texts(example: Example, line: int, renderer: Renderer) -> list[tuple[str, list[Span]]]:
    """Texts to train on and the character spans in them that are learnt.

    One text as a rule. Templates that show the last answer differently from earlier ones (Qwen3 drops the
    thoughts of earlier turns) get a text per answer: each then looks exactly as it will when served.
    """
    answers: list[tuple[str, Span]] = []
    try:
        messages, tools = renderer.messages(example), tools_of(example)
        for index, message in enumerate(example.messages):
            if not isinstance(message, Assistant) or not message.weight:
                continue
            before = renderer.render(messages[:index], tools, prompt=True)
            said = _said(renderer, before, messages[: index + 1], tools)
            if said is None:
                raise InvalidLine(
                    line,
                    f"messages.{index}: the chat template of this base model renders the answer in a way "
                    "that its own generation prompt cannot lead to, so it cannot be learnt.",
                )
            if (hidden := _hidden(message, said)) is not None:
                raise InvalidLine(
                    line,
                    f"messages.{index}.{hidden}: the chat template of this base model does not show it, so "
                    "it cannot be learnt; write it into content, or use another base model.",
                )
            answers.append((before + said, (len(before), len(before) + len(said))))
    except InvalidLine:
        raise
    except (jinja2.TemplateError, TypeError, LookupError, AttributeError, ValueError) as error:
        raise InvalidLine(line, f"the base model's chat template refuses it: {error}.") from None
    last = answers[-1][0]
    if all(last.startswith(text) for text, _ in answers):
        return [(last, [span for _, span in answers])]
    return [(text, [span]) for text, span in answers]


def _said(
    renderer: Renderer, before: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None
) -> str | None:
    """The text of the last message as the engine would generate it after `before`: with the token that ends
    the turn, with nothing behind that. None where the template's generation prompt cannot lead to it."""
    whole = renderer.render(messages, tools, prompt=False)
    if not whole.startswith(before):
        # Mistral shows the system text only while the user's message is the last: ask without it.
        if len(messages) < 3 or messages[0]["role"] not in ("system", "developer"):
            return None
        messages = messages[1:]
        return _said(renderer, renderer.render(messages[:-1], tools, prompt=True), messages, tools)
    onward = renderer.render(messages, tools, prompt=True)
    if onward.startswith(whole):
        # ChatML as vLLM ships it ends the last turn only where the conversation goes on.
        said, rest, end = whole[len(before) :], onward[len(whole) :], renderer.tokenizer.eos_token
        if end and rest.startswith(end) and not said.endswith(end):
            said += end
    else:
        # Phi closes the last turn with more than a turn's end, which the engine never comes to generate.
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(whole, onward, strict=False)))
        said = whole[len(before) : shared]
        said = said[: max((said.rfind(end) + len(end) for end in renderer.ends if end in said), default=0)]
    # White space behind the end is the template's, not the engine's, which stops there.
    return said.rstrip() if said.rstrip().endswith(renderer.ends) else said or None


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
    learnt = bytearray(len(ids))
    for start, end in spans:
        for k, (first, past) in enumerate(offsets):
            # A token that reaches over the start is the prompt's: the engine cannot generate half of it.
            if start <= first and past <= end:
                learnt[k] = 1
    return Sequence(array("i", ids[:max_length]), bytes(learnt[:max_length]), len(ids))
