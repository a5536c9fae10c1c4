"""A base model small enough for tests in seconds, and a place with rows, blobs and jobs to run on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from adapters.base import TINY
from tests.training.breaks import At
from tests.training.place import Place
from training import adapter
from training.attempt import Attempt
from training.chat import Renderer
from training.loop import Step


def build(folder: Path) -> Path:
    """A random Llama with grouped heads and the tiny base's tokenizer, saved as a base model."""
    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    tokenizer = adapter.load_tokenizer(TINY)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            initializer_range=0.2,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("base") / "small")


@pytest.fixture(scope="session")
def renderer() -> Renderer:
    return Renderer(adapter.load_tokenizer(TINY))


@pytest.fixture
def model(small_base: Path) -> Any:
    """The small base with a fresh LoRA whose B is not zero, so that every tensor has an effect."""
    model = adapter.attach(adapter.load_base(small_base, torch.device("cpu")), 8, seed=3)
    torch.manual_seed(4)
    for parameter in adapter.trained(model):
        parameter.data.normal_(std=0.05)
    return model


@pytest.fixture
def place(tmp_path: Path, small_base: Path) -> Iterator[Place]:
    place = Place(tmp_path / "home", small_base)
    yield place
    place.close()


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> At:
    """Have something happen once, when a step is computed and not yet counted."""

    def arrange(when: int, act: Callable[[Attempt], None]) -> None:
        count = Attempt.count

        def count_and_act(self: Attempt, step: Step) -> None:
            if step.step == when:
                monkeypatch.setattr(Attempt, "count", count)
                act(self)
            count(self, step)

        monkeypatch.setattr(Attempt, "count", count_and_act)

    return arrange
