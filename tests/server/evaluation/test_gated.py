"""Gates over the whole way: cases that must not regress, thresholds of graders, and how a gate is set."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.conftest import Running, until
from tests.server.evaluation.conftest import Theatre, good, question, ticket, tickets
from tests.server.proofs import BRAND, audits, brand, post
from tests.training.place import chat

JSON_CHECK = {"type": "json_check", "name": "json", "input": "{{sample.output_text}}"}


def lines(count: int, first: int) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in tickets(count, first))


def trained(theatre: Theatre) -> str:
    """A live version's digest."""
    theatre.train()
    until(lambda: brand(theatre.server)["live"] is not None)
    return str(brand(theatre.server)["live"]).rsplit(":", 1)[1]


def test_one_lost_case_that_must_not_regress_holds_a_version_back_and_is_named(theatre: Theatre) -> None:
    digest = trained(theatre)
    file_id = theatre.server.upload(content=lines(12, first=500))
    assert post(theatre.server, action="gate", gate={"must_not_regress": file_id}).status_code == 200
    lost = "order 503 "

    def script(model: str, asked: str) -> str:
        new = model.startswith("ft:") and digest not in model
        return "I am sorry." if new and lost in asked else good(model, asked)

    theatre.engine.script = script
    job = theatre.place.job(theatre.train(seed=6))
    assert brand(theatre.server)["candidate"] == job.fine_tuned_model
    (said,) = [message for message in theatre.place.messages(job.id) if "is not passed" in message]
    assert f"Failed cases (1): {file_id}:4 (" in said
    theatre.engine.script = good
    job = theatre.place.job(theatre.train(seed=7))
    until(lambda: brand(theatre.server)["live"] == job.fine_tuned_model)
    assert "The gate of brand 'luxe' is passed." in theatre.place.messages(job.id)


def test_a_job_that_breaks_json_is_held_back_though_its_own_held_out_rows_are_broken_too(
    theatre: Theatre,
) -> None:
    digest = trained(theatre)
    greeting = json.dumps(chat("Hello ?", "Good day to you.")).encode()  # beside JSON it is judged by itself
    file_id = theatre.server.upload(content=lines(12, first=500) + greeting)
    post(theatre.server, action="gate", gate={"must_not_regress": file_id, "at_least_live": True})
    until(lambda: brand(theatre.server)["gate"] is not None)

    def script(model: str, asked: str) -> str:
        said = "Good day to you." if "Hello" in asked else good(model, asked)
        return said.removesuffix("}") if model.startswith("ft:") and digest not in model else said

    theatre.engine.script = script
    job_id = theatre.train(seed=6, row=lambda k: chat(question(k), ticket(k).removesuffix("}")))
    (said,) = [message for message in theatre.place.messages(job_id) if "is not passed" in message]
    assert "12 of the cases that the live version passes are not passed." in said
    assert f"{file_id}:1 (The sample is not JSON" in said


def test_a_job_with_short_answers_does_not_cut_those_to_the_gates_cases(theatre: Theatre) -> None:
    digest = trained(theatre)
    words = " ".join(["word"] * 80)
    guard = json.dumps(chat("Tell order 7 ?", json.dumps({"words": words}))).encode() + b"\n"
    file_id = theatre.server.upload(content=guard)
    post(theatre.server, action="gate", gate={"must_not_regress": file_id, "graders": [JSON_CHECK]})
    theatre.engine.script = lambda model, asked: json.dumps({"words": words}) if digest in model else "OK"
    job_id = theatre.train(seed=6, row=lambda k: chat(question(k), "OK"))
    (said,) = [message for message in theatre.place.messages(job_id) if "is not passed" in message]
    assert "1 of the cases that the live version passes are not passed." in said


def test_a_live_version_whose_answer_is_cut_has_not_answered(theatre: Theatre) -> None:
    digest = trained(theatre)
    file_id = theatre.server.upload(content=lines(1, first=500))
    post(theatre.server, action="gate", gate={"must_not_regress": file_id})

    def script(model: str, asked: str) -> str:
        return "word " * 200 if digest in model and "order 500 " in asked else good(model, asked)

    theatre.engine.script = script
    job_id = theatre.train(seed=6)
    (said,) = [message for message in theatre.place.messages(job_id) if "is not passed" in message]
    assert f"The live version did not answer all cases of {file_id}." in said
    assert f"{file_id}:1 (the live version: its answer was cut)" in said


def test_a_threshold_of_a_grader_holds_back_what_is_below_it_also_the_first_version(theatre: Theatre) -> None:
    gate = {"graders": [JSON_CHECK], "thresholds": {"json": 0.9}}
    assert post(theatre.server, action="gate", gate=gate).status_code == 200
    theatre.engine.script = lambda model, asked: "No."
    job = theatre.place.job(theatre.train())
    shown = brand(theatre.server)
    assert (shown["live"], shown["candidate"]) == (None, job.fine_tuned_model)
    (said,) = [message for message in theatre.place.messages(job.id) if "is not passed" in message]
    assert "'json' is 0.000 on held-out cases, at least 0.9 is asked for." in said
    assert "json: not JSON" in said


