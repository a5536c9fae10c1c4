"""Imported by the forkserver and by nobody else, for what its import does: all that an engine process needs.

What is forked from there has it for nothing. No thread is started and no device touched here: a fork would
inherit them broken.
"""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from importlib import import_module

from records.processes import die_with
from server.engine import cpu_limit, forkserver

# What is forked from this process finds its real parent here.
PID = os.getpid()

EVERYWHERE = (
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
    "vllm.model_executor.models.llama",  # most others are made of it
)
ON_CPU = ("vllm.v1.worker.cpu_worker", "server.engine.lora_cpu")
ON_GPU = ("vllm.v1.worker.gpu_worker",)


def _preload() -> None:
    die_with(os.getppid())
    with suppress(ImportError):
        # Before variables change: by where they lie it finds the place of the titles that vLLM sets later.
        import_module("setproctitle").getproctitle()
    gc.disable()  # a fifth of the time goes into collections that find nothing
    forkserver.use()
    cpu_limit.apply()
    from vllm.platforms import current_platform

    for module in (*EVERYWHERE, *(ON_CPU if current_platform.is_cpu() else ON_GPU)):
        import_module(module)
    cpu_limit.check()
    import torch

    if torch.cuda.is_initialized():
        raise RuntimeError("an import has initialised CUDA: nothing can be forked from here")
    # The collector of a forked process leaves alone what is here: its pages stay shared, and unread.
    gc.freeze()
    gc.enable()


_preload()
