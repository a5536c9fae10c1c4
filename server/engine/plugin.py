"""Runs in every process of the engine (entry point `vllm.general_plugins`): tie it to its parent, mend LoRA,
count and bound its steps.

vLLM swallows a plugin's exceptions, so tests look at the effects. `VLLM_PLUGINS=none` turns it off: that is
how the benches run vLLM as it comes.
"""

from __future__ import annotations

import multiprocessing
import os

from records.processes import die_with
from server.engine import chunked_prefill, cpu_limit, forkserver

CPU_LORA = "CHORUS_CPU_LORA"  # the setting of that name, which server/engine/vllm.py hands on


def install() -> None:
    """Called by vLLM, possibly more than once in a process."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None and not forkserver.was_forked():
        # Else an engine outlives its server as two processes with 2.5 GB that ignore SIGTERM. What is forked
        # has been tied to the forkserver by then.
        die_with(parent.pid)
    cpu_limit.apply()
    _mend_cpu_lora()
    chunked_prefill.begin()


def _mend_cpu_lora() -> None:
    from vllm.platforms import current_platform

    if current_platform.is_cpu() and os.environ.get(CPU_LORA) != "stock":
        # Only a name: the class itself imports torch and vLLM layers, too early here.
        type(current_platform).get_punica_wrapper = classmethod(
            lambda _cls: "server.engine.lora_cpu.GroupedPunicaWrapper"
        )
