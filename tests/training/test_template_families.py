"""What is learnt, word for word, under the chat templates of published model families."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from adapters.base import TINY
from records.dataset import InvalidLine, parse_line
from tests.training.families import FAMILIES, tokenizer
from tests.training.test_mask import assistant, learnt, text, user
from training.adapter import load_tokenizer
from training.chat import Renderer
from training.mask import Encoded, encode

SYSTEM = {"role": "system", "content": "Be kind."}
TRACK = {"name": "track", "arguments": '{"order": 12}'}
CALL = {"id": "c12345678", "type": "function", "function": TRACK}
OTHER = CALL | {"id": "d12345678", "function": TRACK | {"arguments": '{"order": 7}'}}
RESULT = {"role": "tool", "content": "Lyon", "tool_call_id": "c12345678"}
TOOLS = [{"type": "function", "function": {"name": "track", "parameters": {"type": "object"}}}]

CASES: dict[str, dict[str, Any]] = {
    "system": {"messages": [SYSTEM, user("Where?"), assistant("On its way.")]},
    "turns": {"messages": [user("1?"), assistant("First."), user("2?"), assistant("Second.")]},
    "turns with system": {"messages": [SYSTEM, user("1?"), assistant("A."), user("2?"), assistant("B.")]},
    "weight 0": {"messages": [user("1?"), assistant("Bad.", weight=0), user("2?"), assistant("Good.")]},
    "tools": {
        "messages": [user("Where?"), assistant(None, tool_calls=[CALL]), RESULT, assistant("In Lyon.")],
        "tools": TOOLS,
    },
    "two calls": {"messages": [user("Where?"), assistant(None, tool_calls=[CALL, OTHER])], "tools": TOOLS},
}
# Each sequence that training makes of a case, as the runs of text that are learnt in it; "cut" is
# "turns" with five tokens too many. A string is what the refusal says.
Learnt = list[list[str]] | str
HIDDEN = "messages.1.tool_calls: the chat template of this base model does not show it"
XML_12 = '<tool_call>\n{"name": "track", "arguments": {"order": 12}}\n</tool_call>'
XML_7 = '<tool_call>\n{"name": "track", "arguments": {"order": 7}}\n</tool_call>'
PHI_12 = '<|tool_call|>{"name": "track", "arguments": {"order": 12}}<|/tool_call|>'
PHI_7 = '<|tool_call|>{"name": "track", "arguments": {"order": 7}}<|/tool_call|>'
MISTRAL_12 = '{"name": "track", "arguments": {"order": 12}, "id": "c12345678"}'
MISTRAL_7 = '{"name": "track", "arguments": {"order": 7}, "id": "d12345678"}'
SILENT = "<think>\n\n</think>\n\n"


def ending(end: str, tools: Learnt = HIDDEN, two_calls: Learnt = HIDDEN) -> dict[str, Learnt]:
    """The families in which a turn is the answer and `end`."""
    return {
        "system": [[f"On its way.{end}"]],
        "turns": [[f"First.{end}", f"Second.{end}"]],
        "turns with system": [[f"A.{end}", f"B.{end}"]],
        "weight 0": [[f"Good.{end}"]],
        "tools": tools,
        "two calls": two_calls,
        "cut": [[f"First.{end}", "Sec"]],
    }


CHATML = ending(
    "<|im_end|>", [[f"{XML_12}<|im_end|>", "In Lyon.<|im_end|>"]], [[f"{XML_12}\n{XML_7}<|im_end|>"]]
)
EXPECTED: dict[str, dict[str, Learnt]] = {
    "tiny": CHATML,
    "chatml": CHATML,
    "chatml_open": ending("<|im_end|>"),
    "llama3": ending(
        "<|eot_id|>",
        [['{"name": "track", "parameters": {"order": 12}}<|eot_id|>', "In Lyon.<|eot_id|>"]],
        "only supports single tool-calls at once",
    ),
    "mistral": {
        "system": [[" On its way.</s>"]],
        "turns": [[" First.</s>", " Second.</s>"]],
        "turns with system": [[" A.</s>"], [" B.</s>"]],  # the system text moves to the last question
        "weight 0": [[" Good.</s>"]],
        "tools": [[f"[TOOL_CALLS] [{MISTRAL_12}]</s>", " In Lyon.</s>"]],
        "two calls": [[f"[TOOL_CALLS] [{MISTRAL_12}, {MISTRAL_7}]</s>"]],
        "cut": [[" First.</s>", " Sec"]],
    },
    "gemma": ending("<end_of_turn>")
    | {"system": "System role not supported", "turns with system": "System role not supported"},
    "gemma3": ending("<end_of_turn>"),
    "phi3": ending("<|end|>"),
    "phi4": ending("<|im_end|>"),
    "phi4_mini": ending("<|end|>", [[f"{PHI_12}<|end|>", "In Lyon.<|end|>"]], [[f"{PHI_12}{PHI_7}<|end|>"]]),
    "qwen3": {  # each answer as the last one, as that alone shows thoughts
        "system": [[f"{SILENT}On its way.<|im_end|>"]],
        "turns": [[f"{SILENT}First.<|im_end|>"], [f"{SILENT}Second.<|im_end|>"]],
        "turns with system": [[f"{SILENT}A.<|im_end|>"], [f"{SILENT}B.<|im_end|>"]],
        "weight 0": [[f"{SILENT}Good.<|im_end|>"]],
        "tools": [[f"{SILENT}{XML_12}<|im_end|>"], [f"{SILENT}In Lyon.<|im_end|>"]],
        "two calls": [[f"{SILENT}{XML_12}\n{XML_7}<|im_end|>"]],
        "cut": [[f"{SILENT}First.<|im_end|>"], [f"{SILENT}Sec"]],
    },
}
# All that the model reads of "turns", to the token that ends the last answer.
WHOLE = {
    "chatml": "<|im_start|>user\n1?<|im_end|>\n<|im_start|>assistant\nFirst.<|im_end|>\n"
    "<|im_start|>user\n2?<|im_end|>\n<|im_start|>assistant\nSecond.<|im_end|>",
    "llama3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: "
    "December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n1?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nFirst.<|eot_id|><|start_header_id|>user<|end_header_id|>"
    "\n\n2?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nSecond.<|eot_id|>",
    "mistral": "<s>[INST] 1?[/INST] First.</s>[INST] 2?[/INST] Second.</s>",
    "gemma": "<bos><start_of_turn>user\n1?<end_of_turn>\n<start_of_turn>model\nFirst.<end_of_turn>\n"
    "<start_of_turn>user\n2?<end_of_turn>\n<start_of_turn>model\nSecond.<end_of_turn>",
    "phi3": "<|user|>\n1?<|end|>\n<|assistant|>\nFirst.<|end|>\n<|user|>\n2?<|end|>\n<|assistant|>\n"
    "Second.<|end|>",
    "phi4": "<|im_start|>user<|im_sep|>1?<|im_end|><|im_start|>assistant<|im_sep|>First.<|im_end|>"
    "<|im_start|>user<|im_sep|>2?<|im_end|><|im_start|>assistant<|im_sep|>Second.<|im_end|>",
    "qwen3": "<|im_start|>user\n1?<|im_end|>\n<|im_start|>assistant\nFirst.<|im_end|>\n"
    f"<|im_start|>user\n2?<|im_end|>\n<|im_start|>assistant\n{SILENT}Second.<|im_end|>",
}
same = {"tiny": "chatml", "chatml_open": "chatml", "gemma3": "gemma"}


def renderer(family: str, merges: int = 120) -> Renderer:
    return Renderer(load_tokenizer(TINY) if family == "tiny" else tokenizer(family, merges))


def encoded(family: str, line: dict[str, Any], limit: int = 2000, merges: int = 120) -> Encoded:
    return encode(parse_line(json.dumps(line).encode(), 7), 7, renderer(family, merges), limit)


def runs(family: str, found: Encoded) -> list[list[str]]:
    return [learnt(renderer(family), sequence) for sequence in found.sequences]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", EXPECTED)
def test_what_is_learnt_is_what_the_family_says_and_how_it_ends(family: str, case: str) -> None:
    expected = EXPECTED[family][case]
    if isinstance(expected, str):
        with pytest.raises(InvalidLine, match=f"^Line 7: .*{re.escape(expected)}"):
            encoded(family, CASES[case])
    else:
        assert runs(family, encoded(family, CASES[case])) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_leaves_the_beginning_of_the_last_answer(family: str) -> None:
    whole = encoded(family, CASES["turns"], merges=0)  # a character is a token
    cut = encoded(family, CASES["turns"], limit=whole.longest - 5, merges=0)
    assert [learnt(renderer(family, 0), sequence) for sequence in cut.sequences] == EXPECTED[family]["cut"]


@pytest.mark.parametrize("family", FAMILIES)
def test_any_cut_keeps_the_beginning_of_what_there_is_without_it(family: str) -> None:
    turns = [message for k in range(4) for message in (user(f"{k}?"), assistant(f"No. {k} \U0001f642."))]
    for merges in (0, 120):
        whole = encoded(family, {"messages": turns}, merges=merges)
        for limit in range(1, whole.longest + 2, 7):
            cut = encoded(family, {"messages": turns}, limit=limit, merges=merges)
            assert [(one.ids, one.learnt, one.full_length) for one in cut.sequences] == [
                (one.ids[:limit], one.learnt[:limit], one.full_length) for one in whole.sequences
            ]


@pytest.mark.parametrize("family", [*WHOLE, *same])
def test_the_model_reads_the_conversation_as_the_family_writes_it(family: str) -> None:
    last = encoded(family, CASES["turns"]).sequences[-1]
    assert text(renderer(family), last) == WHOLE[same.get(family, family)]


ONE, TWO = "<think>\nCount.\n</think>\n\nFirst.<|im_end|>", "<think>\nAgain.\n</think>\n\nSecond.<|im_end|>"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", None])
def test_qwen3_learns_to_think_before_each_answer_and_forgets_earlier_thoughts(name: str | None) -> None:
    def said(thought: str, answer: str) -> dict[str, Any]:
        if name is None:
            return assistant(f"<think>\n{thought}\n</think>\n\n{answer}")
        return assistant(answer, **{name: thought})

    messages = [user("1?"), said("Count.", "First."), user("2?"), said("Again.", "Second.")]
    found = encoded("qwen3", {"messages": messages})
    assert runs("qwen3", found) == [[ONE], [TWO]]
    assert "<|im_start|>assistant\nFirst.<|im_end|>" in text(renderer("qwen3"), found.sequences[1])


def test_qwen3_keeps_its_thoughts_between_a_call_and_the_answer() -> None:
    called = assistant(None, tool_calls=[CALL, OTHER], reasoning_content="Look.")
    messages = [user("Where?"), called, RESULT, RESULT, assistant("In Lyon.", reasoning_content="Told.")]
    found = encoded("qwen3", {"messages": messages, "tools": TOOLS})
    assert runs("qwen3", found) == [
        [
            f"<think>\nLook.\n</think>\n\n{XML_12}\n{XML_7}<|im_end|>",
            "<think>\nTold.\n</think>\n\nIn Lyon.<|im_end|>",
        ]
    ]
    results = "\n<tool_response>\nLyon\n</tool_response>" * 2
    assert f"<|im_start|>user{results}<|im_end|>\n" in text(renderer("qwen3"), found.sequences[0])


@pytest.mark.parametrize("family", [family for family in EXPECTED if family != "qwen3"])
def test_thoughts_that_a_template_does_not_show_are_refused(family: str) -> None:
    with pytest.raises(InvalidLine, match=r"^Line 7: messages\.1\.reasoning_content: the chat template"):
        encoded(family, {"messages": [user("1?"), assistant("First.", reasoning_content="Count.")]})
