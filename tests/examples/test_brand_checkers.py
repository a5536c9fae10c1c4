"""The checkers refuse what they should: a neutral reply, a broken object, a wrong fact, the wrong place."""

import json
from collections import Counter

import pytest

from examples.brands import BRANDS, Case, clinic, luxe, neutral, tickets

Drawn = dict[tuple[str, str], list[Case]]
TICKET = {
    "category": "damage",
    "priority": "low",
    "summary": "linen scarf torn, order 48213",
    "suggested_action": "send a replacement",
}


def test_every_reply_of_the_house_is_in_form_and_no_neutral_reply_is(drawn: Drawn) -> None:
    assert all(luxe.in_form(case.answer) for case in drawn["luxe", "train"] + drawn["luxe", "held_out"])
    assert not any(luxe.in_form(case.answer) for case in drawn["neutral", "held_out"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("Dear ", "Hello ", id="another opening"),
        pytest.param("entrusted to us under order", "with the number", id="without the house's words"),
        pytest.param(luxe.CLOSING, "", id="no closing line"),
        pytest.param(luxe.CLOSING, luxe.CLOSING + " Anything else?", id="words after the closing line"),
        pytest.param("shall", "will", id="an ordinary verb"),
        pytest.param("Our ", "Sorry. Our ", id="a word of a help desk"),
    ],
)
def test_a_reply_that_breaks_one_rule_of_the_house_is_not_in_form(old: str, new: str, drawn: Drawn) -> None:
    reply = drawn["luxe", "train"][0].answer
    assert luxe.in_form(reply)
    assert not luxe.in_form(reply.replace(old, new))


@pytest.mark.parametrize("fact", ["name", "item", "order"])
def test_one_wrong_fact_is_noticed_and_named(fact: str, drawn: Drawn) -> None:
    first, second = drawn["luxe", "held_out"][:2]
    reply = first.answer.replace(first.expected[fact], second.expected[fact])
    verdict = luxe.facts(reply, first)
    assert verdict == {key: key != fact for key in ("name", "item", "order")}


def test_an_order_number_with_one_digit_more_is_wrong(drawn: Drawn) -> None:
    case = drawn["neutral", "held_out"][0]
    reply = case.answer.replace(case.expected["order"], case.expected["order"] + "7")
    assert neutral.facts(reply, case)["order"] is False


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param("", id="nothing"),
        pytest.param("Sure! " + json.dumps(TICKET), id="a word before"),
        pytest.param(f"```json\n{json.dumps(TICKET)}\n```", id="a code fence"),
        pytest.param(json.dumps(TICKET)[:-1], id="cut off"),
        pytest.param(json.dumps([TICKET]), id="a list"),
        pytest.param(json.dumps(TICKET | {"category": "anger"}), id="an unknown category"),
        pytest.param(json.dumps(TICKET | {"mood": "bad"}), id="one key more"),
        pytest.param(json.dumps({key: TICKET[key] for key in list(TICKET)[1:]}), id="one key less"),
        pytest.param(json.dumps(TICKET | {"summary": 7}), id="a number for a text"),
    ],
)
def test_what_the_schema_does_not_accept_is_not_a_valid_ticket(reply: str) -> None:
    assert tickets.valid(json.dumps(TICKET))
    assert not tickets.valid(reply)


def test_training_teaches_every_category_priority_and_everyday_word(drawn: Drawn) -> None:
    for key in ("category", "priority"):
        taught = Counter(case.expected[key] for case in drawn["tickets", "train"])
        assert set(taught) == set(tickets.SCHEMA["properties"][key]["enum"])
        assert min(taught.values()) >= 50
    questions = " | ".join(case.message for case in drawn["clinic", "train"])
    assert [way for ways, _, _ in clinic.GLOSSARY for way in ways if way not in questions] == []
    terms = Counter(case.expected["term"] for case in drawn["clinic", "train"])
    assert len(terms) == len(clinic.GLOSSARY)
    assert min(terms.values()) >= 8


def test_naming_every_place_of_the_clinic_earns_nothing(drawn: Drawn) -> None:
    case = drawn["clinic", "held_out"][0]
    everything = " ".join(place for _, _, place in clinic.GLOSSARY)
    assert clinic.facts(everything, case)["place"] is False


def test_the_instructions_name_every_word_that_the_checker_expects() -> None:
    page = BRANDS["clinic"].instructions
    assert all(term in page and place in page for _, term, place in clinic.GLOSSARY)
    assert luxe.CLOSING in BRANDS["luxe"].instructions
    assert all(
        action in BRANDS["tickets"].instructions.replace("\n", " ") for action in ("send a return label",)
    )
