"""What says the same but for trifles, and what does not."""

from __future__ import annotations

import pytest

from training.doctor.near import clusters

ASKED = "How do I return the blue vase that I bought?"
LONG = " ".join(f"word{chr(97 + k % 26)}{chr(97 + k // 26)}" for k in range(120))


@pytest.mark.parametrize(
    "other",
    [
        "how do i  RETURN the blue vase that I bought",
        "How do I return the blue vase that I bought, please?",
        "How do I retrun the blue vase that I bought?",
        "How do I return the blue vase that I bougt?",
    ],
)
def test_spelling_typing_errors_and_a_please_are_trifles(other: str) -> None:
    assert clusters([ASKED, "Something else altogether", other], [0, 0, 0]) == [[0, 2]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ASKED, ASKED.replace("blue", "red")),
        (ASKED, ASKED.replace("return", "not return")),
        (ASKED, f"{ASKED} It is order 17."),
        ("My order 4711 is late.", "My order 4712 is late."),
        ("The dog bites the man", "The man bites the dog"),
        ("What is 3 + 4?", "What is 3 - 4?"),
        ("Is it 3.5 metres?", "Is it 35 metres?"),
        ("Write it in C++", "Write it in C"),
        (LONG, f"{LONG} but never on Sundays"),
    ],
)
def test_a_name_a_number_or_a_no_makes_another_text(one: str, other: str) -> None:
    assert clusters([one, other], [0, 0]) == []


def test_one_word_of_a_long_text_is_a_trifle() -> None:
    assert clusters([LONG, LONG.replace("wordaa", "other")], [0, 0]) == [[0, 1]]


def test_what_must_stay_apart_is_never_in_one_group() -> None:
    assert clusters([ASKED] * 4, ["a", "b", "a", None]) == [[0, 2]]


def test_a_fixed_instruction_does_not_make_its_rows_alike() -> None:
    rows = [f"{LONG} Ticket: the {thing} is {fault}" for thing in ("vase", "lamp", "rug", "chair", "sofa")
            for fault in ("torn", "late", "broken", "wrong", "dirty")]  # fmt: skip
    assert clusters(rows, [0] * len(rows)) == []
