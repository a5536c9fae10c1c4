"""What always holds, under faults, on the real engine; each test is named after its fault."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import openai
import psutil
import pytest

from tests.live import LiveServer
from tests.patience import PATIENCE

pytestmark = pytest.mark.engine

LONG = {"max_tokens": 1500, "temperature": 0, "extra_body": {"ignore_eos": True}}
HELLO = [{"role": "user", "content": "Tell me a long story, please."}]


def engine_pids(server: LiveServer) -> list[int]:
    """vLLM's processes: all that is below the server but the training worker."""
    assert server.process is not None
    worker = server.worker_pid()
    below = psutil.Process(server.process.pid).children(recursive=True)
    return [child.pid for child in below if child.pid != worker]


def failures(server: LiveServer) -> dict[str, float]:
    """How often an engine has ended so far, by kind."""
    found = re.findall(r'^chorus_engine_failures_total{kind="(.*)"} (.*)$', server.metrics(), re.MULTILINE)
    return {kind: float(count) for kind, count in found}


def engine_process(server: LiveServer, name: str) -> psutil.Process:
    """EngineCore, which schedules, or Worker, which computes."""
    assert server.process is not None
    below = psutil.Process(server.process.pid).children(recursive=True)
    (found,) = (child for child in below if f"VLLM::{name}" in " ".join(child.cmdline()))
    return found


@contextmanager
def throttled(server: LiveServer) -> Iterator[None]:
    """The engine's processes run for a tenth of each second."""
    ended = threading.Event()
    engine = [engine_process(server, name) for name in ("EngineCore", "Worker")]

    def throttle() -> None:
        while not ended.is_set():
            for process in engine:
                process.suspend()
            time.sleep(0.9)
            for process in engine:
                process.resume()
            time.sleep(0.1)

    thread = threading.Thread(target=throttle)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def open_stream(server: LiveServer, model: str = "tiny") -> Iterator[object]:
    stream = iter(
        server.client().chat.completions.create(model=model, messages=HELLO, stream=True, **LONG)  # type: ignore[call-overload]
    )
    next(stream)
    next(stream)
    return stream


def wait_not_ready(server: LiveServer) -> None:
    deadline = time.monotonic() + PATIENCE
    while httpx.get(f"{server.root}/readyz", timeout=30).status_code == 200:
        assert time.monotonic() < deadline, "the end of the engine was not noticed"
        time.sleep(0.1)


def chats(server: LiveServer, model: str) -> str:
    client = server.client().with_options(max_retries=0)
    return client.chat.completions.create(model=model, messages=HELLO, max_tokens=4).model


def after_the_fault(server: LiveServer, stream: Iterator[object], version: str) -> None:
    """What must hold whatever ended the engine: nothing looks complete, control goes on, all comes back."""
    with pytest.raises(openai.APIError, match=r"broke off|in the midst"):
        list(stream)
    wait_not_ready(server)
    body = {"model": "tiny", "messages": HELLO}
    headers = {"Authorization": f"Bearer {server.api_key}"}
    refused = httpx.post(f"{server.base_url}/chat/completions", json=body, headers=headers, timeout=30)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert server.client().files.list().object == "list"
    assert version in [model.id for model in server.client().models.list()]
    server.wait_ready()
    assert chats(server, version) == version
    assert chats(server, "faulty") == version
    assert chats(server, "tiny") == "tiny"


@pytest.fixture(scope="module")
def version(live_server: LiveServer) -> str:
    return live_server.publish("faulty", 11)


def test_engine_kill_9_in_mid_stream(live_server: LiveServer, version: str) -> None:
    stream = open_stream(live_server, version)
    for pid in engine_pids(live_server):
        os.kill(pid, signal.SIGKILL)
    after_the_fault(live_server, stream, version)


def test_engine_kill_9_before_the_first_token(live_server: LiveServer, version: str) -> None:
    """Of its scheduler alone: a stream that meets it is a 503, and the forkserver stays for the next."""
    scheduler = engine_process(live_server, "EngineCore")
    forkserver = scheduler.ppid()
    scheduler.kill()
    client = live_server.client().with_options(max_retries=0)
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model="tiny", messages=HELLO, stream=True)  # type: ignore[call-overload]
    assert refused.value.status_code == 503
    wait_not_ready(live_server)
    live_server.wait_ready()
    assert chats(live_server, version) == version
    assert forkserver in engine_pids(live_server)


def test_engine_stopped_for_60_seconds(live_server: LiveServer, version: str) -> None:
    before = failures(live_server)
    stream = open_stream(live_server, version)
    for pid in engine_pids(live_server):
        os.kill(pid, signal.SIGSTOP)
    after_the_fault(live_server, stream, version)
    assert failures(live_server) == {**before, "hung": before["hung"] + 1}


@pytest.mark.parametrize("name", ["EngineCore", "Worker"])
def test_one_process_of_an_idle_engine_stopped(live_server: LiveServer, version: str, name: str) -> None:
    """Found by the canary, that is sent after ten seconds in which nobody asked."""
    before = failures(live_server)
    engine_process(live_server, name).suspend()
    wait_not_ready(live_server)
    live_server.wait_ready()
    assert chats(live_server, version) == version
    assert failures(live_server) == {**before, "hung": before["hung"] + 1}


def test_engine_throttled_to_a_tenth_under_forty_long_prompts(live_server: LiveServer, version: str) -> None:
    """Slow is not dead: all are answered, by the engine that was there."""
    before, text = failures(live_server), "My parcel with the red scarf came late, and torn. " * 80
    client = live_server.client().with_options(max_retries=0, timeout=1800)

    def ask(number: int) -> int:
        model = version if number % 2 else "tiny"
        answer = client.completions.create(model=model, prompt=f"{number} {text}", max_tokens=8)
        assert answer.usage is not None
        return answer.usage.prompt_tokens

    with throttled(live_server), ThreadPoolExecutor(40) as pool:
        assert min(pool.map(ask, range(40))) > 700
    assert failures(live_server) == before


def test_folder_of_a_resident_version_deleted(live_server: LiveServer, version: str) -> None:
    """The engine goes on from memory; after its next start the version is refused, others are not."""
    lost = live_server.publish("lost", 12)
    assert chats(live_server, lost) == lost
    shutil.rmtree(live_server.folder_of(lost))
    assert chats(live_server, lost) == lost
    for pid in engine_pids(live_server):
        os.kill(pid, signal.SIGKILL)
    wait_not_ready(live_server)
    live_server.wait_ready()
    with pytest.raises(openai.APIStatusError, match="missing") as refused:
        chats(live_server, lost)
    assert (refused.value.status_code, refused.value.code) == (410, "version_unusable")
    assert chats(live_server, version) == version
