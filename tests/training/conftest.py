"""Fixtures of tests of training: the small base, and a place with rows, blobs and jobs to run on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.base import TINY
from tests.training.breaks import At
from tests.training.place import Place
from tests.training.small_base import build
from training import adapter
from training.attempt import Attempt
from training.chat import Renderer
from training.loop import Step


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
