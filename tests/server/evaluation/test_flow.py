"""From a job to its evaluation, and to live or candidate: real training, a scripted engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from records import evaluations, jobs
from server.evaluation import subjects
from tests.server.conftest import until
from tests.server.evaluation.conftest import Theatre, good, tickets
from tests.server.proofs import audits, brand, post


def broken(model: str, asked: str, ours: str) -> str:
    """Whatever is not `ours` has lost the end of its JSON."""
    said = good(model, asked)
    return said if ours in model or not model.startswith("ft:") else said.removesuffix("}")


def live_of(theatre: Theatre) -> str:
    until(lambda: brand(theatre.server)["live"] is not None)
    return str(brand(theatre.server)["live"])


def test_a_job_is_evaluated_before_it_ends_and_its_version_goes_live(theatre: Theatre) -> None:
    job_id = theatre.train()
    job, row = theatre.place.job(job_id), theatre.evaluation(job_id)
    assert job.status == jobs.SUCCEEDED
    assert row.status == evaluations.DONE
    assert "Evaluating 2 checkpoints and the base on 12 held-out examples" in theatre.place.messages(job_id)
    assert live_of(theatre) == job.fine_tuned_model
    results: dict[str, Any] = row.results or {}
    by_kind = {subject["kind"]: subject for subject in results["subjects"]}
    assert set(by_kind) == {subjects.NEW, subjects.LIVE, subjects.CHECKPOINT, *subjects.WITHOUT_TRAINING}
    assert [case["score"] for case in by_kind[subjects.NEW]["cases"]] == [1.0] * 12
    assert [case["score"] for case in by_kind[subjects.BASE]["cases"]] == [0.0] * 12
    assert by_kind[subjects.LIVE]["left_out"] == "nothing was live for the brand"
    assert by_kind[subjects.INSTRUCTED]["left_out"].startswith("no instruction is known")


def test_a_planted_regression_is_stopped_by_the_gate_and_can_be_forced(theatre: Theatre) -> None:
    theatre.train()
    live = live_of(theatre)
    digest = live.rsplit(":", 1)[1]
    assert post(theatre.server, action="gate", gate={"at_least_live": True}).status_code == 200
    theatre.engine.script = lambda model, asked: broken(model, asked, digest)
    job_id = theatre.train(seed=6)
    job = theatre.place.job(job_id)
    new = job.fine_tuned_model
    shown = brand(theatre.server)
    assert job.status == jobs.SUCCEEDED
    assert (shown["live"], shown["candidate"], shown["share"]) == (live, new, 0.0)
    (said,) = [event for event in theatre.place.events(job_id) if "is not passed" in event.message]
    assert said.level == "warn"
    assert "The held-out score is 0.000, that of the live version 1.000." in said.message
    assert "Failed cases (12)" in said.message
    assert "and 7 more" in said.message
    for body in ({}, {"version": new}, {"version": theatre.place.checkpoints(job_id)[-1].version}):
        refused = post(theatre.server, action="promote", **body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "gate_not_passed")
    assert brand(theatre.server)["live"] == live
    forced = post(theatre.server, action="promote", version=new, force=True)
    assert forced.status_code == 200, forced.text
    assert forced.json()["live"] == new
    (noted,) = audits(theatre.server, "promote_forced")
    assert (noted.before or {})["live"] == live


def test_the_report_says_that_a_job_which_taught_something_was_worth_it(theatre: Theatre) -> None:
    job_id = theatre.train()
    path = f"/v1/fine_tuning/jobs/{job_id}/report"
    found = theatre.server.http().get(path).json()
    assert found["verdict"]["said"] == "worth it"
    (told,) = [
        text for text in theatre.place.messages(job_id) if text.startswith("Evaluated: worth it. On 12")
    ]
    assert told.endswith("the job has no evaluation.instruction.")
    assert found["verdict"]["gain"] == 1.0
    assert [row["step"] for row in found["checkpoints"] if row["published"]] == [found["subjects"][0]["step"]]
    assert [row["asked"] for row in found["checkpoints"]] == [12, 12]
    assert len(found["data"]["training_sha256"]) == 64
    assert len(found["side_by_side"]) == 10
    assert set(found["side_by_side"][0]["answers"]) == {"new", "base", "few_shot_base"}
    assert found["worst_against_base"] == found["worst_against_live"] == []
    assert found["prompt_tokens_saved"] is None  # nobody knows an instruction
    assert found["loss"][0]["step"] == 1
    quote, took = found["effort"]["quote"], found["effort"]["took"]
    assert quote["trained_tokens"] >= took["trained_tokens"] == found["data"]["trained_tokens"]
    by_kind = {one["kind"]: one for one in found["subjects"]}
    assert by_kind["few_shot_base"]["shots"] == 5
    assert by_kind["live"]["score"] is None
    assert by_kind["base"]["prompt_tokens"] == 5  # the fake's tokens are words
    assert by_kind["few_shot_base"]["first_token_seconds"] > 0
    page = theatre.server.http().get(path, headers={"Accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert page.text == theatre.server.http().get(path, params={"format": "html"}).text
    assert "Worth it" in page.text
    assert "What training took" in page.text
    assert found["data"]["data_check"].startswith("too few.")
    assert theatre.server.http("rival").get(path).status_code == 404
    assert theatre.server.http(None).get(path).status_code == 401


def test_the_report_says_not_worth_it_where_examples_in_the_prompt_do_as_well(theatre: Theatre) -> None:
    theatre.engine.script = lambda model, asked: good("ft:", asked)
    verdict = theatre.server.http().get(f"/v1/fine_tuning/jobs/{theatre.train()}/report").json()["verdict"]
    assert verdict["said"] == "not worth it"
    assert "does as well without training" in verdict["why"][1]


def test_the_page_escapes_what_models_and_files_say(theatre: Theatre) -> None:
    theatre.engine.script = lambda model, asked: "<script>alert(1)</script>"
    found = theatre.server.http().get(f"/v1/fine_tuning/jobs/{theatre.train()}/report?format=html")
    assert "<script" not in found.text
    assert "&lt;script&gt;alert(1)" in found.text
    assert "default-src 'none'" in found.headers["content-security-policy"]


def test_the_instruction_of_a_job_goes_to_the_base_and_shows_what_training_saves(theatre: Theatre) -> None:
    theatre.extra = {"instruction": "Answer with one JSON object and nothing else ."}
    job_id = theatre.train()
    found = theatre.server.http().get(f"/v1/fine_tuning/jobs/{job_id}/report").json()
    assert found["evaluation"]["instruction"] == theatre.extra["instruction"]
    assert next(one for one in found["subjects"] if one["kind"] == subjects.INSTRUCTED)["answered"] == 12


def test_a_prompt_that_is_too_long_with_all_examples_gets_fewer(theatre: Theatre) -> None:
    theatre.engine.longest = 6  # messages: two examples and the question are five
    found = theatre.server.http().get(f"/v1/fine_tuning/jobs/{theatre.train()}/report").json()
    few_shot = next(one for one in found["subjects"] if one["kind"] == subjects.FEW_SHOT)
    assert (few_shot["shots"], few_shot["answered"], few_shot["not_answered"]) == (2, 12, 0)


def test_what_time_does_not_allow_is_left_out_and_said(theatre: Theatre, monkeypatch: Any) -> None:
    carrier = theatre.server.house.evaluator._carrier
    short = carrier.settings.model_copy(update={"evaluation_seconds": 1e-9})
    monkeypatch.setattr(theatre.server.house.evaluator, "_carrier", replace(carrier, settings=short))
    found = theatre.server.http().get(f"/v1/fine_tuning/jobs/{theatre.train()}/report").json()
    assert found["verdict"]["worth_it"] is None
    new = found["subjects"][0]
    assert (new["score"], new["not_answered"]) == (None, 12)
    assert new["why_not_answered"] == "there was no time left"
    assert new["first_token_seconds"] is None


def test_the_report_of_a_job_that_failed_or_was_cancelled_says_so(theatre: Theatre) -> None:
    few = theatre.place.submit(theatre.place.upload(tickets(3)))
    gone = theatre.place.submit(theatre.place.upload(tickets(20)))
    theatre.server.client().fine_tuning.jobs.cancel(gone)
    theatre.place.work()
    said = {}
    for job_id in (few, gone):
        path = f"/v1/fine_tuning/jobs/{job_id}/report"
        (said[job_id],) = theatre.server.http().get(path).json()["verdict"]["why"]
        assert said[job_id] in theatre.server.http().get(path, params={"format": "html"}).text
    assert said[few].startswith("The job failed: The file has 3 usable examples")
    assert said[gone] == "The job was cancelled."
