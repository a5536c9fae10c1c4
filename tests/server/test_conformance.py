"""Every implemented route, its answer held against the schemas that OpenAI publishes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from records import jobs
from records.models import PAUSED, RUNNING, Checkpoint, new_id
from tests.conforms import conforms, document
from tests.server.conftest import TRAINING, Running, Stage, until

HELLO = [{"role": "user", "content": "hello"}]


@dataclass
class Made:
    """A server with one of everything on it."""

    server: Running
    file: str
    job: str
    version: str
    errand: Callable[[], str]  # a new version, to delete


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, prepared: Any) -> Any:
    stage = Stage(tmp_path_factory.mktemp("conformance"), prepared)
    server = stage()
    file, version = server.upload(), server.publish("luxe")
    job = server.job(status=RUNNING, metadata_={"team": "a"}, result_files=[file], trained_tokens=12)
    with server.house.database.write() as session:
        jobs.say(session, job, "Step 1", data={"step": 1, "train_loss": 0.5}, type="metrics")
        session.add(
            Checkpoint(
                id=new_id("ftckpt_"), job_id=job, version=version, step=1, created_at=1, metrics={"step": 1}
            )
        )
    seeds = iter(range(100, 200))
    until(lambda: version in server.engine.resident)
    yield Made(server, file, job, version, lambda: server.publish("spare", seed=next(seeds), step=1))
    stage.stop()


Ask = tuple[str, str, Any]
CHAT: dict[str, Any] = {"model": "luxe", "messages": HELLO}
JOBS = "/v1/fine_tuning/jobs"
# (method, path template) -> (schema, what to send)
ROUTES: dict[tuple[str, str], tuple[str, Callable[[Made], tuple[str, dict[str, Any]]]]] = {
    ("POST", "/v1/files"): (
        "OpenAIFile",
        lambda made: (
            "/v1/files",
            {"files": {"file": ("a.jsonl", TRAINING)}, "data": {"purpose": "fine-tune"}},
        ),
    ),
    ("GET", "/v1/files"): ("ListFilesResponse", lambda made: ("/v1/files", {})),
    ("GET", "/v1/files/{file_id}"): ("OpenAIFile", lambda made: (f"/v1/files/{made.file}", {})),
    ("DELETE", "/v1/files/{file_id}"): (
        "DeleteFileResponse",
        lambda made: (f"/v1/files/{made.server.upload()}", {}),
    ),
    ("POST", JOBS): (
        "FineTuningJob",
        lambda made: (JOBS, {"json": {"model": "tiny", "training_file": made.file, "suffix": "x"}}),
    ),
    ("GET", JOBS): ("ListPaginatedFineTuningJobsResponse", lambda made: (JOBS, {})),
    ("GET", f"{JOBS}/{{job_id}}"): ("FineTuningJob", lambda made: (f"{JOBS}/{made.job}", {})),
    ("POST", f"{JOBS}/{{job_id}}/cancel"): (
        "FineTuningJob",
        lambda made: (f"{JOBS}/{made.server.job(status=RUNNING)}/cancel", {}),
    ),
    ("POST", f"{JOBS}/{{job_id}}/pause"): (
        "FineTuningJob",
        lambda made: (f"{JOBS}/{made.server.job(status=RUNNING)}/pause", {}),
    ),
    ("POST", f"{JOBS}/{{job_id}}/resume"): (
        "FineTuningJob",
        lambda made: (f"{JOBS}/{made.server.job(status=PAUSED, paused_from=RUNNING)}/resume", {}),
    ),
    ("GET", f"{JOBS}/{{job_id}}/events"): (
        "ListFineTuningJobEventsResponse",
        lambda made: (f"{JOBS}/{made.job}/events", {}),
    ),
    ("GET", f"{JOBS}/{{job_id}}/checkpoints"): (
        "ListFineTuningJobCheckpointsResponse",
        lambda made: (f"{JOBS}/{made.job}/checkpoints", {}),
    ),
    ("GET", "/v1/models"): ("ListModelsResponse", lambda made: ("/v1/models", {})),
    ("GET", "/v1/models/{model:path}"): ("Model", lambda made: (f"/v1/models/{made.version}", {})),
    ("DELETE", "/v1/models/{model:path}"): (
        "DeleteModelResponse",
        lambda made: (f"/v1/models/{made.errand()}", {}),
    ),
    ("POST", "/v1/chat/completions"): (
        "CreateChatCompletionResponse",
        lambda made: ("/v1/chat/completions", {"json": {**CHAT, "logprobs": True, "n": 2}}),
    ),
    ("POST", "/v1/completions"): (
        "CreateCompletionResponse",
        lambda made: ("/v1/completions", {"json": {"model": made.version, "prompt": "hi", "n": 2}}),
    ),
}
GRADERS = "/v1/fine_tuning/alpha/graders"
GRADER = {"type": "string_check", "name": "same", "input": "x", "reference": "x", "operation": "eq"}
ROUTES |= {
    ("POST", f"{GRADERS}/run"): (
        "RunGraderResponse",
        lambda made: (f"{GRADERS}/run", {"json": {"grader": GRADER, "model_sample": "x"}}),
    ),
    ("POST", f"{GRADERS}/validate"): (
        "ValidateGraderResponse",
        lambda made: (f"{GRADERS}/validate", {"json": {"grader": GRADER}}),
    ),
}
CONTENT = ("GET", "/v1/files/{file_id}/content")  # bytes, no schema
SCHEMALESS = {CONTENT}
# No part of OpenAI's API: test_file_reports.py, routes/test_brands.py, evaluation/test_card.py, ...
OURS = {
    ("GET", "/v1/files/{file_id}/report"),
    ("POST", "/v1/adapters"),
    ("GET", "/v1/brands"),
    ("GET", "/v1/brands/{brand}"),
    ("POST", "/v1/brands/{brand}"),
    ("GET", "/v1/brands/{brand}/audit"),
    ("GET", "/v1/fine_tuning/jobs/{job_id}/report"),
    ("GET", "/v1/models/{model:path}/card"),
    ("POST", "/v1/fine_tuning/quote"),
}
OUR_FIELDS = {"evaluation", "sweep"}  # of a job


def test_no_route_is_left_out(made: Made) -> None:
    served = {
        (method, route.path)
        for route in made.server.app.routes
        for method in getattr(route, "methods", ())
        if route.path.startswith("/v1")  # type: ignore[attr-defined]
    }
    assert served == set(ROUTES) | SCHEMALESS | OURS


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_an_answer_has_the_shape_that_openai_publishes(made: Made, route: tuple[str, str]) -> None:
    schema, ask = ROUTES[route]
    path, given = ask(made)
    answer = made.server.http().request(route[0], path, **given)
    assert answer.status_code == 200, answer.text
    conforms(answer.json(), schema)


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_an_empty_list_has_that_shape_too(made: Made, route: tuple[str, str]) -> None:
    schema, ask = ROUTES[route]
    if not schema.startswith("List") or "job_id" in route[1]:
        return
    path, _ = ask(made)
    answer = made.server.http("rival").get(path)
    conforms(answer.json(), schema)


def test_the_chunks_of_a_stream_have_that_shape(made: Made) -> None:
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    answer = made.server.http().post("/v1/chat/completions", json=body)
    *frames, done, end = answer.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    assert len(frames) > 3
    for frame in frames:
        conforms(json.loads(frame.removeprefix("data: ")), "CreateChatCompletionStreamResponse")


@pytest.mark.parametrize("route", [*ROUTES, *SCHEMALESS, *sorted(OURS)], ids=" ".join)
@pytest.mark.parametrize("key", [None, "wrong", "ck-00000000-" + "x" * 43])
def test_without_a_good_key_every_route_is_a_401_of_that_shape(
    made: Made, route: tuple[str, str], key: str | None
) -> None:
    path = (
        route[1]
        .replace("{file_id}", made.file)
        .replace("{job_id}", made.job)
        .replace("{model:path}", "tiny")
        .replace("{brand}", "luxe")
    )
    headers = {"authorization": f"Bearer {key}"} if key else {}
    answer = made.server.http(None).request(route[0], path, headers=headers)
    assert answer.status_code == 401
    conforms(answer.json(), "ErrorResponse")
    assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/nothing", 404),
        ("GET", "/v1/files/", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/docs", 404),
        ("PUT", "/v1/files", 405),
        ("GET", "/v1/chat/completions", 405),
        ("POST", f"{JOBS}/ftjob-x/pause", 404),
        ("GET", "/v1/files/file-none", 404),
        ("GET", "/v1/models/none", 404),
        ("GET", "/v1/models/a%2Fb", 404),
        ("GET", f"{JOBS}/ftjob-none", 404),
        ("GET", "/v1/files?limit=x", 400),
        ("POST", JOBS, 400),
        ("POST", "/v1/chat/completions", 400),
        ("POST", "/v1/files", 400),
        ("GET", "/v1/brands/none", 404),
        ("POST", "/v1/brands/luxe", 400),
    ],
)
def test_every_error_has_that_shape_and_an_id(made: Made, method: str, path: str, status: int) -> None:
    answer = made.server.http().request(method, path)
    assert answer.status_code == status
    conforms(answer.json(), "ErrorResponse")
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"].startswith("req_")


def test_every_field_of_a_job_request_is_known(made: Made) -> None:
    """None of theirs is an unknown parameter; what is not supported is said so."""
    from server.job_request import JobRequest

    theirs = set(document()["x-request-fields"]["CreateFineTuningJobRequest"])
    assert set(JobRequest.model_fields) == theirs | OUR_FIELDS
