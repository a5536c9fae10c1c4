"""Fine-tuning jobs: exact refusals, one job per wish however often it is sent, lists, and walls."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import openai
import pytest

from records import jobs
from records.models import CANCELLED, FAILED, PAUSED, QUEUED, RUNNING, SUCCEEDED, Checkpoint, Job, new_id
from tests.conforms import conforms
from tests.server.conftest import Running

JOBS = "/v1/fine_tuning/jobs"


def create(server: Running, headers: dict[str, str] | None = None, **given: Any) -> httpx.Response:
    body = {"model": "tiny", "training_file": given.pop("training_file", None) or server.upload(), **given}
    return server.http().post(JOBS, json=body, headers=headers)


def dpo(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "dpo", "dpo": {"hyperparameters": hyperparameters}}


def count(server: Running) -> int:
    with server.house.database.read() as session:
        return session.query(Job).count()


def test_a_job_is_a_row_before_it_is_acknowledged(server: Running) -> None:
    job = create(server, suffix="luxe", seed=7, metadata={"team": "a"}).json()
    with server.house.database.read() as session:
        row = jobs.get(session, "acme", job["id"])
        assert row is not None
        assert (row.brand, row.seed, row.metadata_) == ("luxe", 7, {"team": "a"})
        assert row.status == "validating_files"
    assert job["organization_id"] == "acme"
    names = ("n_epochs", "batch_size", "learning_rate_multiplier")
    assert job["hyperparameters"] == dict.fromkeys(names, "auto")


def test_hyperparameters_count_in_both_places_that_openai_has_had(server: Running) -> None:
    wanted = {"n_epochs": 2, "batch_size": 8, "learning_rate_multiplier": 0.5}
    older = create(server, hyperparameters=wanted).json()
    newer = create(server, method={"type": "supervised", "supervised": {"hyperparameters": wanted}}).json()
    assert older["hyperparameters"] == newer["hyperparameters"] == wanted
    assert newer["method"]["supervised"]["hyperparameters"] == wanted


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"method": {"type": "dpo"}}, {}),
        ({"method": {"type": "dpo", "dpo": {}}}, {}),
        ({"method": dpo(beta=0.5, n_epochs=2)}, {"beta": 0.5, "n_epochs": 2}),
        ({"method": dpo(beta="auto", batch_size=8)}, {"batch_size": 8}),
        ({"method": {"type": "dpo"}, "hyperparameters": {"n_epochs": 2}}, {"n_epochs": 2}),
    ],
)
def test_a_dpo_job_is_kept_and_shown_in_openais_shape(
    server: Running, given: dict[str, Any], shown: dict[str, Any]
) -> None:
    job = create(server, **given).json()
    conforms(job, "FineTuningJob")
    names = ("beta", "n_epochs", "batch_size", "learning_rate_multiplier")
    wanted = dict.fromkeys(names, "auto") | shown
    assert job["method"] == {"type": "dpo", "dpo": {"hyperparameters": wanted}}
    assert job["hyperparameters"] == {}
    with server.house.database.read() as session:
        row = jobs.get(session, "acme", job["id"])
        assert row is not None
        assert (row.method, row.requested) == ("dpo", wanted)
    assert server.client().fine_tuning.jobs.retrieve(job["id"]).method.dpo is not None  # type: ignore[union-attr]


def test_hyperparameters_that_contradict_each_other_are_refused(server: Running) -> None:
    answer = create(
        server,
        hyperparameters={"n_epochs": 2},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "hyperparameters"


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"model": "gpt-4o"}, "model"),
        ({"model": 7}, "model"),
        ({"training_file": "file-unknown"}, "training_file"),
        ({"training_file": 1}, "training_file"),
        ({"validation_file": "file-unknown"}, "validation_file"),
        ({"suffix": ""}, "suffix"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"suffix": "a/b"}, "suffix"),
        ({"suffix": "ft:x"}, "suffix"),
        ({"suffix": "tiny"}, "suffix"),
        ({"suffix": "../x"}, "suffix"),
        ({"suffix": "ünïcode"}, "suffix"),
        ({"suffix": 5}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"seed": "1"}, "seed"),
        ({"seed": True}, "seed"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": 1.5}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": True}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": 257}}, "hyperparameters.batch_size"),
        ({"hyperparameters": {"learning_rate_multiplier": 0}}, "hyperparameters.learning_rate_multiplier"),
        ({"hyperparameters": {"beta": 1}}, "hyperparameters.beta"),
        ({"hyperparameters": []}, "hyperparameters"),
        ({"model": "luxe"}, "model"),
        ({"method": {"type": "dpo", "supervised": {}}}, "method.supervised"),
        ({"method": dpo(beta=0)}, "method.dpo.hyperparameters.beta"),
        ({"method": dpo(beta=2.1)}, "method.dpo.hyperparameters.beta"),
        ({"method": dpo(beta="much")}, "method.dpo.hyperparameters.beta"),
        ({"method": dpo(n_epochs=51)}, "method.dpo.hyperparameters.n_epochs"),
        ({"method": dpo(rank=8)}, "method.dpo.hyperparameters.rank"),
        ({"method": dpo(n_epochs=3), "hyperparameters": {"n_epochs": 2}}, "hyperparameters"),
        ({"method": {"type": "reinforcement"}}, "method.type"),
        ({"method": {"type": "supervised", "dpo": {}}}, "method.dpo"),
        ({"method": {}}, "method.type"),
        ({"method": {"type": "supervised", "lora": {}}}, "method.lora"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: "x"}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"metadata": {"k": 1}}, "metadata"),
        ({"metadata": "x"}, "metadata"),
        ({"evaluation": {"instruction": ""}}, "evaluation.instruction"),
        ({"evaluation": {"instruction": "x" * 16_001}}, "evaluation.instruction"),
        ({"evaluation": {}}, "evaluation.instruction"),
        ({"evaluation": {"graders": []}}, "evaluation.instruction"),
        ({"n_epochs": 3}, "n_epochs"),
        ({"tenant": "rival"}, "tenant"),
    ],
    ids=str,
)
def test_a_field_at_fault_is_a_400_that_names_it(shared: Running, given: dict[str, Any], param: str) -> None:
    answer = create(shared, **given)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert count(shared) == 0


def test_null_means_left_out(server: Running) -> None:
    nulls = dict.fromkeys(
        ("suffix", "seed", "validation_file", "metadata", "integrations", "method", "hyperparameters")
    )
    assert create(server, **nulls).status_code == 200


def test_an_instruction_to_compare_with_is_kept_with_the_job(server: Running) -> None:
    job = create(server, evaluation={"instruction": "Be kind."}).json()
    with server.house.database.read() as session:
        row = jobs.get(session, "acme", job["id"])
        assert row is not None
        assert row.evaluation == {"instruction": "Be kind."}


def test_a_file_of_another_purpose_is_refused(server: Running) -> None:
    file = server.upload(purpose="user_data")
    answer = create(server, training_file=file)
    assert answer.json()["error"]["code"] == "invalid_file_purpose"


def test_a_file_of_another_tenant_does_not_exist(server: Running) -> None:
    answer = create(server, training_file=server.upload(tenant="rival"))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "file_not_found"


def test_a_repeated_request_of_the_sdk_finds_the_job_of_its_first_try(server: Running) -> None:
    file = server.upload()
    first = create(server, training_file=file).json()
    again = create(server, {"x-stainless-retry-count": "1"}, training_file=file).json()
    assert again["id"] == first["id"]
    assert create(server, training_file=file).json()["id"] != first["id"]
    other = create(server, {"x-stainless-retry-count": "1"}, training_file=file, seed=2).json()
    assert other["id"] != first["id"]


def test_a_retry_of_one_tenant_never_finds_the_job_of_another(server: Running) -> None:
    file = server.upload()
    first = create(server, {"idempotency-key": "k"}, training_file=file).json()
    body = {"model": "tiny", "training_file": file}
    headers = {"idempotency-key": "k", "x-stainless-retry-count": "2"}
    answer = server.http("rival").post(JOBS, json=body, headers=headers)
    assert answer.status_code == 400
    assert first["id"] not in answer.text


def test_one_idempotency_key_is_one_job_even_at_the_same_time(server: Running) -> None:
    file, seen = server.upload(), list[str]()

    def send() -> None:
        seen.append(create(server, {"idempotency-key": "k1"}, training_file=file).json()["id"])

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len(set(seen)) == count(server) == 1


@pytest.mark.parametrize("header", ["²", "-1", "x", "", "9" * 500, "0"])
def test_an_odd_retry_count_is_no_error(server: Running, header: str) -> None:
    headers: Any = {"x-stainless-retry-count": header.encode("latin-1")}
    assert create(server, headers).status_code == 200


def test_an_idempotency_key_for_another_body_is_refused(server: Running) -> None:
    file = server.upload()
    create(server, {"idempotency-key": "k1"}, training_file=file)
    answer = create(server, {"idempotency-key": "k1"}, training_file=file, seed=5)
    assert answer.json()["error"]["code"] == "idempotency_key_reused"


def test_cancelling_is_for_jobs_that_have_not_ended(server: Running) -> None:
    client = server.client()
    for status in ("validating_files", QUEUED, RUNNING, PAUSED):
        cancelled = client.fine_tuning.jobs.cancel(server.job(status=status))
        assert cancelled.status == "cancelled"
        assert cancelled.finished_at is not None
        assert client.fine_tuning.jobs.cancel(cancelled.id).status == "cancelled"
    for status in (SUCCEEDED, FAILED):
        with pytest.raises(openai.BadRequestError, match=status):
            client.fine_tuning.jobs.cancel(server.job(status=status))


def refused(server: Running, job: str, verb: str) -> str:
    answer = server.http().post(f"{JOBS}/{job}/{verb}")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert job in error["message"]
    assert error["type"] == "invalid_request_error"
    return str(error["code"])


@pytest.mark.parametrize("status", ["validating_files", QUEUED, RUNNING])
def test_a_job_that_has_not_ended_is_paused_and_resumed(server: Running, status: str) -> None:
    client, job = server.client().fine_tuning.jobs, server.job(status=status, estimated_finish=5)
    for _ in range(2):  # the first answer may have been lost
        paused = client.pause(job)
        assert (paused.status, paused.estimated_finish, paused.finished_at) == (PAUSED, None, None)
    for _ in range(2):
        resumed = client.resume(job)
        assert resumed.status == (QUEUED if status == RUNNING else status)
    assert [event.message for event in client.list_events(job)][:-1] == [
        "Fine-tuning job resumed by request.",
        "Fine-tuning job paused by request.",
    ]


@pytest.mark.parametrize("status", [SUCCEEDED, FAILED, CANCELLED])
def test_what_has_ended_is_neither_paused_nor_resumed(server: Running, status: str) -> None:
    job = server.job(status=status, paused_from=RUNNING)
    assert refused(server, job, "pause") == "job_not_pausable"
    assert refused(server, job, "resume") == "job_not_resumable"


def test_what_was_never_paused_is_not_resumed(server: Running) -> None:
    assert refused(server, server.job(status=RUNNING), "resume") == "job_not_resumable"


def test_a_paused_job_keeps_its_files(server: Running) -> None:
    client = server.client()
    job = client.fine_tuning.jobs.create(model="tiny", training_file=server.upload())
    client.fine_tuning.jobs.pause(job.id)
    with pytest.raises(openai.ConflictError, match=job.id):
        client.files.delete(job.training_file)


def test_jobs_are_listed_newest_first_page_after_page(server: Running) -> None:
    made = [server.job() for _ in range(5)]
    client = server.client()
    assert [job.id for job in client.fine_tuning.jobs.list(limit=2)] == made[::-1]
    page = client.fine_tuning.jobs.list(limit=2, after=made[2])
    assert ([job.id for job in page.data], page.has_more) == ([made[1], made[0]], False)


def test_jobs_are_found_by_their_metadata(server: Running) -> None:
    red = [server.job(metadata_={"colour": "red", "a b.c": "1"}) for _ in range(3)]
    server.job(metadata_={"colour": "blue"})
    bare = server.job()
    http = server.http()

    def ids(query: dict[str, str]) -> list[str]:
        answer = http.get(JOBS, params={"limit": "2", **query}).json()
        return [job["id"] for job in answer["data"]] + (["more"] if answer["has_more"] else [])

    assert ids({"metadata[colour]": "red"}) == [red[2], red[1], "more"]
    assert ids({"metadata[colour]": "red", "after": red[1]}) == [red[0]]
    assert ids({"metadata[colour]": "red", "metadata[a b.c]": "1", "after": red[1]}) == [red[0]]
    assert ids({"metadata[colour]": "red", "metadata[a b.c]": "2"}) == []
    assert ids({"metadata": "null"}) == [bare]
    assert ids({"metadata[x' OR 1=1 --]": "red"}) == []
    assert http.get(JOBS, params={'metadata[a"b]': "x"}).status_code == 400


def test_events_come_newest_first(server: Running) -> None:
    job = server.job(status=RUNNING)
    with server.house.database.write() as session:
        for step in range(30):
            jobs.say(session, job, f"Step {step}", data={"step": step, "train_loss": 0.5}, type="metrics")
    client = server.client()
    page = client.fine_tuning.jobs.list_events(job)
    assert [event.message for event in page.data] == [f"Step {step}" for step in range(29, 9, -1)]
    assert page.data[0].data == {"step": 29, "train_loss": 0.5}
    assert len(list(client.fine_tuning.jobs.list_events(job, limit=7))) == 31


def test_checkpoints_are_listed_with_their_versions(server: Running) -> None:
    job = server.job()
    with server.house.database.write() as session:
        for step in (10, 20):
            name = f"ft:tiny:acme::01234567:ckpt-step-{step}"
            metrics = {"step": step, "full_valid_loss": 0.1}
            session.add(
                Checkpoint(
                    id=new_id("ftckpt_"), job_id=job, version=name, step=step, created_at=1, metrics=metrics
                )
            )
    listed = server.client().fine_tuning.jobs.checkpoints.list(job).data
    assert [point.step_number for point in listed] == [20, 10]
    assert listed[0].metrics.full_valid_loss == 0.1


def test_jobs_of_another_tenant_do_not_exist(server: Running) -> None:
    job = server.job(status=RUNNING)
    rival = server.client("rival").fine_tuning.jobs
    asks = (
        rival.retrieve,
        rival.cancel,
        rival.pause,
        rival.resume,
        rival.list_events,
        rival.checkpoints.list,
    )
    for ask in asks:
        with pytest.raises(openai.NotFoundError):
            ask(job)
    assert rival.list().data == []
    assert server.http("rival").get(f"{JOBS}?after={job}").status_code == 400
    assert server.client().fine_tuning.jobs.retrieve(job).status == "running"


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "after=ftjob-none"])
def test_a_list_parameter_at_fault_is_named(shared: Running, query: str) -> None:
    answer = shared.http().get(f"{JOBS}?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == query.partition("=")[0]


def test_a_failed_job_says_why(server: Running) -> None:
    error = {"code": "invalid_training_file", "message": "Too few examples.", "param": "training_file"}
    job = server.client().fine_tuning.jobs.retrieve(server.job(status=FAILED, error=error))
    assert job.error is not None
    assert job.error.model_dump() == error


def test_a_sweep_is_asked_for_beside_what_openai_has(server: Running) -> None:
    job = create(server, sweep={"trials": 8}).json()
    conforms(job, "FineTuningJob")
    with server.house.database.read() as session:
        row = jobs.get(session, "acme", job["id"])
    assert row is not None
    assert row.requested["sweep"] == 8
    assert row.hyperparameters.keys() == {"n_epochs", "batch_size", "learning_rate_multiplier"}


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"sweep": {"trials": 1}}, "sweep.trials"),
        ({"sweep": {"trials": 33}}, "sweep.trials"),
        ({"sweep": {"trials": 2.5}}, "sweep.trials"),
        ({"sweep": {"trials": 4, "rounds": 2}}, "sweep.rounds"),
        ({"sweep": 4}, "sweep"),
        ({"sweep": {"trials": 4}, "method": dpo()}, "sweep"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_by_its_field(
    server: Running, given: dict[str, Any], param: str
) -> None:
    answer = create(server, **given)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert count(server) == 0
