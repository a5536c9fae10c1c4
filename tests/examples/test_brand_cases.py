"""Every brand's data is repeatable, new on the held-out side, and right by its own checker."""

import json
from pathlib import Path

import pytest

from examples.brands import BRANDS, Brand, Case, clinic, luxe, neutral, tickets
from examples.generate import generate

NAMES = ["luxe", "tickets", "clinic", "neutral"]
FACTS = {"luxe": luxe.facts, "tickets": tickets.facts, "clinic": clinic.facts, "neutral": neutral.facts}
COPIED = ("name", "item", "order")


@pytest.mark.parametrize("name", list(BRANDS))
def test_the_same_seed_gives_the_same_cases_and_another_seed_others(name: str) -> None:
    brand = BRANDS[name]
    assert brand.cases("train", 40, seed=3) == brand.cases("train", 40, seed=3)
    assert brand.cases("train", 40, seed=3) != brand.cases("train", 40, seed=4)


@pytest.mark.parametrize("name", NAMES)
def test_no_message_occurs_twice_or_on_both_sides(
    name: str, drawn: dict[tuple[str, str], list[Case]]
) -> None:
    training = [case.message for case in drawn[name, "train"]]
    held_out = [case.message for case in drawn[name, "held_out"]]
    assert len(training) == 500
    assert len(set(training) | set(held_out)) == len(training) + len(held_out)


@pytest.mark.parametrize("name", ["luxe", "neutral"])
@pytest.mark.parametrize("fact", COPIED)
def test_held_out_slots_share_no_word_with_training(
    name: str, fact: str, drawn: dict[tuple[str, str], list[Case]]
) -> None:
    words = {
        split: {word for case in drawn[name, split] for word in case.expected[fact].split()}
        for split in ("train", "held_out")
    }
    assert words["train"].isdisjoint(words["held_out"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_every_answer_passes_its_own_checker(
    name: str, split: str, drawn: dict[tuple[str, str], list[Case]]
) -> None:
    wrong = [case for case in drawn[name, split] if not all(FACTS[name](case.answer, case).values())]
    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_messages_and_answers_are_short(name: str, drawn: dict[tuple[str, str], list[Case]]) -> None:
    for case in drawn[name, "train"]:
        assert 4 <= len(case.message.split()) <= 60
        assert 8 <= len(case.answer.split()) <= 60


@pytest.mark.parametrize("brand", BRANDS.values(), ids=list(BRANDS))
def test_the_page_of_instructions_is_a_page(brand: Brand) -> None:
    assert 150 <= len(brand.instructions.split()) <= 320


def test_the_generator_writes_chats_without_a_system_prompt_and_the_same_bytes_again(tmp_path: Path) -> None:
    written = generate(tmp_path / "a", seed=5)
    assert [path.read_bytes() for path in written] == [
        path.read_bytes() for path in generate(tmp_path / "b", 5)
    ]
    lines = (tmp_path / "a" / "luxe.train.jsonl").read_text().splitlines()
    assert len(lines) == 500
    for line in lines:
        assert [message["role"] for message in json.loads(line)["messages"]] == ["user", "assistant"]