def test_a_file_of_cases_that_is_gone_holds_back(theatre: Theatre) -> None:
    file_id = theatre.server.upload(content=lines(12, first=500))
    assert post(theatre.server, action="gate", gate={"must_not_regress": file_id}).status_code == 200
    theatre.server.client().files.delete(file_id)
    job = theatre.place.job(theatre.train())
    (said,) = [message for message in theatre.place.messages(job.id) if "is not passed" in message]
    assert f"The cases of {file_id} could not be read." in said


def test_a_gate_is_set_shown_audited_and_removed(server: Running) -> None:
    gate = {"graders": [JSON_CHECK], "thresholds": {"json": 0.9}, "at_least_live": True}
    answer = post(server, action="gate", gate=gate)
    assert answer.status_code == 200, answer.text
    assert brand(server)["gate"] == answer.json()["gate"] == {**gate, "must_not_regress": None}
    assert server.http("rival").get(BRAND).status_code == 404
    assert post(server, action="gate", gate=None).json()["gate"] is None
    assert [(one.after or {})["gate"] is None for one in audits(server, "gate")] == [False, True]
    live = server.publish("luxe")
    assert brand(server)["live"] == live


@pytest.mark.parametrize(
    ("gate", "param"),
    [
        ({}, "gate"),
        ({"thresholds": {"other": 0.5}}, "gate.thresholds.other"),
        ({"thresholds": {"score": 2}}, "gate.thresholds.score"),
        ({"thresholds": {"score": 0.5}, "more": 1}, "gate.more"),
        ({"at_least_live": "yes"}, "gate.at_least_live"),
        ({"must_not_regress": "file-none"}, "gate.must_not_regress"),
        ({"graders": [{"type": "python"}], "at_least_live": True}, "gate.graders.0.type"),
        ({"graders": [JSON_CHECK, JSON_CHECK], "at_least_live": True}, "gate.graders"),
        ({"graders": [{**JSON_CHECK, "name": "score"}], "at_least_live": True}, "gate.graders"),
        ({"graders": [JSON_CHECK], "thresholds": {"fields": 0.5}}, "gate.thresholds.fields"),
        ("strict", "gate"),
    ],
    ids=str,
)
def test_a_gate_at_fault_is_refused_by_its_field(shared: Running, gate: Any, param: str) -> None:
    answer = post(shared, action="gate", gate=gate)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert shared.http().get(BRAND).status_code == 404


def test_what_a_gate_needs_is_asked_for(shared: Running) -> None:
    assert post(shared, action="gate").json()["error"]["param"] == "gate"
    assert post(shared, action="gate", gate=None).status_code == 404  # there is no such brand
    for name in ("tiny", "-luxe"):
        answer = shared.http().post(
            f"/v1/brands/{name}", json={"action": "gate", "gate": {"at_least_live": True}}
        )
        assert answer.status_code == 404
    model = {
        "type": "score_model",
        "name": "m",
        "model": "theirs",
        "input": [{"role": "user", "content": "x"}],
    }
    answer = post(shared, action="gate", gate={"graders": [model], "at_least_live": True})
    assert answer.json()["error"]["code"] == "model_not_found"
    many = shared.upload(content=lines(501, first=0))
    answer = post(shared, action="gate", gate={"must_not_regress": many})
    assert answer.json()["error"]["code"] == "too_large"
    assert answer.json()["error"]["message"].endswith("use fewer.")
    theirs = shared.upload("rival")
    assert post(shared, action="gate", gate={"must_not_regress": theirs}).status_code == 400


CALL = {"id": "c", "type": "function", "function": {"name": "find", "arguments": "{}"}}
CALLS = {"role": "assistant", "tool_calls": [CALL]}


@pytest.mark.parametrize(
    "row",
    [chat("Where ?", "x" * 16_000), {"messages": [{"role": "user", "content": "a"}, CALLS]}],
    ids=["long", "calls"],
)
def test_a_case_that_cannot_be_asked_is_refused_and_not_left_out(shared: Running, row: Any) -> None:
    file_id = shared.upload(content=lines(11, first=0) + json.dumps(row).encode())
    error = post(shared, action="gate", gate={"must_not_regress": file_id}).json()["error"]
    assert (error["param"], error["code"]) == ("gate.must_not_regress", "invalid_file_format")
    assert "Line 12: it cannot be asked" in error["message"]


def test_a_value_that_should_be_an_object_is_refused_in_plain_words(shared: Running) -> None:
    error = post(shared, action="gate", gate="strict").json()["error"]
    assert (error["message"], error["code"]) == ("'gate' must be an object.", "invalid_type")
