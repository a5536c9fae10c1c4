"""Which answers contradict each other, and which are only said in other words."""

from __future__ import annotations

import json

import pytest

from tests.training.doctor.conftest import Chat, Examine, chat, codes, lines

REST = [chat(f"Tell me about {k} please", f"Nothing is known of the number {k} here.") for k in range(60)]
ASKED = "May I return the vase?"


def ticket(priority: str, summary: str = "a vase") -> str:
    return json.dumps({"priority": priority, "summary": summary})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("positive", "negative"),
        ("Yes, with pleasure, within two weeks of its arrival.", "No, that is not possible for vases, alas."),
        ("You may return it within 14 days of delivery.", "You may return it within 30 days of delivery."),
        ("Our courier collects it at your door.", "Vases broken in transit belong into household waste."),
    ],
    ids=["labels", "yes and no", "figures", "nothing in common"],
)
def test_one_prompt_with_answers_that_exclude_each_other_is_named(
    doctor: Examine, one: str, other: str
) -> None:
    report = doctor([*REST, chat(ASKED, one), chat(ASKED, other)])
    assert lines(report, "contradiction") == (61, 62)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Positive", "positive."),
        ("yes", "Yes, of course"),
        (
            "With pleasure: our courier collects the vase at your door, at the hour that pleases you.",
            "It is our privilege: the courier collects your vase at your door, at an hour of your choice.",
        ),
    ],
    ids=["spelling", "shorter", "other words"],
)
def test_one_thing_said_in_two_ways_is_no_contradiction(doctor: Examine, one: str, other: str) -> None:
    report = doctor([*REST, chat(ASKED, one), chat(ASKED, other)])
    assert "contradiction" not in codes(report)


def tickets(*last: Chat) -> list[Chat]:
    rows = [chat(f"Ticket {k}: torn", ticket(("high", "low")[k % 2], f"torn, number {k}")) for k in range(60)]
    return [*rows, *last]


def test_labels_in_json_contradict_also_when_the_prompts_differ_in_trifles(doctor: Examine) -> None:
    report = doctor(
        tickets(chat(ASKED, ticket("high")), chat("may I return the vase, please", ticket("low")))
    )
    assert lines(report, "contradiction") == (61, 62)


def test_free_text_in_json_may_vary(doctor: Examine) -> None:
    report = doctor(tickets(chat(ASKED, ticket("high")), chat(ASKED, ticket("high", "return of one vase"))))
    assert "contradiction" not in codes(report)


def test_near_prompts_with_other_prose_are_no_contradiction(doctor: Examine) -> None:
    one, other = "Our courier collects it at your door.", "Vases in boxes are welcome at each branch."
    assert "contradiction" not in codes(doctor([*REST, chat(ASKED, one), chat(f"{ASKED} Thanks", other)]))


def test_another_system_message_may_make_another_answer(doctor: Examine) -> None:
    rows = [chat(ASKED, "positive", "Classify the mood."), chat(ASKED, "return", "Classify the topic.")]
    assert "contradiction" not in codes(doctor([*REST, *rows]))


def test_a_prompt_that_asks_for_variety_gets_a_note(doctor: Examine) -> None:
    slogans = ("Light for every evening.", "Bring warmth into cold rooms.", "Glass, sand, fire and patience.",
               "Nothing shines like home does.", "Made slowly, kept forever by you.")  # fmt: skip
    report = doctor([*REST, *(chat("Write a slogan.", slogan) for slogan in slogans)])
    assert "contradiction" not in codes(report)
    assert "varied_answers" in codes(report, "note")


def test_an_earlier_turn_is_compared_too(doctor: Examine) -> None:
    def talk(first: str) -> Chat:
        return {
            "messages": [
                *chat(ASKED, first)["messages"],
                *chat("Thanks, and why?", f"As {first}")["messages"],
            ]
        }

    assert lines(doctor([*REST, talk("allowed"), talk("forbidden")]), "contradiction") == (61, 62)
