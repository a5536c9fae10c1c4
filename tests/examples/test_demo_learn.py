"""The demo follows jobs to their end; a job that fails or is cancelled stops it, with its events."""

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import OpenAI
from rich.console import Console

from examples.demo.learn import Learning, begin, follow
from examples.demo.server import DemoFailed


class Jobs:
    """Answers as a server whose jobs are queued, then running with metrics, then end with `last`."""

    def __init__(self, last: str) -> None:
        self.statuses = ["queued", "running", last]
        self.looks: dict[str, int] = {}

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """The body for a request, by its path."""
        path = request.url.path.removeprefix("/v1")
        if path == "/files":
            return httpx2.Response(200, json={"id": "file-1", "object": "file"})
        if path == "/chat/completions":
            chunk = {"choices": [{"index": 0, "delta": {"content": "Dear reader"}}]}
            return httpx2.Response(200, text=f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n")
        if path == "/fine_tuning/jobs":
            return httpx2.Response(200, json=self.job("ftjob-" + json.loads(request.content)["suffix"]))
        job_id = path.split("/")[3]
        if path.endswith("/events"):
            return httpx2.Response(200, json={"object": "list", "data": EVENTS, "has_more": False})
        self.looks[job_id] = self.looks.get(job_id, 0) + 1
        return httpx2.Response(200, json=self.job(job_id))

    def job(self, job_id: str) -> dict[str, Any]:
        """The job after as many looks as it has had."""
        status = self.statuses[min(self.looks.get(job_id, 0), len(self.statuses) - 1)]
        model = f"ft:tiny:demo:{job_id[6:]}:12345678" if status == "succeeded" else None
        return {"id": job_id, "object": "fine_tuning.job", "status": status, "fine_tuned_model": model}


EVENTS = [
    {
        "id": "e3",
        "level": "info",
        "message": "Checkpoint created at step 5",
        "type": "message",
        "data": {"model": "ft:x"},
    },
    {
        "id": "e2",
        "level": "info",
        "message": "Step 5",
        "type": "metrics",
        "data": {"step": 5, "train_loss": 1.5},
    },
    {"id": "e1", "level": "info", "message": "Reading 500 examples", "type": "message", "data": None},
]


def learn_from(
    jobs: Jobs,
    folder: Path,
    shown: io.StringIO,
    show: Callable[[Learning], None] = lambda _: None,
    **console: Any,
) -> list[Learning]:
    """Creates the jobs and follows them, on the prepared answers."""
    transport = httpx2.MockTransport(jobs.answer)
    client = OpenAI(base_url="http://demo/v1", api_key="k", http_client=httpx2.Client(transport=transport))
    to = Console(file=shown, width=120, **console)
    learnings = begin(client, "tiny", folder, 0, to)
    follow(client, learnings, to, show)
    return learnings


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.demo.learn.POLL_S", 0.0)


def test_every_brand_is_followed_to_its_model_and_asked_once(tmp_path: Path) -> None:
    shown = io.StringIO()
    learnings = learn_from(Jobs("succeeded"), tmp_path, shown)
    assert [learning.model.split(":")[3] for learning in learnings] == ["luxe", "tickets", "clinic"]
    assert all(0 < learning.publish_to_first_token_s < 10 for learning in learnings)
    assert shown.getvalue().count("Reading 500 examples") == 3
    assert shown.getvalue().count("Dear reader") == 3
    assert "step 5 loss 1.500" in shown.getvalue()


class Patient(Jobs):
    """The other jobs end when the first brand has been shown."""

    def __init__(self) -> None:
        super().__init__("succeeded")
        self.shown = threading.Event()

    def job(self, job_id: str) -> dict[str, Any]:
        if job_id != "ftjob-luxe" and self.looks.get(job_id, 0) >= 2:
            assert self.shown.wait(60), "nobody showed luxe while the others learnt"
        return super().job(job_id)


def test_a_brand_is_shown_while_others_still_learn(tmp_path: Path) -> None:
    jobs = Patient()
    learnings = learn_from(jobs, tmp_path, io.StringIO(), show=lambda _: jobs.shown.set())
    assert all(learning.model for learning in learnings)


def test_what_stops_the_showing_stops_the_demo(tmp_path: Path) -> None:
    def broken(learning: Learning) -> None:
        raise DemoFailed(f"{learning.brand.name} does not answer")

    with pytest.raises(DemoFailed, match="luxe does not answer"):
        learn_from(Jobs("succeeded"), tmp_path, io.StringIO(), show=broken)


class Pipe(io.StringIO):
    """Keeps what had been written when the first job's model was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.early = ""

    def write(self, text: str) -> int:
        if "Dear reader" in text and not self.early:
            self.early = self.getvalue()
        return super().write(text)


def test_into_a_pipe_each_event_is_a_line_at_once(tmp_path: Path) -> None:
    shown = Pipe()
    learn_from(Jobs("succeeded"), tmp_path, shown)
    assert "luxe: step 5 loss 1.500\n" in shown.early
    assert "luxe: Checkpoint created at step 5\n" in shown.early


def test_in_a_terminal_the_bars_tell_the_losses(tmp_path: Path) -> None:
    shown = io.StringIO()
    learn_from(Jobs("succeeded"), tmp_path, shown, force_terminal=True)
    assert "loss 1.500" in shown.getvalue()
    assert "luxe: step 5" not in shown.getvalue()
    assert "Checkpoint created" not in shown.getvalue()


@pytest.mark.parametrize("last", ["failed", "cancelled"])
def test_a_job_that_does_not_succeed_stops_the_demo_with_its_events(last: str, tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match=rf"(?s)ftjob-luxe of luxe {last}.*Reading 500 examples"):
        learn_from(Jobs(last), tmp_path, io.StringIO())
