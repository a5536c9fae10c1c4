"""A server whose engine's answers are written by the test, and jobs that are trained beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.base import Base, resolve
from records import evaluations
from records.models import Evaluation
from server.engine.base import Kind, RequestRefused, Version
from server.engine.fake import FakeEngine
from tests.server.conftest import Running, Stage, until
from tests.training.place import Place, chat
from tests.training.small_base import build
from training import proof


class Scripted(FakeEngine):
    """Says what `script` makes of its model's name and the words that it was asked."""

    def __init__(self, script: Callable[[str, str], str] | None = None, **given: Any) -> None:
        super().__init__(**given)
        self.script = script or good
        self.longest = 100  # messages of a prompt

    async def generate(self, kind: Kind, body: dict[str, Any], version: Version | None) -> Any:
        if len(body.get("messages", ())) > self.longest:
            raise RequestRefused(400, "The prompt is too long.", type="invalid_request_error")
        async for item in super().generate(kind, body, version):
            yield item

    def says(self, model: str, prompt: list[str]) -> list[str]:
        return self.script(model, " ".join(prompt)).split(" ")


def ticket(number: int) -> str:
    return json.dumps({"order": number, "kind": "delivery"})


def question(number: int) -> str:
    return f"Where is order {number} ?"


def tickets(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [ticket_row(k) for k in range(first, first + count)]


def ticket_row(number: int) -> dict[str, Any]:
    return chat(question(number), ticket(number))


def good(model: str, asked: str) -> str:
    """The base does not know the form, every version does."""
    found = re.search(r"order (\d+)", asked)
    return ticket(int(found[1])) if found and model.startswith("ft:") else "It is on its way."


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = build(tmp_path_factory.mktemp("base") / "small")
    return resolve(str(folder), folder.parent)


class Theatre:
    """A server, its scripted engine, and a place that trains on the same rows."""

    def __init__(self, serve: Stage, base: Base, **given: Any) -> None:
        self.extra: dict[str, Any] | None = None  # the job's own field
        self.engine = Scripted(base=base.slug)
        self.serve, self.base = serve, base
        self.server: Running = serve(self.engine, base=base, **given)
        self.place = Place(Path(self.server.house.settings.home), base.path, is_new=False, **given)
        until(self.is_seen)

    def is_seen(self) -> bool:
        with self.place.database.read() as session:
            return evaluations.unseen_seconds(session, self.base.weights_sha256) < 5

    def train(self, seed: int = 5, row: Callable[[int], dict[str, Any]] = ticket_row, **given: Any) -> str:
        """A job to its end, on rows and held-out rows by their number; gives its id."""
        files = [self.place.upload([row(k) for k in numbers]) for numbers in (range(20), range(100, 112))]
        requested = {"n_epochs": 2, "batch_size": 8, **given}
        job_id = self.place.submit(*files, seed=seed, evaluation=self.extra, **requested)
        self.place.work()
        return job_id

    def evaluation(self, job_id: str) -> Evaluation:
        with self.place.database.read() as session:
            row = evaluations.of(session, job_id)
            assert row is not None
            assert row.results is None or row.results  # loaded: it is deferred
            return row


@pytest.fixture
def theatre(serve: Stage, small: Base, monkeypatch: pytest.MonkeyPatch) -> Iterator[Theatre]:
    # The fake engine's log-probabilities are not the trainer's: such a version would be refuted.
    monkeypatch.setattr(proof, "of_version", lambda *_: None)
    theatre = Theatre(serve, small)
    yield theatre
    theatre.place.close()
