"""vLLM inside our own process: its request handlers answer, none of its routes exists.

Recipe: argument parser -> engine client -> handlers; adapters by the handlers' name table and the loaders
beside the engine's loop (loading.py).
vLLM is imported in `start`, not at the top: that takes ten seconds and control routes answer meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

from adapters.base import TINY, Base
from adapters.dtype import AUTO
from adapters.modules import SERVED_LINEARS
from adapters.planned import kv_cache_gib
from records.settings import Settings
from server.engine import flags as engine_flags
from server.engine import forkserver, launch, lora_choice, steps
from server.engine import vllm_wire as wire
from server.engine.base import (
    AdapterRefused,
    EngineHung,
    EngineMisconfigured,
    EngineUnavailable,
    Kind,
    Version,
)
from server.engine.loading import Loaders
from server.engine.plugin import CPU_LORA
from server.engine.processes import end, engine_processes
from server.engine.steps import Steps
from server.engine.tool_calls import hold_to_schemas
from server.engine.watchdog import Watchdog

STOP_SECONDS = 3
COMPACT_JSON = {"backend": "xgrammar", "disable_any_whitespace": True}

log = logging.getLogger("chorus.server")


class VllmEngine:
    """The real engine. `flags` are vLLM's own, as after `chorus serve --`; they win over ours.

    Raises FlagRefused for one that is not supported, KernelRefused for a LoRA kernel that cannot run here.
    """

    def __init__(self, settings: Settings, base: Base, flags: Sequence[str] = ()) -> None:
        engine_flags.check(flags)
        self._flags = [*_flags(settings, base), *flags]
        self._kv_cache_gib, self._settings = kv_cache_gib(base), settings
        self._client: Any = None
        self._handlers: Any = None
        self._loaders: Any = None
        self._requests: dict[str, Any] = {}
        self._ids = itertools.count(1)  # ids are never used twice: vLLM caches by them
        # The engine's processes die with the thread that starts them (plugin.die_with): keep it.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="engine-start")
        self._launching: asyncio.Future[tuple[Any, Any]] | None = None
        self._processes: set[int] = set()
        self._watching: asyncio.Task[None] | None = None
        self.steps = Steps()
        self._problem: str | None = None  # how it shows that the engine hangs

    async def start(self) -> None:
        """Takes 10 to 60 s. Raises EngineUnavailable with vLLM's reason when it cannot start,
        EngineMisconfigured when it never will."""
        launch.set_defaults(self._kv_cache_gib)
        os.environ[CPU_LORA] = self._settings.cpu_lora  # the plugin reads it in the engine's processes
        self.steps, path = steps.create()
        os.environ[steps.PATH] = str(path)
        loop = asyncio.get_running_loop()
        self._launching = loop.run_in_executor(self._starter, launch.launch, self._settings, self._flags)
        try:
            # Shielded: a thread cannot be cancelled, so `stop` has to know whether it still runs.
            self._client, arguments = await asyncio.shield(self._launching)
            self._loaders = await Loaders.open(self._client)
            await self._client.collective_rpc("report_steps", args=(str(path),))
            if not self.steps.scheduler_pid or not self.steps.worker_pid:
                raise RuntimeError("its steps cannot be seen, so that this vLLM is none that Chorus knows")
            self._handlers = await _handlers(self._client, arguments)
            # As vLLM's own server does: else streams wait while a collection walks all that vLLM imported.
            gc.freeze()
            self._watching = asyncio.create_task(self._watch(self.steps))
        except engine_flags.FlagRefused as error:
            raise EngineMisconfigured(str(error)) from error
        except EngineMisconfigured:
            raise
        except Exception as error:
            raise EngineUnavailable(f"The engine did not start: {error}") from error
        finally:
            self._processes = engine_processes()
            os.environ.pop(steps.PATH, None)
            path.unlink()

    async def stop(self) -> None:
        patience = time.monotonic() + STOP_SECONDS
        while self._launching is not None and not self._launching.done():
            # Stopped in mid-start: without its processes the launch fails, and its thread ends.
            await asyncio.to_thread(end, engine_processes(), 0.5)
            if time.monotonic() > patience:
                await asyncio.to_thread(forkserver.end)  # it may hang before it has forked anything
            await asyncio.wait([self._launching], timeout=0.2)
        watching, self._watching, self._problem = self._watching, None, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait({watching})
        client, self._client, self._handlers = self._client, None, None
        loaders, self._loaders = self._loaders, None
        if loaders is not None:
            await loaders.close()
        if client is not None:
            if client.output_handler is not None:
                client.output_handler.cancel()  # else it reports the end of the engine as a failure
            self._break_off(client)
            await asyncio.to_thread(client.shutdown, timeout=STOP_SECONDS)
        await asyncio.to_thread(end, self._processes)
        await asyncio.to_thread(forkserver.end_if_stuck)
        self._requests.clear()

    async def _watch(self, shared: Steps) -> None:
        client, seconds = self._client, self._settings.engine_hang_seconds
        try:
            self._problem = await Watchdog(
                shared, client.output_processor.has_unfinished_requests, seconds
            ).hang()
        except Exception:
            log.exception("From here on nobody sees whether the engine hangs")
            return
        self._break_off(client)

    @staticmethod
    def _break_off(client: Any) -> None:
        """Open streams wait for a process that will never answer: each ends with an error event."""
        from vllm.v1.engine.exceptions import EngineDeadError

        client.output_processor.propagate_error(EngineDeadError())

    async def load(self, version: Version, path: Path) -> None:
        if version.name in self._requests:
            return
        client, models = self._alive(), self._handlers.openai_serving_models
        from vllm.lora.request import LoRARequest

        request = LoRARequest(version.name, next(self._ids), str(path))
        try:
            # In advance, not at first use: an adapter that fails inside a step ends the engine for all.
            ready = await self._loaders.fetch(request.lora_int_id, version.name, path)
            added = ready or await self._add(request)
        except EngineUnavailable:
            raise
        except Exception as error:
            if client.errored:
                raise EngineUnavailable("The engine died while it loaded an adapter.") from error
            raise AdapterRefused(wire.adapter_reason(str(error))) from error
        if not added:
            raise AdapterRefused(f"The engine did not take {version.name}.")
        self._requests[version.name] = models.lora_requests[version.name] = request

    async def _add(self, request: Any) -> bool:
        """By the loop itself; the loaders keep what it took, as they drop what they refuse."""
        client, loaders = self._client, self._loaders
        added: bool = False
        try:
            added = await client.add_lora(request)
        finally:
            if not added:
                loaders.drop(request.lora_int_id)
        return added

    async def unload(self, version: Version) -> None:
        request = self._requests.pop(version.name, None)
        if request is not None:
            client, loaders = self._alive(), self._loaders
            self._handlers.openai_serving_models.lora_requests.pop(version.name, None)
            try:
                await client.remove_lora(request.lora_int_id)
            finally:
                loaders.drop(request.lora_int_id)  # last: no step that was planned before looks for it

    async def generate(
        self, kind: Kind, body: dict[str, Any], version: Version | None
    ) -> AsyncIterator[bytes]:
        self._alive()
        if version is not None and version.name not in self._requests:
            raise wire.unknown_model(version.name)
        served = self._handlers.openai_serving_models.base_model_paths[0].name
        sent = {**body, "model": version.name if version else served}
        request = wire.request(kind, sent)
        with self._refusals(sent):
            handler = (
                self._handlers.openai_serving_chat.create_chat_completion
                if kind is Kind.CHAT
                else self._handlers.openai_serving_completion.create_completion
            )
            answer = await handler(request)
        if not hasattr(answer, "__aiter__"):
            yield wire.body(answer, sent)
            return
        begun = False
        async with aclosing(answer):
            async for frame in answer:
                if frame.startswith('data: {"error"'):
                    if not begun:  # vLLM looks at some fields only now
                        self._alive()  # of an engine that has died it says that the request failed
                        raise wire.first_error(frame, sent)
                    yield wire.error_frame(frame)
                    return  # no [DONE]: a broken answer must not look complete
                begun = True
                yield wire.frame(frame)

    @contextmanager
    def _refusals(self, sent: dict[str, Any]) -> Iterator[None]:
        """vLLM's errors as ours. An engine that hangs has died to vLLM, as `_break_off` told it so."""
        try:
            with wire.refusals(sent):
                yield
        except EngineUnavailable:
            self._alive()
            raise

    def _alive(self) -> Any:
        if self._client is None or self._handlers is None:
            raise EngineUnavailable("The engine is starting.")
        if self._problem is not None:
            raise EngineHung(f"The engine hangs: {self._problem}.")
        if self._client.errored:
            raise EngineUnavailable("The engine has died.")
        if self._loaders.ended:  # the keeper asks, and starts it again
            raise EngineUnavailable("The engine cannot load adapters any more.")
        return self._client


