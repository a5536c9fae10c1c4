"""The base that ships with the project, and the builder that makes it."""

from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.tiny import build, evaluate, model, package, tokenizer, train
from training.tiny.conversation import chat
from training.tiny.corpus import Corpus, conversation, render
from training.tiny.recipe import Recipe
from training.tiny.tasks import messages, support

SMALL = Recipe(
    processes=1, intermediate=64, layers=2, steps=4, block_rows=60, block_readings=6, batch_tokens=512
)


@cache
def shipped_tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(package.FOLDER)


def test_the_shipped_files_match_their_manifest() -> None:
    manifest = package.check(package.FOLDER)
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= set(
        manifest["sha256"]
    )


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    for path in package.FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "tokenizer.json").open("a") as file:
        file.write(" ")
    with pytest.raises(package.Spoilt, match="tokenizer"):
        package.check(tmp_path)


def test_the_weights_fit_into_twelve_megabytes() -> None:
    assert (package.FOLDER / "model.safetensors").stat().st_size <= package.LARGEST


def test_the_shipped_template_is_the_builders() -> None:
    assert shipped_tokenizer().chat_template == tokenizer.TEMPLATE.read_text(encoding="utf-8")


TURNS: list[dict[str, Any]] = [
    {"role": "developer", "content": "Be brief."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "Where is "}, {"type": "text", "text": "order 48213?"}],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "find", "arguments": {"order": "48213"}}}
        ],
    },
    {"role": "tool", "tool_call_id": "a", "content": '{"status": "lost"}'},
    {"role": "assistant", "content": "\n  It is lost."},
    {"role": "user", "content": "Thanks"},
    {"role": "assistant", "content": "You are welcome.", "tool_calls": []},
]


@pytest.mark.parametrize("index", [2, 4, 6])
@pytest.mark.parametrize(
    "tools", [None, [{"type": "function", "function": {"name": "find", "parameters": {}}}]]
)
def test_a_prompt_is_a_prefix_of_its_answered_conversation_in_text_and_tokens(index: int, tools: Any) -> None:
    made = shipped_tokenizer()
    prompt = made.apply_chat_template(TURNS[:index], tools=tools, tokenize=False, add_generation_prompt=True)
    whole = made.apply_chat_template(TURNS[: index + 1], tools=tools, tokenize=False)
    assert whole.startswith(prompt)
    before, after = (made(text, add_special_tokens=False).input_ids for text in (prompt, whole))
    assert after[: len(before)] == before
    assert after[-2] == made.eos_token_id


def test_a_tool_call_is_rendered_as_the_hermes_parser_reads_it() -> None:
    text = shipped_tokenizer().apply_chat_template(TURNS, tokenize=False)
    assert '<tool_call>\n{"name": "find", "arguments": {"order": "48213"}}\n</tool_call><|im_end|>' in text


def test_the_trainers_rendering_is_the_tokenizers() -> None:
    random = Random(3)
    for _ in range(100):
        made = conversation(random)
        assert render(made) == shipped_tokenizer().apply_chat_template(
            made.messages, tools=made.tools, tokenize=False
        )


@pytest.mark.parametrize(
    "text",
    ["Zoë's №7 — 48213, #A-4471\r\n\t x  ", "日本語 🙂 e\u0301", "a\n\n  b   c\n", "<tool_call>1234567"],
)
def test_any_text_comes_back_from_its_tokens(text: str) -> None:
    made = shipped_tokenizer()
    assert made.decode(made(text, add_special_tokens=False).input_ids) == text


def test_digits_are_cut_in_threes_wherever_they_stand() -> None:
    made = shipped_tokenizer()
    for text in ("48213", " 48213", "#48213", '"48213"', "order 48213.", "A-48213"):
        assert {"482", "13"} <= set(made.tokenize(text))


def test_an_untrained_model_already_continues_a_repeated_run_of_tokens() -> None:
    made = model.build(Recipe(), shipped_tokenizer())
    rows = Corpus(SMALL, shipped_tokenizer()).repeats(8)
    with torch.inference_mode():
        assert float(train.loss_of(made, rows, 0)) < 3  # chance: 8.2; half of the rows are ambiguous


def test_loss_falls_on_assistant_turns_only() -> None:
    made = shipped_tokenizer()
    row, weights = Corpus(SMALL, made).chats(1)[0]
    learnt = made.decode(row[weights > 0])
    assert learnt.endswith("<|im_end|>")
    assert "<|im_start|>" not in learnt


def test_a_message_and_its_reply_hold_the_same_facts() -> None:
    random = Random(5)
    for _ in range(3000):
        message = messages.write(random)
        answer = support.reply(random, message)
        for key in messages.FACTS:
            assert message.facts[key].lower() in message.text.lower(), (key, message)
            assert message.facts[key] in answer, (key, message, answer)


def test_the_builder_gives_the_same_weights_twice(tmp_path: Path) -> None:
    digests = []
    for turn in ("first", "second"):
        made = build.build(SMALL, shipped_tokenizer(), lambda progress, model: None)
        package.write(made, shipped_tokenizer(), SMALL, tmp_path / turn, {})
        digests.append(package.check(tmp_path / turn)["sha256"]["model.safetensors"])
    assert digests[0] == digests[1]


def test_a_resumed_build_gives_the_same_weights(tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    keeping = SMALL.model_copy(update={"checkpoint": state, "checkpoint_steps": 3})
    whole = build.build(keeping, shipped_tokenizer(), lambda progress, model: None)
    resumed = build.build(SMALL, shipped_tokenizer(), lambda progress, model: None, resume=state)
    assert all(
        torch.equal(one, other) for one, other in zip(whole.parameters(), resumed.parameters(), strict=True)
    )


def test_two_processes_train_one_model(tmp_path: Path) -> None:
    seen: list[int] = []
    recipe = SMALL.model_copy(
        update={"processes": 2, "steps": 2, "checkpoint": tmp_path / "state.pt", "checkpoint_steps": 1}
    )
    once = build.build(recipe, shipped_tokenizer(), lambda progress, model: seen.append(progress.step))
    again = build.build(recipe, shipped_tokenizer(), lambda progress, model: None)
    assert seen == [0, 1]
    assert (tmp_path / "state.pt").is_file()
    assert all(
        torch.equal(one, other) for one, other in zip(once.parameters(), again.parameters(), strict=True)
    )


def test_the_shipped_base_copies_held_out_facts() -> None:
    base = AutoModelForCausalLM.from_pretrained(package.FOLDER, dtype=torch.bfloat16)
    random = Random(11)
    facts = [evaluate.heldout_facts(random) for _ in range(40)]
    prompts = [
        chat(f"Hello, I'm {given['name']}. My order {given['order']}, the {given['item']}, arrived torn.")
        for given in facts
    ]
    said = evaluate.answers(base, shipped_tokenizer(), prompts)
    kept = sum(all(fact in text for fact in given.values()) for text, given in zip(said, facts, strict=True))
    assert kept >= 38
