"""In the engine's worker process: adapters are read, parsed and tried out beside the loop of steps.

vLLM does all that inside the loop, while every stream waits, and an adapter that fails there ends the engine.
Here a thread makes it ready and keeps it until it is unloaded; what is left for the loop is a copy into a
slot, or less (lora_layers.py). server/engine/loading.py is the other end of the socket.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from vllm.lora.layers import ClassificationHeadWithLoRA
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform

from server.engine import steps
from server.engine.lora_layers import Packed, may_be_merged

NICE = 5
MAX_REASON = 2000

log = logging.getLogger("chorus.loader")


class LoaderExtension:
    """Mixed into vLLM's worker by `--worker-extension-cls`."""

    model_runner: Any
    rank: int

    def open_adapter_loader(self, folder: str) -> str:
        """Called once by collective_rpc. The path of a socket in `folder`, for one client."""
        path = f"{folder}/{os.getpid()}.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        loader = Loader(self.model_runner.lora_manager)
        threading.Thread(target=serve, args=(loader, listener), name="adapter-loader", daemon=True).start()
        return path

    def report_steps(self, path: str) -> None:
        """Called once by collective_rpc. All workers go in step: the first one's steps stand for all."""
        if self.rank == 0:
            steps.report(self.model_runner, steps.attach(Path(path)))


class Loader:
    """What `manager` (vLLM's LRUCacheWorkerLoRAManager) will be asked for, ready in memory by its id."""

    def __init__(self, manager: Any) -> None:
        self._manager, self._adapters = manager, manager._adapter_manager
        self._read: Callable[[Any], Any] = manager._load_adapter
        self._ready: dict[int, Any] = {}
        self._doubles = {
            name: rehearsing(layer)
            for name, layer in self._adapters.modules.items()
            if plain(layer) and not hasattr(layer, "ahead")
        }
        manager._load_adapter = self.take

    def begin(self) -> None:
        """Called first in the thread."""
        current_platform.set_device(self._manager.device)  # else pinning memory would wake the first GPU
        # Of this thread alone, where torch.set_num_threads does nothing in vLLM's CPU worker: a team of its
        # own would fight with the one that computes the steps.
        torch._C.set_num_threads(1)

    def take(self, request: Any) -> Any:
        """In the loop, also when vLLM had dropped the adapter. From the disk only if it was never fetched."""
        ready = self._ready.get(request.lora_int_id)
        return self._read(request) if ready is None else ready

    def fetch(self, request: Any) -> bool:
        """Whether the loop can take it without a risk. Raises what vLLM raises for a bad adapter."""
        lora = self._read(request)  # and prepared, where our own products are installed
        tried = may_be_merged(self._adapters, lora)
        if tried:
            self._adapters._create_merged_loras_inplace(lora)
            for name, layer in self._adapters.modules.items():
                weights = self._adapters._get_lora_layer_weights(lora, name)
                if not weights or isinstance(weights.lora_a, Packed):
                    continue  # nothing to try, or tried by its packing
                if name in self._doubles:
                    type(layer).set_lora(self._doubles[name], 0, weights.lora_a, weights.lora_b)
                else:
                    tried = False
        self._ready[request.lora_int_id] = lora
        return tried

    def drop(self, number: int) -> None:
        self._ready.pop(number, None)

    def answer(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        if "drop" in asked:
            self.drop(asked["drop"])
            return None
        try:
            tried = self.fetch(LoRARequest(asked["name"], asked["id"], asked["path"]))
        except Exception as error:
            log.warning("Adapter %s was refused", asked["name"], exc_info=True)
            return {"id": asked["id"], "error": str(error)[:MAX_REASON] or type(error).__name__}
        return {"id": asked["id"], "error": None, "tried": tried}


def plain(layer: Any) -> bool:
    return isinstance(layer, BaseLinearLayerWithLoRA) and not isinstance(layer, ClassificationHeadWithLoRA)


def rehearsing(layer: Any) -> Any:
    """A copy of a LoRA layer, its one slot a shape without memory: `set_lora` fails on it as it would."""
    double = copy.copy(layer)
    for name, value in layer.__dict__.items():
        if name.endswith("_stacked") and isinstance(value, tuple):
            slot = tuple(torch.empty_like(one[:1], device="meta") for one in value)
            setattr(double, name, slot)
    return double


def serve(loader: Loader, listener: socket.socket) -> None:
    """One JSON object a line, one after the other, until the client goes."""
    with listener:
        connection, _ = listener.accept()
    # vLLM ties the thread that started this one to one core. And streams come first.
    os.sched_setaffinity(0, os.sched_getaffinity(os.getppid()))
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
    loader.begin()
    with connection, connection.makefile("rwb") as lines:
        for line in lines:
            answer = loader.answer(json.loads(line))
            if answer is not None:
                lines.write(json.dumps(answer).encode() + b"\n")
                lines.flush()
