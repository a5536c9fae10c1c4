"""`integrations` of a job's request: Weights & Biases, by its own rules, so that no run fails by its name.

Called by job_request.py.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from server.errors import invalid

FORBIDDEN = "/\\#?%:"
OFFLINE = ("offline", "dryrun")


def _nameable(value: str) -> str:
    if any(character in FORBIDDEN or not character.isprintable() for character in value):
        raise ValueError(f"a name holds none of {' '.join(FORBIDDEN)}, and no control characters")
    return value


Name = Annotated[str, Field(min_length=1, max_length=128)]
PathName = Annotated[Name, AfterValidator(_nameable)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Wandb(_Strict):
    project: PathName
    name: Name | None = None
    entity: PathName | None = None
    tags: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field([], max_length=16)


class Integration(_Strict):
    type: Literal["wandb"]
    wandb: Wandb


Integrations = Annotated[list[Integration], Field(max_length=1)]


def check_available() -> None:
    """Raises RequestRefused when no run could be made here. Workers share the server's environment where
    `chorus serve` starts them; elsewhere a worker that cannot make one says so in the job's events."""
    mode = os.environ.get("WANDB_MODE", "online")
    if importlib.util.find_spec("wandb") is None:
        problem = "the package wandb is not installed (Chorus's extra `wandb`)"
    elif mode in OFFLINE:
        return
    elif mode == "disabled":
        problem = "WANDB_MODE is 'disabled'"
    elif not os.environ.get("WANDB_API_KEY"):
        problem = "it has no account: WANDB_API_KEY is not set, nor is WANDB_MODE 'offline'"
    else:
        return
    said = (
        f"This server keeps no Weights & Biases runs: {problem}. Have its operator change that and restart "
        "it, or leave 'integrations' out."
    )
    raise invalid(said, "integrations", "integration_unavailable")
