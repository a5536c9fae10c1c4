"""The two ends of loading beside the engine's loop, without an engine: the protocol between them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from server.engine import flags, loading
from server.engine.base import AdapterRefused, EngineUnavailable
from server.engine.loading import Loaders
from tests.patience import PATIENCE

FOLDER = Path("/adapters/a")


class Worker:
    """Plays the thread in one worker: answers by the script, keeps what it was told."""

    def __init__(
        self, *, error: str | None = None, tried: bool = True, dies: bool = False, mute: bool = False
    ) -> None:
        self.error, self.tried, self.dies, self.mute = error, tried, dies, mute
        self.asked: list[dict[str, Any]] = []
        self.gone = threading.Event()

    def listen(self, folder: str, number: int) -> str:
        path = f"{folder}/{number}.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()
        return path

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the client may have gone before it has its answer
            self._answer(listener)
        self.gone.set()

    def _answer(self, listener: socket.socket) -> None:
        with listener, listener.accept()[0] as connection, connection.makefile("rwb") as lines:
            for line in lines:
                self.asked.append(json.loads(line))
                if self.dies:
                    return
                if "id" in self.asked[-1] and not self.mute:
                    answer = {"id": self.asked[-1]["id"], "error": self.error, "tried": self.tried}
                    lines.write(json.dumps(answer).encode() + b"\n")
                    lines.flush()


class Client:
    """Plays vLLM's client: one call that reaches all workers."""

    def __init__(self, *workers: Worker) -> None:
        self.workers, self.folder = workers, Path()

    async def collective_rpc(self, method: str, args: tuple[str]) -> list[str]:
        assert method == "open_adapter_loader"
        self.folder = Path(args[0])
        assert self.folder.stat().st_mode & 0o777 == 0o700, "nobody else may ask"
        return [worker.listen(args[0], number) for number, worker in enumerate(self.workers)]


@asynccontextmanager
async def loaders(*workers: Worker) -> AsyncIterator[Loaders]:
    client = Client(*workers)
    opened = await Loaders.open(client)
    assert not client.folder.exists(), "both ends have met: nothing stays on the disk"
    yield opened
    await opened.close()
    for worker in workers:
        if not worker.dies:
            assert await asyncio.to_thread(worker.gone.wait, PATIENCE), "the thread ends with its client"


async def test_an_adapter_is_ready_when_every_worker_has_it() -> None:
    workers = Worker(), Worker()
    async with loaders(*workers) as opened:
        assert await opened.fetch(7, "a", FOLDER) is True
    assert [worker.asked for worker in workers] == [[{"id": 7, "name": "a", "path": str(FOLDER)}]] * 2


async def test_what_one_worker_could_not_try_is_left_to_the_loop() -> None:
    async with loaders(Worker(), Worker(tried=False)) as opened:
        assert await opened.fetch(7, "a", FOLDER) is False


async def test_what_one_worker_refuses_is_refused_with_its_reason_and_kept_by_none() -> None:
    workers = Worker(), Worker(error="rank 64 is too much")
    async with loaders(*workers) as opened:
        with pytest.raises(AdapterRefused, match="rank 64 is too much"):
            await opened.fetch(7, "a", FOLDER)
    assert [worker.asked[-1] for worker in workers] == [{"drop": 7}] * 2


async def test_many_at_once_each_get_their_own_answer() -> None:
    async with loaders(Worker()) as opened:
        assert await asyncio.gather(*(opened.fetch(n, f"a{n}", FOLDER) for n in range(20))) == [True] * 20


async def test_a_worker_that_dies_makes_the_engine_unavailable_now_and_afterwards() -> None:
    async with loaders(Worker(dies=True)) as opened:
        for number in range(2):
            with pytest.raises(EngineUnavailable):
                await opened.fetch(number, "a", FOLDER)


