"""What a job trains with, made of its base's folder and its examples; it reads no rows.

Called by attempt.py, quote.py and sweep.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapters.base import Base
from adapters.modules import rank_for
from training import adapter, flat
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


def build(base: Base, origin: Path | None, largest_rank: int, seed: int, example: Trainable) -> Any:
    """The base with a fresh LoRA, or with that of the version in the folder `origin`; tried out on the
    example. Raises JobFailed."""
    model = adapter.load_base(base.path, adapter.device())
    if origin is None:
        model = adapter.attach(model, rank_for(largest_rank), seed)
    else:
        model = adapter.attach_version(model, origin, seed)
    flat.try_out(model, example, adapter.device())
    return model


def afresh(model: Any, origin: Path | None, rank: int, seed: int) -> Any:
    """The model of `build` as it began, with a fresh LoRA of that rank or the version's once more."""
    base = model.unload()
    return adapter.attach(base, rank, seed) if origin is None else adapter.attach_version(base, origin, seed)
