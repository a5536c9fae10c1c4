"""Quotes: the job's body, nothing created, one measurement for all who ask, a price, a place in the queue."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters import base as bases
from records.models import RUNNING
from records.quotes import Measured, Quote, Refusal
from records.reports import write
from server import quotes
from server.aside import Aside
from tests.server.conftest import Running, Stage, until
from tests.server.routes.test_jobs import count

QUOTE = "/v1/fine_tuning/quote"
FOUND = Quote(
    examples=12, held_out=0, truncated_examples=0, tokens_per_epoch=1000, supervised_tokens_per_epoch=400,
    hyperparameters={"n_epochs": 2}, epochs=2, steps=6, stops_early=False, trained_tokens=2000,
    peak_memory_bytes=1, seconds=30.0, start_seconds=10.0, device="cpu",
)  # fmt: skip


class Trial:
    """Stands in for the process: counts its calls, and ends with what it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.orders: list[dict[str, Any]] = []
        self.says: Measured | None = Measured(quote=FOUND)
        self.may_end = threading.Event()
        self.may_end.set()
        trial = self

        async def run(aside: Aside, path: Path, module: str, *arguments: str) -> int:
            assert module == "training.quote"
            trial.orders.append(json.loads(arguments[arguments.index("--order") + 1]))
            await asyncio.to_thread(trial.may_end.wait)
            if trial.says is None:
                return 1
            write(path, trial.says.model_dump_json().encode())
            return 0

        monkeypatch.setattr(Aside, "_run", run)


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Trial:
    return Trial(monkeypatch)


def ask(server: Running, **given: Any) -> httpx.Response:
    body = {"model": "tiny", "training_file": given.pop("training_file", None) or server.upload(), **given}
    return server.http().post(QUOTE, json=body)


def test_a_quote_is_measured_on_the_base_itself_and_creates_nothing(serve: Stage) -> None:
    server = serve(base=bases.resolve("tiny", serve.folder), training_threads=1)
    answer = server.http().post(
        QUOTE, json={"model": "tiny", "training_file": server.upload(), "suffix": "luxe"}
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["examples"], found["device"], found["cost"]) == (12, "cpu", None)
    assert found["steps"] * 4 == found["epochs"] * 12
    assert found["seconds"] > 0
    assert count(server) == 0


def test_it_is_measured_once_for_all_who_ask(server: Running, trial: Trial) -> None:
    file = server.upload()
    trial.may_end.clear()
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(ask(server, training_file=file))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    until(lambda: len(trial.orders) > 0)
    trial.may_end.set()
    for thread in threads:
        thread.join()
    assert [answer.json()["steps"] for answer in answers] == [6] * 4
    ask(server, training_file=file, suffix="other", metadata={"a": "b"})
    assert len(trial.orders) == 1
    ask(server, training_file=file, hyperparameters={"n_epochs": 3})
    assert [order["requested"]["n_epochs"] for order in trial.orders] == ["auto", 3]


def test_the_price_is_of_all_tokens_that_are_trained(serve: Stage, trial: Trial) -> None:
    found = ask(serve(price_per_million_tokens=3.0)).json()
    assert found["cost"] == 2000 * 3.0 / 1e6
    assert found["price_per_million_tokens"] == 3.0


def test_the_end_is_behind_the_jobs_that_wait(server: Running, trial: Trial) -> None:
    file = server.upload()
    alone = ask(server, training_file=file).json()
    assert alone["queue"] == {"jobs": 0, "seconds": 0.0}
    assert abs(alone["estimated_finish"] - time.time() - 40) < 20
    server.job(status=RUNNING, estimated_finish=int(time.time()) + 1000)
    server.client().fine_tuning.jobs.create(model="tiny", training_file=file)  # as long as this one
    behind = ask(server, training_file=file).json()
    assert behind["queue"]["jobs"] == 2
    assert abs(behind["queue"]["seconds"] - 1040) < 20
    assert abs(behind["estimated_finish"] - alone["estimated_finish"] - 1040) < 20


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"training_file": "file-none"}, "training_file"),
        ({"suffix": "tiny"}, "suffix"),
        ({"suffix": "a b"}, "suffix"),
        ({"model": "gpt-4o"}, "model"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"method": {"type": "reinforcement"}}, "method.type"),
    ],
)
def test_what_a_job_is_refused_for_a_quote_is_refused_for(
    server: Running, trial: Trial, given: dict[str, Any], param: str
) -> None:
    body = {"model": "tiny", "training_file": server.upload(), **given}
    refused, job = (server.http().post(path, json=body) for path in (QUOTE, "/v1/fine_tuning/jobs"))
    assert refused.status_code == job.status_code
    assert refused.json() == job.json()
    assert refused.json()["error"]["param"] == param
    assert not trial.orders


def test_what_the_job_would_fail_of_is_a_400_that_says_so(server: Running, trial: Trial) -> None:
    trial.says = Measured(refusal=Refusal(code="too_few_examples", message="Too few.", param="training_file"))
    answer = ask(server)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"], error["message"]) == (
        "too_few_examples", "training_file", "Too few.",
    )  # fmt: skip


def test_a_measurement_that_crashes_is_a_500_and_is_made_anew(server: Running, trial: Trial) -> None:
    trial.says, file = None, server.upload()
    answer = ask(server, training_file=file)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "quote_failed")
    trial.says = Measured(quote=FOUND)
    assert ask(server, training_file=file).status_code == 200


def test_only_so_many_of_a_tenant_wait_for_a_measurement(
    server: Running, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotes, "WAITING", 1)
    file, other = server.upload(), server.upload()
    trial.may_end.clear()
    first = threading.Thread(target=ask, args=(server,), kwargs={"training_file": file})
    first.start()
    until(lambda: len(trial.orders) == 1)
    refused = ask(server, training_file=other, seed=7)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    answers: list[int] = []
    body = {"model": "tiny", "training_file": server.upload("rival"), "seed": 7}
    rival = threading.Thread(
        target=lambda: answers.append(server.http("rival").post(QUOTE, json=body).status_code)
    )
    rival.start()
    until(lambda: answers or server.house.quotes._aside.waiting("rival") == 1)
    trial.may_end.set()
    first.join()
    rival.join()
    assert answers == [200], "another tenant's limit is its own"
    assert ask(server, training_file=other, seed=7).status_code == 200


def test_a_quote_goes_with_its_file(server: Running, trial: Trial) -> None:
    file = server.upload()
    ask(server, training_file=file)
    kept = server.house.settings.home / "reports"
    assert len(list(kept.glob("*/quote-*.json"))) == 1
    server.client().files.delete(file)
    assert not list(kept.glob("*/quote-*.json"))
