"""`chorus serve`: the API in this process, one training worker beside it, both gone when this one ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence

import uvicorn

from adapters import base as bases
from adapters import planned
from cli import doctor, options, plan
from records.settings import Settings
from server.app import create_app
from server.engine import lora_choice, machine
from server.engine.flags import FlagRefused, split
from server.engine.lora_kernels import KernelRefused
from server.engine.vllm import VllmEngine
from server.keeper import Keeper

WORKER_BACKOFF_SECONDS = (1, 2, 5, 15, 30)
# The engine is the longest part of a start, and its imports take two cores for so long.
WORKER_DELAY_SECONDS = 6.0
GRACE_SECONDS = 20


class WorkerKeeper:
    """Keeps one `chorus work` process running: starts it again, with back-off, when it ends by itself."""

    def __init__(self, settings: Settings, rank: int | None) -> None:
        """`rank`: the largest that the engine serves, where a flag of vLLM's has said it."""
        self._environment = {**os.environ, "CHORUS_HOME": str(settings.home), "CHORUS_BASE": settings.base}
        if rank is not None:
            self._environment["CHORUS_MAX_LORA_RANK"] = str(rank)
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        # One thread for all starts: the worker dies with the thread that started it (records.processes).
        self._thread = threading.Thread(target=self._keep, name="worker-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after a while; the worker gives its job back for another to take."""
        self._stopping.set()
        self._thread.join(GRACE_SECONDS + 5)

    def _keep(self) -> None:
        failures = 0
        command = [sys.executable, "-m", "cli.worker_process", str(os.getpid())]
        self._stopping.wait(WORKER_DELAY_SECONDS)
        while not self._stopping.is_set():
            # A session of its own: Ctrl-C in the terminal is for the server, which then ends its worker.
            self._process = subprocess.Popen(command, env=self._environment, start_new_session=True)
            while self._process.poll() is None and not self._stopping.wait(0.2):
                pass
            if self._process.poll() is None:
                self._end(self._process)
            if self._stopping.is_set():
                return
            pause = WORKER_BACKOFF_SECONDS[min(failures, len(WORKER_BACKOFF_SECONDS) - 1)]
            failures += 1
            options.errors.print(
                f"chorus: the training worker ended ({self._process.returncode}); again in {pause} s"
            )
            self._stopping.wait(pause)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Server(uvicorn.Server):
    """uvicorn's server, that says where it listens (the port may have been 0) once it does, and ends when its
    engine never will start."""

    def __init__(self, config: uvicorn.Config, keeper: Keeper) -> None:
        super().__init__(config)
        self.keeper = keeper

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self.keeper.hopeless

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        for listener in self.servers:
            for bound in listener.sockets:
                host, port = bound.getsockname()[:2]
                options.errors.print(
                    f"chorus: listening on http://{host}:{port}/v1 (ready when /readyz says 200)"
                )


def run(settings: Settings, *, worker: bool, flags: Sequence[str]) -> int:
    """Serve until stopped; the exit status."""
    database = options.open_database(settings)
    try:
        base = bases.resolve(settings.base, settings.home)
    except bases.BaseNotFound as error:
        raise options.stop(str(error)) from None
    try:
        given, flags = split(flags)
        settings = settings.model_copy(update=given)
        products = lora_choice.choose(settings.cpu_lora)
        settings, chosen, numbers = planned.settle(settings, base, database, kernel=products.native)
        engine = VllmEngine(settings, base, flags)
    except (FlagRefused, KernelRefused, planned.BadVariable) as error:
        raise options.stop(str(error)) from None
    for line in (*doctor.lines(machine.look(settings.home), chosen, numbers, products), plan.line(chosen)):
        options.errors.print(f"chorus: {line}", soft_wrap=True)
    app = create_app(settings, engine, database, base)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=75,  # longer than a load balancer's idle timeout, or it meets closed connections
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    keeper = WorkerKeeper(settings, given.get("max_lora_rank")) if worker else None
    if keeper:
        keeper.start()
    server = Server(config, app.state.house.keeper)
    try:
        server.run()
    finally:
        if keeper:
            keeper.stop()
    if server.keeper.hopeless:
        raise options.stop(server.keeper.reason)
    return 0 if server.started else 1
