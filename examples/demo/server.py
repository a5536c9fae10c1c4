"""Starts `chorus serve` for the demo, and stops it leaving no process behind."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import httpx
from rich.console import Console

READY_WITHIN_S = 300
STOPS_WITHIN_S = 60
LOOK_S = 0.25


class DemoFailed(Exception):
    """The demo cannot go on; the text says what happened and where to look."""


def free_port() -> int:
    """A TCP port that nobody on this machine listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Server:
    """`chorus serve --base tiny` on a free port, its state and log under `home`; a context manager.

    Jobs train on one thread, of which a model as small as `tiny` gets as much as of two, and `at_once` of
    them side by side where there are as many cores (DECISIONS.md, "Any machine").
    """

    def __init__(self, home: Path, console: Console, at_once: int = 1) -> None:
        self.home = home
        self.log = home / "serve.log"
        self.console = console
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self._workers = min(at_once, len(os.sched_getaffinity(0)))
        self._environment = {"CHORUS_TRAINING_THREADS": "1", **os.environ}
        self._chorus = Path(sys.executable).with_name("chorus")
        self._process: subprocess.Popen[bytes] | None = None
        self.more_workers: list[subprocess.Popen[bytes]] = []
        self._started = time.monotonic()

    def __enter__(self) -> "Server":
        if not self._chorus.exists():
            raise DemoFailed(f"{self._chorus.name} is not installed beside this Python; run: make demo")
        self.home.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()
        self._process = self._start("serve", self.log, "--port", str(self.port))
        try:
            self._wait_until("livez", "listens")
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self, command: str, log: Path, *options: str) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            # A session of its own: Ctrl-C reaches the demo alone, which then stops the server in order.
            return subprocess.Popen(
                [str(self._chorus), command, "--base", "tiny", "--home", str(self.home), *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment,
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_until_ready(self) -> None:
        """Until it chats. Files and jobs it takes from the beginning: the first job begins meanwhile."""
        self._wait_until("readyz", "is ready")

    def add_workers(self) -> None:
        """From now on all jobs that are left train at once."""
        for number in range(len(self.more_workers) + 1, self._workers):
            self.more_workers.append(self._start("work", self.home / f"work-{number}.log"))

    def _wait_until(self, path: str, what: str) -> None:
        address = f"http://127.0.0.1:{self.port}/{path}"
        with self.console.status("starting the server") as status:
            while True:
                waited = time.monotonic() - self._started
                status.update(f"starting the server, {waited:.0f} s (its log: {self.log})")
                self.check_alive()
                try:
                    if httpx.get(address, timeout=5).status_code == httpx.codes.OK:
                        break
                except httpx.TransportError:
                    pass  # not listening yet, or too busy to answer: the deadline below decides
                if waited > READY_WITHIN_S:
                    raise DemoFailed(f"{waited:.0f} s are over before the server {what}\n{self.log_tail()}")
                time.sleep(LOOK_S)
        waited = time.monotonic() - self._started
        self.console.print(f"the server {what} after {waited:.0f} s at {self.base_url}")

    def check_alive(self) -> None:
        """Raises DemoFailed with the end of the log when the server process has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise DemoFailed(f"the server ended with code {self._process.returncode}\n{self.log_tail()}")

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of the server's log."""
        text = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        return "\n".join([f"the last lines of {self.log}:", *text])

    def create_key(self) -> str:
        """The API key of a tenant made for this run."""
        name = f"demo-{secrets.token_hex(3)}"
        command = [str(self._chorus), "tenants", "create", name, "--home", str(self.home)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DemoFailed(f"no tenant could be made:\n{done.stderr.strip()}")
        return done.stdout.strip()

    def stop(self) -> None:
        """SIGTERM and wait; what is left of their sessions after a minute is killed, and that is said."""
        processes = [*self.more_workers, *([self._process] if self._process else [])]
        running = [process for process in processes if process.poll() is None]
        if not running:
            return
        with self.console.status("stopping the server"):
            for process in running:
                process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + STOPS_WITHIN_S
            for process in running:
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    self.console.print(f"[red]the server did not stop within {STOPS_WITHIN_S} s; killing it")
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
