"""README is held to the tree: what it prints is there, what it tells to type works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from examples.brands import BRANDS
from examples.generate import DEFAULT_OUT, write_chats
from server.fields import IGNORED
from tests.live import LiveServer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_annotated_tree_names_every_folder_and_no_other() -> None:
    printed = set(re.findall(r"^(\w+)/ {2,}\S", README, re.MULTILINE))
    tracked = subprocess.run(
        ["git", "ls-tree", "-d", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert printed == {name for name in tracked if not name.startswith(".")}


def test_every_make_target_that_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make (\w+)`?", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def snippet(base_url: str, api_key: str) -> str:
    """The Python of the README, with no change but the two that its reader makes."""
    (text,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for shown, own in (("http://127.0.0.1:8000/v1", base_url), ("ck-...", api_key)):
        assert text.count(shown) == 1
        text = text.replace(shown, own)
    return text


def run_snippet(text: str, folder: Path) -> str:
    """What it prints in a folder that has nothing but what `python -m examples.generate` writes."""
    write_chats(folder / DEFAULT_OUT / "luxe.train.jsonl", BRANDS["luxe"].cases("train", 12))
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Answers(BaseHTTPRequestHandler):
    """A server whose job needs two looks to succeed, and that knows the brand no sooner."""

    looks = 0

    def do_GET(self) -> None:
        type(self).looks += not self.path.endswith("/events")
        event = {"id": "e1", "message": "The job has succeeded", "level": "info", "type": "message"}
        self._say({"data": [event], "has_more": False} if self.path.endswith("/events") else self._job())

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/files":
            self._say(
                {"id": "file-1"} if b'"assistant"' in sent else {}, 200 if b"fine-tune" in sent else 400
            )
        elif self.path == "/v1/fine_tuning/jobs":
            assert json.loads(sent) == {"model": "tiny", "training_file": "file-1", "suffix": "luxe"}
            self._say(self._job())
        else:
            message = {"role": "assistant", "content": f"{json.loads(sent)['model']} answers"}
            self._say({"choices": [{"index": 0, "message": message}]}, 200 if self.looks >= 2 else 404)

    def _job(self) -> dict[str, object]:
        return {"id": "ftjob-1", "status": ("queued", "running", "succeeded")[min(self.looks, 2)]}

    def _say(self, what: object, status: int = 200) -> None:
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the test's output clean."""


def test_the_python_snippet_waits_for_the_job_and_prints_the_brands_answer(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        said = run_snippet(snippet(f"http://127.0.0.1:{server.server_port}/v1", "ck-1"), tmp_path)
        server.shutdown()
    assert said.splitlines() == ["The job has succeeded", "luxe answers"]


@pytest.mark.engine
def test_the_python_snippet_runs_as_it_is_printed(live_server: LiveServer, tmp_path: Path) -> None:
    key = live_server.new_key("readme")  # a tenant of its own: other tests have a brand of this name
    *events, answer = run_snippet(snippet(live_server.base_url, key), tmp_path).strip().splitlines()
    assert events
    assert answer.strip()


def test_every_command_that_it_shows_has_these_options() -> None:
    for line in re.findall(r"^\.venv/bin/chorus (.*?)(?:\s+#.*)?$", README, re.MULTILINE):
        words = line.split()
        command = words[
            : 2 if words[0] in ("adapters", "brands", "jobs", "tenants") else 1
        ]  # groups of commands
        shown = subprocess.run(
            [sys.executable, "-m", "cli.main", *command, "--help"], capture_output=True, text=True, check=True
        ).stdout
        for option in (word for word in words if word.startswith("--")):
            assert option in shown, line


def test_the_fields_that_it_calls_accepted_and_not_used_are_those_of_the_table() -> None:
    (named,) = re.findall(
        r"Of a chat or completion only (.*?) are accepted and not\s+used", README, re.DOTALL
    )
    assert set(re.findall(r"`(\w+)`", named)) == IGNORED


def test_each_link_leads_to_a_file() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_bench_modules_that_the_documents_name_exist() -> None:
    for text in (README, (ROOT / "DECISIONS.md").read_text()):
        for name in re.findall(r"python -m bench\.(\w+)", text):
            assert name == "NAME" or (ROOT / "bench" / f"{name}.py").is_file(), name
