"""Flags of vLLM that are refused, because under them one request would end the engine for every tenant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from records.settings import SERVED_RANKS

REFUSED: Mapping[str, str] = {
    "kv-sharing-fast-prefill": "vLLM ends on any request for prompt log-probabilities, and each proof is one",
}
# Ours; in a file of `--config` it has no effect, as ours is on the command line.
TAKEN: Mapping[str, str] = {"worker-extension-cls": "Chorus loads adapters through its own"}
ENGINES = ("data-parallel-size", "nnodes")
LIMITS = ("max-loras", "max-cpu-loras", "max-lora-rank")  # the server goes by them too, so they are settings
BOUND = (*LIMITS, "worker-extension-cls")


class FlagRefused(ValueError):
    """The message names the flag and says what to do."""


def limits(flags: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """(what `flags` say of LIMITS, under the settings' names; the other flags). Raises FlagRefused."""
    given, rest, words = dict[str, int](), list[str](), iter(flags)
    for word in words:
        name, _, value = word.removeprefix("--").partition("=")
        name = name.replace("_", "-")
        if not word.startswith("--") or name not in LIMITS:
            rest.append(word)
            continue
        value = value or next(words, "")
        if not value.isdecimal() or int(value) < 1:
            raise FlagRefused(f"vLLM's flag --{name} takes a number from 1 on, not {value!r}.")
        if name == "max-lora-rank" and int(value) not in SERVED_RANKS:
            ranks = ", ".join(map(str, SERVED_RANKS))
            raise FlagRefused(f"vLLM's flag --{name} takes one of {ranks}, not {value}.")
        given[name.replace("-", "_")] = int(value)
    return given, rest


def check(flags: Sequence[str]) -> None:
    """As they follow `chorus serve --`, before anything is started. Raises FlagRefused."""
    for flag in flags:
        if flag.startswith("--"):
            _refuse(flag.removeprefix("--").split("=", 1)[0].replace("_", "-"))


def check_parsed(arguments: Any, ours: Sequence[str]) -> None:
    """As vLLM understood them: also those in the file of its `--config`, and those that were shortened, as
    its parser allows. What `ours` say of BOUND must be in force. Raises FlagRefused."""
    for name in REFUSED:
        if getattr(arguments, name.replace("-", "_"), False):
            _refuse(name)
    for name in ENGINES:
        if getattr(arguments, name.replace("-", "_"), 1) > 1:
            raise FlagRefused(
                f"vLLM's flag --{name} takes 1 here: adapters are loaded into one engine, on one machine. "
                "Start a server for each engine."
            )
    for name in BOUND:
        meant, found = ours[ours.index(f"--{name}") + 1], getattr(arguments, name.replace("-", "_"))
        if str(found) != meant:
            raise FlagRefused(f"vLLM's flag --{name} came to {found!r}, not {meant!r}: write it in full.")


def _refuse(name: str) -> None:
    why = REFUSED.get(name) or TAKEN.get(name)
    if why is not None:
        raise FlagRefused(f"vLLM's flag --{name} is not supported: {why}. Start without it.")
