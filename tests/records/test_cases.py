"""What becomes a case of an evaluation, and what does not."""

from __future__ import annotations

import json
from typing import Any

from records import cases
from records.cases import MOST_TEXT, Case
from records.dataset import parse_line

ASKED = {"role": "user", "content": "Where is it?"}


def case(*messages: dict[str, Any], **given: Any) -> Case | None:
    return cases.of(parse_line(json.dumps({"messages": list(messages), **given}).encode(), 1), "file-1:1")


def said(text: str, **given: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **given}


def test_the_last_answer_that_is_learnt_is_the_reference_and_what_was_before_it_is_asked() -> None:
    system = {"role": "system", "content": "Be kind."}
    found = case(system, ASKED, said("Here."), ASKED, said("There."), ASKED, said("Away.", weight=0))
    assert found is not None
    assert found.reference == "There."
    assert [message["role"] for message in found.messages] == ["system", "user", "assistant", "user"]
    assert found.instruction == "Be kind."
    assert [message["role"] for message in found.asked(systems=False)] == ["user", "assistant", "user"]
    assert "weight" not in found.messages[2]


def test_calls_of_tools_and_texts_without_end_are_no_cases() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    assert case(ASKED, {"role": "assistant", "tool_calls": [call]}) is None
    assert case(said("Hello.")) is None  # nobody asked
    assert case(ASKED, said("x" * (MOST_TEXT + 1))) is None


def test_the_parts_of_a_content_are_one_text() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    found = case({"role": "user", "content": parts}, {"role": "assistant", "content": parts})
    assert found is not None
    assert found.reference == "one\ntwo" == cases.text(found.messages[0]["content"])


def test_an_instruction_is_shared_only_when_all_have_it() -> None:
    with_one = [case({"role": "system", "content": text}, ASKED, said("x")) for text in ("a", "a", "b")]
    found = [one for one in with_one if one is not None]
    assert cases.shared_instruction(found[:2]) == "a"
    assert cases.shared_instruction(found) is None
    assert cases.shared_instruction([]) is None


def test_the_preferred_answer_of_a_pair_is_the_reference() -> None:
    line = {"prompt": [ASKED], "chosen": [said("Good.")], "rejected": [said("Bad.")]}
    found = cases.of(parse_line(json.dumps(line).encode(), 1), "file-1:2")
    assert found is not None
    assert found.reference == "Good."