async def test_that_it_has_died_is_known_before_anybody_asks() -> None:
    async with loaders(Worker(), Worker(dies=True)) as opened:
        assert not opened.ended
        with pytest.raises(EngineUnavailable):
            await opened.fetch(1, "a", FOLDER)
        assert opened.ended


async def test_a_load_that_does_not_end_is_given_up_and_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "LOAD_SECONDS", 0.05)
    worker = Worker(mute=True)
    async with loaders(worker) as opened:
        with pytest.raises(EngineUnavailable, match="a was not loaded within"):
            await opened.fetch(7, "a", FOLDER)
        assert not opened.ended, "a disk that comes back is enough"
    assert worker.asked[-1] == {"drop": 7}


def test_the_place_of_the_loader_in_the_engine_is_not_given_away() -> None:
    with pytest.raises(flags.FlagRefused, match="worker-extension-cls"):
        flags.check(["--worker-extension-cls=other.Extension"])


class Manager:
    """Plays vLLM's manager of adapters: what it reads is a list with the path, or an error."""

    device = "cpu"

    def __init__(self) -> None:
        self._adapter_manager = Adapters()
        self.read: list[str] = []

    def _load_adapter(self, request: Any) -> Any:
        self.read.append(request.lora_path)
        if request.lora_path == "/torn":
            raise ValueError("header too large")
        return Lora()


class Lora:
    modules_to_save: dict[str, Any] = {}  # noqa: RUF012


class Adapters:
    _is_moe = False
    modules: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.merged: list[Any] = []

    def _create_merged_loras_inplace(self, lora: Any) -> None:
        self.merged.append(lora)


@contextmanager
def a_loader(manager: Manager) -> Iterator[Any]:
    """A connection's two ends, as a file of lines; the loader serves the other one."""
    from server.engine.loader import Loader, serve

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        thread = threading.Thread(target=serve, args=(Loader(manager), listener), daemon=True)
        thread.start()
        with socket.create_connection(listener.getsockname()) as near, near.makefile("rwb") as lines:
            yield lines
        thread.join(PATIENCE)
        assert not thread.is_alive()


def ask(lines: Any, **asked: Any) -> dict[str, Any]:
    lines.write(json.dumps(asked).encode() + b"\n")
    lines.flush()
    answer: dict[str, Any] = json.loads(lines.readline())
    return answer


def wanted(number: int, path: str) -> Any:
    from vllm.lora.request import LoRARequest

    return LoRARequest(f"a{number}", number, path)


def test_the_loop_takes_what_was_read_and_merged_and_never_the_disk() -> None:
    manager = Manager()
    with a_loader(manager) as lines:
        assert ask(lines, id=1, name="a", path="/a") == {"id": 1, "error": None, "tried": True}
        first = manager._load_adapter(wanted(1, "/a"))
        assert manager._load_adapter(wanted(1, "/a")) is first, "also after vLLM has dropped it"
        assert manager._adapter_manager.merged == [first]
    assert manager.read == ["/a"]


def test_a_torn_adapter_is_told_and_the_next_one_is_served() -> None:
    manager = Manager()
    with a_loader(manager) as lines:
        assert ask(lines, id=1, name="a", path="/torn")["error"] == "header too large"
        assert ask(lines, id=2, name="b", path="/b")["error"] is None


def test_what_is_dropped_is_not_kept() -> None:
    manager = Manager()
    with a_loader(manager) as lines:
        ask(lines, id=1, name="a", path="/a")
        lines.write(b'{"drop": 1}\n{"drop": 1}\n')
        ask(lines, id=2, name="b", path="/b")  # they are served one after the other
        manager._load_adapter(wanted(1, "/a"))
    assert manager.read == ["/a", "/b", "/a"]


def test_what_cannot_be_merged_twice_is_left_to_the_loop() -> None:
    manager = Manager()
    manager._adapter_manager._is_moe = True
    with a_loader(manager) as lines:
        assert ask(lines, id=1, name="a", path="/a")["tried"] is False
    assert not manager._adapter_manager.merged
