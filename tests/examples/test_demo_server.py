"""The demo's server handle, against small scripts in the place of `chorus`."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from examples.demo.server import DemoFailed, Server

READY = """#!/usr/bin/env python3
import http.server, os, signal, sys

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

if sys.argv[1] == "tenants":
    print("sk-test")
    sys.exit(0)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if sys.argv[1] == "work":
    print("works on", os.environ["CHORUS_TRAINING_THREADS"], "thread", flush=True)
    signal.pause()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Ready).serve_forever()
"""
DIES = "#!/bin/sh\necho the base model is missing\nexit 3\n"


def server_of(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int = 1) -> Server:
    """A handle whose `chorus` is the given script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "chorus").write_text(script)
    (folder / "chorus").chmod(0o755)
    monkeypatch.setattr("examples.demo.server.sys.executable", str(folder / "python"))
    return Server(tmp_path / "home", Console(file=io.StringIO()), at_once)


def test_a_server_is_ready_gives_a_key_and_stops_on_leaving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server_of(READY, tmp_path, monkeypatch) as server:
        server.wait_until_ready()
        assert server.create_key() == "sk-test"
        server.check_alive()
    with pytest.raises(DemoFailed, match="ended with code 0"):
        server.check_alive()


@pytest.mark.parametrize(("at_once", "cores", "more"), [(2, 1, 0), (2, 2, 1), (3, 8, 2)])
def test_more_workers_come_when_they_are_asked_for_one_thread_each_and_end_with_the_server(
    at_once: int, cores: int, more: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.demo.server.os.sched_getaffinity", lambda _: set(range(cores)))
    with server_of(READY, tmp_path, monkeypatch, at_once) as server:
        server.wait_until_ready()
        assert server.more_workers == []
        server.add_workers()
        server.add_workers()
        workers = server.more_workers
        assert len(workers) == more
        logs = [tmp_path / "home" / f"work-{number}.log" for number in range(1, more + 1)]
        while any(log.read_text() != "works on 1 thread\n" for log in logs):
            server.check_alive()
        assert all(process.poll() is None for process in workers)
    assert all(process.poll() is not None for process in workers)


def test_a_server_that_dies_at_the_start_shows_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(DemoFailed, match=r"(?s)ended with code 3.*the base model is missing"),
        server_of(DIES, tmp_path, monkeypatch),
    ):
        pytest.fail("a dead server must not be entered")


def test_a_missing_chorus_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = server_of(DIES, tmp_path, monkeypatch)
    (tmp_path / "bin" / "chorus").unlink()
    with pytest.raises(DemoFailed, match="make demo"), server:
        pytest.fail("a missing server must not be entered")
