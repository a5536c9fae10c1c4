"""What bench.training trains: a base model in a folder, and examples to train on and held out, as token ids.

Prompts have 20 to 400 tokens (as many short as long ones on a logarithmic scale), answers 20 to 120.
"""

from __future__ import annotations

import json
import math
import random
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adapters.base import TINY
from bench.models import random_llama
from examples.brands import BRANDS
from records.dataset import Example
from training.adapter import load_tokenizer
from training.chat import Renderer
from training.mask import Encoded, Sequence, encode

PROMPT, ANSWER = (20, 400), (20, 120)
VOCABULARY = 32_000
LARGE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 384,
    "intermediate_size": 864,
    "num_hidden_layers": 8,
    "num_attention_heads": 6,
    "max_position_embeddings": 1024,
}
# 1.04 billion parameters, 66 million of them in the tied vocabulary: of the size that brands run on a GPU.
BILLION = {
    "vocab_size": VOCABULARY,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 2048,
}
BATCH, SEED = 8, 1
BILLION_BATCH = 32  # some 6,300 tokens: eight sequences leave a GPU waiting for the program


@dataclass(frozen=True)
class Workload:
    """`base` is a model's folder with a tokenizer in it, `batch` how many examples a step takes."""

    base: Path
    train: list[Encoded]
    held_out: list[Encoded]
    batch: int = BATCH

    def save(self, folder: Path) -> None:
        lists = [
            [[list(sequence.ids), list(sequence.learnt)] for one in part for sequence in one.sequences]
            for part in (self.train, self.held_out)
        ]
        saved = {"base": str(self.base), "examples": lists, "batch": self.batch}
        (folder / "workload.json").write_text(json.dumps(saved))

    @staticmethod
    def load(folder: Path) -> Workload:
        saved = json.loads((folder / "workload.json").read_text())
        train, held_out = ([_example(*one) for one in part] for part in saved["examples"])
        return Workload(Path(saved["base"]), train, held_out, saved["batch"])


def _example(ids: list[int], learnt: list[int], line: int = 1) -> Encoded:
    return Encoded(line, (Sequence(array("i", ids), bytes(learnt), len(ids)),))


def _lengths(source: random.Random) -> tuple[int, int]:
    """(tokens of a prompt, tokens of its answer)."""
    shortest, longest = map(math.log, PROMPT)
    return round(math.exp(source.uniform(shortest, longest))), source.randint(*ANSWER)


def tiny(folder: Path, train: int, held_out: int) -> Workload:
    """The base that ships, on chats made of the demo's brands."""
    source, tokenizer = random.Random(SEED), load_tokenizer(TINY)
    cases = [case for brand in BRANDS.values() for case in brand.cases("train", 200)]

    def text(of: Callable[[Any], str], tokens: int) -> str:
        ids: list[int] = []
        while len(ids) < tokens:
            ids += tokenizer.encode(of(source.choice(cases)) + " ", add_special_tokens=False)
        cut: str = tokenizer.decode(ids[:tokens])
        return cut

    def example() -> Encoded:
        prompt, answer = _lengths(source)
        messages = [
            {"role": "user", "content": text(lambda case: case.message, prompt)},
            {"role": "assistant", "content": text(lambda case: case.answer, answer)},
        ]
        return encode(Example.model_validate({"messages": messages}), 1, Renderer(tokenizer), 2 * PROMPT[1])

    return Workload(TINY, [example() for _ in range(train)], [example() for _ in range(held_out)])


def large(folder: Path, train: int, held_out: int) -> Workload:
    """A random Llama of 25 million parameters, 8 layers of 384, half of them in a tied vocabulary of 32,000,
    on random ids: its loss shows agreement, not learning."""
    base = random_llama(folder / "base", SEED, dtype=torch.float32, **LARGE)
    return Workload(base, *random_examples(train, held_out))


def billion(folder: Path, train: int, held_out: int) -> Workload:
    """The same with 1.04 billion parameters in bf16, as such models are published."""
    base = random_llama(folder / "base", SEED, **BILLION)
    return Workload(base, *random_examples(train, held_out), batch=BILLION_BATCH)


def random_examples(train: int, held_out: int) -> tuple[list[Encoded], list[Encoded]]:
    """Random ids of VOCABULARY."""
    source = random.Random(SEED)

    def example() -> Encoded:
        prompt, answer = _lengths(source)
        ids = [source.randrange(VOCABULARY) for _ in range(prompt + answer)]
        return _example(ids, [0] * prompt + [1] * answer)

    return [example() for _ in range(train)], [example() for _ in range(held_out)]
