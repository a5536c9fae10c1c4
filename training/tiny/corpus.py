"""The training rows: conversations drawn from the mixture, passages of English, random repeats.

A row is (token ids, loss weights). Loss falls on assistant turns, on all of a passage, on the repeats only;
the facts that an answer takes over from the prompt weigh more, as most other words are one choice of many.
Everything comes from one random.Random, so one seed gives one corpus. Called by the trainer.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cache
from random import Random

import jinja2
import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import _compile_jinja_template

from training.tiny import english
from training.tiny.conversation import Conversation
from training.tiny.recipe import Recipe
from training.tiny.tasks import MIXTURE
from training.tiny.tokenizer import END, TEMPLATE, TURN

Row = tuple[NDArray[np.int32], NDArray[np.float32]]
_FIRST_WORD = 7
"""The tokens before it are the special ones."""


@cache
def _template() -> jinja2.Template:
    compiled: jinja2.Template = _compile_jinja_template(TEMPLATE.read_text(encoding="utf-8"))
    return compiled


def render(conversation: Conversation) -> str:
    """The conversation through the chat template, as training and serving see it."""
    return _template().render(
        messages=conversation.messages, tools=conversation.tools, add_generation_prompt=False
    )


def conversation(random: Random) -> Conversation:
    """One conversation of the mixture."""
    tasks, weights = zip(*MIXTURE, strict=True)
    make = random.choices(tasks, weights)[0]
    made: Conversation = make(random)
    return made


class Corpus:
    """Draws rows for one tokenizer and recipe."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast, rank: int = 0) -> None:
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.rank = rank
        self.random = Random(recipe.seed * 1000 + rank)
        self._batches = self._endless()
        self._start = tokenizer(f"{TURN}assistant\n", add_special_tokens=False).input_ids
        self._end = tokenizer.convert_tokens_to_ids(END)

    def _turns(self, ids: NDArray[np.int32], unlearnt: int) -> NDArray[np.float32]:
        """1 on the tokens of assistant turns, end of turn included, but for the first `unlearnt`; else 0."""
        weights = np.zeros(len(ids), dtype=np.float32)
        length = len(self._start)
        ends = np.flatnonzero(ids == self._end)
        turns = np.flatnonzero(ids == self._start[0])
        for turn in [turn for turn in turns if list(ids[turn : turn + length]) == self._start][unlearnt:]:
            weights[turn + length : ends[np.searchsorted(ends, turn)] + 1] = 1.0
        return weights

    def _row(self, one: Conversation, text: str, ids: list[int], places: list[tuple[int, int]]) -> Row:
        """The row of a rendered conversation; `places` are the tokens' (start, end) in characters."""
        row = np.asarray(ids, dtype=np.int32)
        weights = self._turns(row, one.unlearnt)
        answer = one.messages[-1]["content"] if one.facts else ""
        begin = text.rindex(answer)
        for fact in one.facts.values():
            for found in re.finditer(re.escape(fact), answer):
                start, end = begin + found.start(), begin + found.end()
                first = bisect_right(places, start, key=lambda place: place[1])
                last = bisect_left(places, end, key=lambda place: place[0])
                weights[first:last] = self.recipe.fact_weight
        return row, weights

    def chats(self, count: int) -> list[Row]:
        """Rows of whole conversations, one each, at most `row_tokens` long."""
        drawn = [conversation(self.random) for _ in range(count)]
        texts = [render(one) for one in drawn]
        encoded = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        rows = map(self._row, drawn, texts, encoded.input_ids, encoded.offset_mapping)
        return [row for row in rows if len(row[0]) <= self.recipe.row_tokens]

    def readings(self, count: int) -> list[Row]:
        """Rows of plain English from a random place of a passage, 24 to 320 tokens."""
        texts = []
        for _ in range(count):
            text = self.random.choice(english.passages())
            start = self.random.randrange(max(1, len(text) - 400)) if self.random.random() < 0.6 else 0
            texts.append(text[start : start + 1000])
        rows = []
        for ids in self.tokenizer(texts, add_special_tokens=False).input_ids:
            row = np.asarray(ids[: self.random.randint(24, 320)], dtype=np.int32)
            rows.append((row, np.ones(len(row), dtype=np.float32)))
        return [row for row in rows if len(row[0]) >= 16]

    def repeats(self, count: int) -> list[Row]:
        """Random tokens said two to four times over; loss on all but the first time.

        Half of the rows have few different tokens, so that one token does not tell what comes next.
        """
        tokens = range(_FIRST_WORD, self.recipe.vocabulary)
        rows = []
        for _ in range(count):
            length, times = self.random.randint(4, 40), self.random.randint(2, 4)
            drawn: Sequence[int] = tokens
            if self.random.random() < 0.5:
                drawn = self.random.choices(tokens, k=max(3, length // self.random.choice([1, 2, 3])))
            said = self.random.choices(drawn, k=length)
            between = self.random.choices(drawn, k=self.random.choice([0, 0, 1, 2, 3, 6]))
            row = np.asarray((said + between) * (times - 1) + said, dtype=np.int32)
            weights = np.zeros(len(row), dtype=np.float32)
            for start in range(length + len(between), len(row), length + len(between)):
                weights[start + 1 : start + length] = 1.0
            rows.append((row, weights))
        return rows

    def batch(self) -> list[Row]:
        """The next rows of like length, about `batch_tokens` tokens with their padding."""
        return next(self._batches)

    def _endless(self) -> Iterator[list[Row]]:
        while True:
            rows = self.chats(self.recipe.block_rows) + self.readings(self.recipe.block_readings)
            rows.sort(key=lambda row: len(row[0]))
            made: list[list[Row]] = [[]]
            for row in rows:
                if len(row[0]) * (len(made[-1]) + 1) > self.recipe.batch_tokens and made[-1]:
                    made.append([])
                made[-1].append(row)
            self.random.shuffle(made)
            yield from made
