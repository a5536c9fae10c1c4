"""What a job trains with, made of its base's folder and its examples; it reads no rows.

Called by attempt.py, quote.py and sweep.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch

from adapters.base import Base
from adapters.modules import rank_for
from training import adapter, flat, recompute
from training.chat import Renderer
from training.encode import Trainable
from training.failure import UNREADABLE, unsupported_base


def read(base: Base) -> tuple[Any, Renderer]:
    """(the base's configuration, what renders its examples). Raises JobFailed."""
    try:
        return adapter.read_config(base.path), Renderer(adapter.load_tokenizer(base.path))
    except OSError as error:
        raise unsupported_base(UNREADABLE) from error
    except ValueError as error:
        raise unsupported_base(error) from error


class Means(Protocol):
    """How this machine trains; settings, and a quote's order, say it."""

    @property
    def largest_rank(self) -> int: ...
    @property
    def training_4bit(self) -> bool: ...
    @property
    def gradient_checkpointing(self) -> bool | None: ...


def build(base: Base, origin: Path | None, means: Means, seed: int, example: Trainable) -> Any:
    """The base with a fresh LoRA, or with that of the version in the folder `origin`; tried out on the
    example. Raises JobFailed."""
    where = adapter.device()
    model = adapter.load_base(base.path, where, four_bit=means.training_4bit)
    wanted = means.gradient_checkpointing
    if (where.type == "cuda" if wanted is None else wanted) and not recompute.wrap(model) and wanted:
        raise unsupported_base(
            "transformers has no gradient checkpointing for it; have the operator set "
            "CHORUS_GRADIENT_CHECKPOINTING=false."
        )
    if origin is None:
        model = adapter.attach(model, rank_for(means.largest_rank), seed)
    else:
        model = adapter.attach_version(model, origin, seed)
    flat.try_out(model, example, where)
    return model


def as_served(means: Means, base: Base, model: Any, version: Path) -> Any:
    """The `model` that the folder `version` was published from, over the base that the engine serves.

    That is the model itself, but where training holds the base in four bits: then another, in bf16 as the
    engine has it, and on the CPU, since the GPU may have no room for it.
    """
    if not means.training_4bit:
        return model
    with torch.random.fork_rng(devices=[]):
        exact = adapter.load_base(base.path, torch.device("cpu"), torch.bfloat16)
        return adapter.attach_version(exact, version, seed=0)


def afresh(model: Any, origin: Path | None, rank: int, seed: int) -> Any:
    """The model of `build` as it began, with a fresh LoRA of that rank or the version's once more."""
    base = model.unload()
    return adapter.attach(base, rank, seed) if origin is None else adapter.attach_version(base, origin, seed)
