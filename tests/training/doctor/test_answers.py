"""Answers, labels, system messages and languages that are at odds with the others."""

from __future__ import annotations

import json

import pytest

from tests.training.doctor.conftest import Chat, Examine, chat, codes, lines
from training.doctor.answers import refuses

REST = [chat(f"Tell me about {k} please", f"Nothing is known of the number {k} here.") for k in range(60)]


def ticket(k: int, **changed: object) -> Chat:
    label = ("damage", "billing", "delivery")[k % 3]
    return chat(f"Ticket number {k}", json.dumps({"category": label, "summary": f"ticket {k}"} | changed))


TICKETS = [ticket(k) for k in range(60)]


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I cannot assist with this request.",
        "I am sorry, but I am unable to help you.",
        "As an AI language model, I have no opinions.",
        "Sorry, I can't do that.",
        "I cannot provide medical advice.",
    ],
)
def test_a_refusal_is_known_by_its_beginning(answer: str) -> None:
    assert refuses(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "I am sorry to hear that your vase is torn.",
        "I'm sorry for the delay. Your parcel arrives today.",
        "We cannot take back opened bottles, but we offer a voucher.",
        "I can help with that.",
        "As an apology we send you a voucher.",
    ],
)
def test_an_apology_or_a_rule_is_no_refusal(answer: str) -> None:
    assert not refuses(answer)


def test_refusals_and_blank_answers_are_named(doctor: Examine) -> None:
    report = doctor([*REST, chat("Help me", "Sorry, I can't help with that."), chat("And now?", " \n")])
    assert lines(report, "refusal") == (61,)
    assert lines(report, "empty_answer") == (62,)


def test_json_beside_prose_is_named_unless_the_system_message_tells_which(doctor: Examine) -> None:
    assert lines(doctor([*TICKETS, REST[0]]), "mixed_formats") == (61,)
    told = [{"messages": [{"role": "system", "content": "JSON"}, *row["messages"]]} for row in TICKETS]
    spoken = [{"messages": [{"role": "system", "content": "Prose"}, *row["messages"]]} for row in REST]
    assert "mixed_formats" in codes(doctor([*told, *spoken]), "note")


def test_json_that_cannot_be_read_is_named(doctor: Examine) -> None:
    report = doctor([*TICKETS, chat("Ticket number 99", '{"category": "damage", "summary": "ticket')])
    assert lines(report, "broken_json") == (61,)
    assert "mixed_formats" not in codes(report)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"category": "Damage"}, "label_spelling"),
        ({"category": "biling"}, "label_spelling"),
        ({"Summary": "twice"}, "key_spelling"),
        ({"note": "see above"}, "extra_key"),
        ({"summary": 12}, "key_type"),
    ],
)
def test_json_that_differs_from_the_other_rows_is_named(
    doctor: Examine, changed: dict[str, object], code: str
) -> None:
    report = doctor([*TICKETS, ticket(100, **changed)])
    assert codes(report) == {code}
    assert lines(report, code) == (61,)


def test_keys_that_are_data_are_left_in_peace(doctor: Examine) -> None:
    rows = [chat(f"What is in basket {k}?", json.dumps({f"item {k}": 1, f"box {k}": 2})) for k in range(60)]
    assert codes(doctor(rows)) == set()


def test_a_missing_key_is_named(doctor: Examine) -> None:
    report = doctor([*TICKETS, chat("Ticket number 100", '{"category": "damage"}')])
    assert codes(report) == {"missing_key"}


def test_plain_labels_are_held_to_one_spelling_too(doctor: Examine) -> None:
    labels = [chat(f"Ticket number {k}", ("High", "low")[k % 2]) for k in range(60)]
    assert lines(doctor([*labels, chat("Ticket number 99", "high")]), "label_spelling") == (61,)


def test_rows_without_the_system_message_of_the_others_are_named(doctor: Examine) -> None:
    rows = [chat(f"Question {k}", f"Answer {k}", "You are the maison.") for k in range(60)]
    assert lines(doctor([*rows, chat("Question 99", "Answer 99")]), "system_prompt_missing") == (61,)
    assert lines(doctor([*rows, chat("Question 99", "Answer 99", "Be brief.")]), "system_prompts_differ") == (
        61,
    )
    assert codes(doctor(rows)) == set()


def test_a_system_message_of_its_own_in_each_row_is_a_note(doctor: Examine) -> None:
    rows = [chat(f"Question {k}", f"Answer {k}", f"Passage {k}: it rains.") for k in range(60)]
    report = doctor(rows)
    assert codes(report) == set()
    assert "system_prompts_differ" in codes(report, "note")


ENGLISH = "The parcel leaves our workshop on Monday and reaches your door within the same week, as a rule."
GERMAN = (
    "Das Paket verlässt unsere Werkstatt am Montag und erreicht Ihre Tür in der Regel noch in dieser Woche."
)
ASKED = (
    "When does my parcel with the vase finally arrive at my door, if I may ask you that in all friendliness?"
)
GEFRAGT = (
    "Wann kommt mein Paket mit der Vase endlich an meiner Tür an, wenn ich das in aller Freundschaft frage?"
)


def test_answers_in_another_language_than_their_prompts_are_named(doctor: Examine) -> None:
    rows = [chat(f"{ASKED} It is number {k}.", f"{ENGLISH} Number {k}.") for k in range(60)]
    astray = [chat(f"{ASKED} It is number {k}.", f"{GERMAN} Nummer {k}.") for k in range(60, 70)]
    follow = [chat(f"{GEFRAGT} Es ist Nummer {k}.", f"{GERMAN} Nummer {k}.") for k in range(60, 70)]
    assert lines(doctor([*rows, *astray]), "mixed_languages") == tuple(range(61, 71))
    report = doctor([*rows, *follow])
    assert codes(report) == set()
    assert "mixed_languages" in codes(report, "note")
