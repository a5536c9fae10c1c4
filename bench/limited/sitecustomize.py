"""Python imports this at its start where bench/servers.py has put its folder on PYTHONPATH: just before vLLM
looks at the CPU, torch is made to tell of no more features than the limit allows (engine/cpu_limit.py).

So vLLM's own server, which loads no plugin, acts as the same lesser kind of CPU as ours.
"""

from __future__ import annotations

import sys
from typing import Any


class BeforeVllm:
    """Finds nothing: an import of vLLM's platform only passes here."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> None:
        if name == "vllm.platforms.cpu":
            sys.meta_path.remove(cls)
            from server.engine import cpu_limit

            cpu_limit.apply()


sys.meta_path.insert(0, BeforeVllm)
