"""Flags of vLLM that are refused, because under them one request would end the engine for every tenant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

REFUSED: Mapping[str, str] = {
    "kv-sharing-fast-prefill": "vLLM ends on any request for prompt log-probabilities, and each proof is one",
}
# Ours; in a file of `--config` it has no effect, as ours is on the command line.
TAKEN: Mapping[str, str] = {"worker-extension-cls": "Chorus loads adapters through its own"}


class FlagRefused(ValueError):
    """The message names the flag and says what to do."""


def check(flags: Sequence[str]) -> None:
    """As they follow `chorus serve --`, before anything is started. Raises FlagRefused."""
    for flag in flags:
        if flag.startswith("--"):
            _refuse(flag.removeprefix("--").split("=", 1)[0].replace("_", "-"))


def check_parsed(arguments: Any) -> None:
    """As vLLM understood them: also those in the file of its `--config`. Raises FlagRefused."""
    for name in REFUSED:
        if getattr(arguments, name.replace("-", "_"), False):
            _refuse(name)


def _refuse(name: str) -> None:
    why = REFUSED.get(name) or TAKEN.get(name)
    if why is not None:
        raise FlagRefused(f"vLLM's flag --{name} is not supported: {why}. Start without it.")