def _flags(settings: Settings, base: Base) -> list[str]:
    flags = [
        *("--model", str(base.path), "--served-model-name", base.slug),
        *("--dtype", settings.dtype or AUTO),
        *("--enable-lora", "--max-lora-rank", str(settings.largest_rank)),
        *("--max-loras", str(settings.slots)),
        # Room for those that are on their way in while others leave: past this vLLM drops one by itself.
        *("--max-cpu-loras", str(settings.kept + settings.slots)),
        *("--lora-target-modules", *SERVED_LINEARS),
        *("--worker-extension-cls", "server.engine.loader.LoaderExtension"),
        # A model that is shown tools calls them, whatever `tool_choice` says; and "none" has no parser.
        "--exclude-tools-when-tool-choice-none",
    ]
    flags += lora_choice.flags(settings.dtype or AUTO, settings.cpu_lora)
    if base.path == TINY:
        flags += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
        # So small a model, held to a grammar that allows white space anywhere, may write nothing else.
        flags += ["--structured-outputs-config", json.dumps(COMPACT_JSON)]
    return flags


async def _handlers(client: Any, arguments: Any) -> Any:
    """vLLM's request handlers around an engine client, in a Starlette State."""
    from starlette.datastructures import State
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state

    await client.reset_mm_cache()
    state = State()
    await init_app_state(client, state, arguments, await client.get_supported_tasks())
    hold_to_schemas(state.online_renderer)
    return state
