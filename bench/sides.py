"""Either server on one base with the same flags, each taking adapters while it runs: `chorus`, or `vllm`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from adapters import base as bases
from bench import servers

SIDES = ("chorus", "vllm")
RUNTIME_LORA = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}


def start(
    name: str, folder: Path, base: str, device: str, flags: Sequence[str] = ()
) -> AbstractContextManager[servers.Server]:
    """`flags` are of vLLM, for both."""
    if name == "chorus":
        return servers.chorus(folder, flags, base=base, device=device)
    found = bases.resolve(base, folder)
    given = [*servers.stock_flags(found.path, model=found.slug), *flags]
    return servers.stock(folder, given, RUNTIME_LORA, model=found.slug, device=device)
