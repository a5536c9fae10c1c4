"""Flags of vLLM that are settings here, and those that are refused, because under them one request would end
the engine for every tenant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from adapters.dtype import AUTO, BFLOAT16, FLOAT16, FLOAT32
from records.settings import SERVED_RANKS

REFUSED: Mapping[str, str] = {
    "kv-sharing-fast-prefill": "vLLM ends on any request for prompt log-probabilities, and each proof is one",
}
# In a file of `--config` it has no effect, as ours is on the command line.
TAKEN: Mapping[str, str] = {"worker-extension-cls": "Chorus loads adapters through its own"}
ENGINES = ("data-parallel-size", "nnodes")
LIMITS = ("max-loras", "max-cpu-loras", "max-lora-rank")
DTYPE = "dtype"
PLANNED = (*LIMITS, DTYPE)  # the server goes by them too, so they are settings
BOUND = (*PLANNED, "worker-extension-cls")
DTYPES = {name: name for name in (AUTO, BFLOAT16, FLOAT16, FLOAT32)} | {"half": FLOAT16, "float": FLOAT32}


class FlagRefused(ValueError):
    """The message names the flag and says what to do."""


def split(flags: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """(what `flags`, and the file of their `--config`, say of PLANNED, under the settings' names; the other
    flags). Raises FlagRefused."""
    given = {_setting(name): _value(name, value) for name, value in _of_file(flags).items()}
    rest, words = list[str](), iter(flags)
    for word in words:
        name, _, value = word.removeprefix("--").partition("=")
        name = name.replace("_", "-")
        if not word.startswith("--") or name not in PLANNED:
            rest.append(word)
            continue
        given[_setting(name)] = _value(name, value or next(words, ""))
    if DTYPE not in given and any(word.split("=")[0] in ("--quantization", "-q") for word in rest):
        given[DTYPE] = AUTO  # most of its methods take no float32
    return given, rest


def _of_file(flags: Sequence[str]) -> dict[str, str]:
    """As vLLM reads it: the word after `--config`, where flags win over the file. What is wrong with it vLLM
    will say."""
    if "--config" not in flags[:-1]:
        return {}
    try:
        found = yaml.safe_load(Path(flags[flags.index("--config") + 1]).read_text())
        named = {str(key).replace("_", "-"): str(value) for key, value in found.items()}
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return {}
    return {name: value for name, value in named.items() if name in PLANNED}


def _setting(flag: str) -> str:
    return flag.replace("-", "_")


def _value(name: str, value: str) -> int | str:
    if name == DTYPE:
        if value not in DTYPES:
            raise FlagRefused(f"vLLM's flag --{name} takes one of {', '.join(DTYPES)}, not {value!r}.")
        return DTYPES[value]
    if not value.isdecimal() or int(value) < 1:
        raise FlagRefused(f"vLLM's flag --{name} takes a number from 1 on, not {value!r}.")
    if name == "max-lora-rank" and int(value) not in SERVED_RANKS:
        ranks = ", ".join(map(str, SERVED_RANKS))
        raise FlagRefused(f"vLLM's flag --{name} takes one of {ranks}, not {value}.")
    return int(value)


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
