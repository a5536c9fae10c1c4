"""Which tokens are learnt: those that the assistant says, found by rendering prefixes with the chat template.

For each assistant message i of weight 1 the text of messages[:i] with the generation prompt must be the
start of the text of messages[:i+1]; what lies between is what the engine would have to generate.
Called by data.py.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
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
            after = renderer.render(messages[: index + 1], tools, prompt=False)
            if not after.startswith(before):
                raise InvalidLine(
                    line,
                    f"messages.{index}: the chat template of this base model renders the answer in a way "
                    "that its own generation prompt cannot lead to, so it cannot be learnt.",
                )
            answers.append((after, (len(before), len(after))))
    except InvalidLine:
        raise
    except (jinja2.TemplateError, TypeError, LookupError, AttributeError, ValueError) as error:
        raise InvalidLine(line, f"the base model's chat template refuses it: {error}.") from None
    last = answers[-1][0]
    if all(last.startswith(text) for text, _ in answers):
        return [(last, [span for _, span in answers])]
    return [(text, [span]) for text, span in answers]


def _sequence(text: str, spans: list[Span], tokenizer: Any, max_length: int) -> Sequence:
    # No special tokens are added: the template wrote those that belong, as it does when served.
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids, offsets = coded["input_ids"], coded["offset_mapping"]
    learnt = bytearray(len(ids))
    special = set(tokenizer.all_special_ids)
    for start, end in spans:
        # A token that reaches over the start is the prompt's: the engine cannot generate half of it.
        inside = [k for k, (first, past) in enumerate(offsets) if start <= first and past <= end]
        for k in _without_tail(inside, ids, offsets, text, special):
            learnt[k] = 1
    return Sequence(array("i", ids[:max_length]), bytes(learnt[:max_length]), len(ids))


def _without_tail(
    inside: list[int], ids: list[int], offsets: list[Span], text: str, special: set[int]
) -> list[int]:
    """The span's tokens up to its end-of-turn token: the white space that templates put behind that is
    never generated, as the engine stops at the token. Without such a token all of them."""
    kept = len(inside)
    while kept and ids[inside[kept - 1]] not in special and text[slice(*offsets[inside[kept - 1]])].isspace():
        kept -= 1
    return inside[:kept] if kept and ids[inside[kept - 1]] in special else inside
