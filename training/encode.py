"""A line of a training file as tokens, whatever its format. Called by data.py."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any, TypeAlias

from records.dataset import Completion, Example, InvalidLine, Line, Pair
from training import mask
from training.chat import Renderer
from training.mask import Encoded, Sequence


@dataclass(frozen=True)
class EncodedPair:
    """Two answers to one prompt. `reference` are their log-probabilities in nats, the preferred one's first,
    before anything was trained (dpo.py): None until they are known."""

    line: int
    preferred: Encoded
    other: Encoded
    reference: tuple[float, float] | None = None

    @property
    def sequences(self) -> tuple[Sequence, ...]:
        return self.preferred.sequences + self.other.sequences

    @property
    def tokens(self) -> int:
        return self.preferred.tokens + self.other.tokens

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence before truncation."""
        return max(self.preferred.longest, self.other.longest)

    @property
    def teaches(self) -> bool:
        """False when truncation left nothing to learn of one answer, or no difference between the two."""
        answers = self.preferred, self.other
        one, two = ([list(sequence.ids) for sequence in answer.sequences] for answer in answers)
        return all(answer.teaches for answer in answers) and one != two


Trainable: TypeAlias = Encoded | EncodedPair


def encode(line: Line, number: int, renderer: Renderer, max_length: int) -> Trainable:
    """Sequences of at most `max_length` tokens, cut at the end. Raises InvalidLine when the base model's
    template or tokenizer cannot take it."""
    if isinstance(line, Pair):
        answers = line.preferred, line.other
        preferred, other = (_answer(answer, number, renderer, max_length) for answer in answers)
        return EncodedPair(number, preferred, other)
    return _answer(line, number, renderer, max_length)


def wanted(example: Trainable) -> Encoded:
    """What the model shall come to say."""
    return example.preferred if isinstance(example, EncodedPair) else example


def _answer(line: Example | Completion, number: int, renderer: Renderer, max_length: int) -> Encoded:
    if isinstance(line, Example):
        return mask.encode(line, number, renderer, max_length)
    return Encoded(number, (_text(line, number, renderer.tokenizer, max_length),))


def _text(line: Completion, number: int, tokenizer: Any, max_length: int) -> Sequence:
    """The prompt's tokens are those that the engine makes of it (with the tokenizer's special tokens, as
    vLLM's CompletionRequest.add_special_tokens says), then those that it shall generate."""
    if tokenizer.eos_token_id is None:
        raise InvalidLine(number, "this base model's tokenizer has no end token; use chat examples.")
    prompt, answer = tokenizer(line.prompt, verbose=False)["input_ids"], _generated(line, tokenizer)
    if answer[-1:] != [tokenizer.eos_token_id]:
        answer = [*answer, tokenizer.eos_token_id]
    ids = [*prompt, *answer]
    learnt = bytes(len(prompt)) + b"\1" * len(answer)
    return Sequence(array("i", ids[:max_length]), learnt[:max_length], len(ids))


def _generated(line: Completion, tokenizer: Any) -> list[int]:
    """The completion's tokens behind the prompt; by itself where a token would reach over the border, as the
    engine gets the prompt alone."""

    def bare(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    prompt, whole = bare(line.prompt), bare(line.prompt + line.completion)
    return whole[len(prompt) :] if whole[: len(prompt)] == prompt else bare(line.completion)
