"""As much of W&B's server as a run needs, by what wandb 0.31 asks: it keeps the lines of runs' histories."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.training.logs import Steps

ENTITY = {"id": "e", "name": "house"}


class WandbServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lines: dict[str, list[str]] = {}  # of each run's history
        self.made: list[dict[str, Any]] = []  # what runs were made or changed with
        self.exits: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def history(self, run: str) -> Steps:
        """Figures by step, without what W&B adds. Fails on a step that is there twice."""
        found: Steps = {}
        for row in map(json.loads, self.lines[run]):
            assert row["_step"] not in found, "no step is there twice"
            found[row["_step"]] = {name: value for name, value in row.items() if not name.startswith("_")}
        return found

    def answer(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """To a GraphQL operation."""
        project = {"id": "p", "name": given.get("project"), "entity": ENTITY}
        match name:
            case "RunResumeStatus":
                return {"model": project | {"bucket": self._known(given["name"])}}
            case "UpsertBucket":
                self.made.append(given)
                self.lines.setdefault(given["name"], [])
                bucket = {
                    "id": "r",
                    "name": given["name"],
                    "displayName": given["displayName"],
                    "config": "{}",
                }
                return {"upsertBucket": {"bucket": bucket | {"project": project}, "inserted": True}}
            case "CreateRunFiles":
                files = [{"name": name, "uploadUrl": f"{self.url}/kept"} for name in given["files"]]
                return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        return {}

    def take(self, run: str, sent: dict[str, Any]) -> None:
        """A piece of a run's stream of files."""
        if history := sent.get("files", {}).get("wandb-history.jsonl"):
            at, lines = history["offset"], self.lines[run]
            lines[at : at + len(history["content"])] = history["content"]
        if sent.get("complete"):
            self.exits.append(sent["exitcode"])

    def _known(self, run: str) -> dict[str, Any] | None:
        if run not in self.lines:
            return None
        lines = self.lines[run]
        none = {"logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]", "tags": [], "wandbConfig": "{}"}
        tail = json.dumps(lines[-1:])
        shown = {"id": "r", "name": run, "displayName": run, "summaryMetrics": "{}", "config": "{}"}
        return none | shown | {"historyLineCount": len(lines), "historyTail": tail}


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        said: dict[str, Any] = {}
        if self.path == "/graphql":
            asked = json.loads(body)
            name = asked["query"].split("(")[0].split("{")[0].split()[-1]
            said = {"data": self.server.answer(name, asked.get("variables") or {})}
        elif self.path.endswith("/file_stream"):
            self.server.take(self.path.split("/")[-2], json.loads(body))
        content = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running() -> Iterator[WandbServer]:
    with WandbServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
