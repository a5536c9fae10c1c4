"""What the base can do with names, items, numbers and wordings that it has never seen.

Greedy replies of the bf16 model, as it is shipped. Called at the end of a build and by the tests.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from random import Random

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from training.tiny import slots
from training.tiny.conversation import Message, chat
from training.tiny.grammar import sheet
from training.tiny.tasks import fields, reading

Check = Callable[[str], bool]


def answers(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[list[Message]],
    longest: int = 96,
) -> list[str]:
    """Greedy answers to conversations that end with the user's turn."""
    found: list[str] = []
    tokenizer = deepcopy(tokenizer)  # padding is state that would be saved with it
    tokenizer.padding_side = "left"
    for start in range(0, len(prompts), 50):
        texts = [
            str(tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True))
            for prompt in prompts[start : start + 50]
        ]
        batch = tokenizer(
            texts, add_special_tokens=False, padding=True, return_tensors="pt", return_token_type_ids=False
        )
        with torch.inference_mode():
            made = model.generate(**batch, max_new_tokens=longest, do_sample=False)
        found += tokenizer.batch_decode(made[:, batch.input_ids.shape[1] :], skip_special_tokens=True)
    return found


def heldout_facts(random: Random, number: str | None = None) -> dict[str, str]:
    """A held-out name and item, and a number of four to six digits unless another is given."""
    shelf = sheet("heldout")
    return {
        "name": random.choice(shelf["name"]),
        "item": random.choice(shelf["item"]),
        "order": number or slots.digits(random, 4, 6),
    }


def heldout_message(random: Random, facts: dict[str, str]) -> str:
    """A held-out wording with these facts."""
    return random.choice(sheet("heldout")["message"]).format(**facts)


def _copies(
    random: Random, count: int, system: str | None, coded: bool
) -> tuple[list[list[Message]], list[dict[str, str]]]:
    facts = [heldout_facts(random, slots.number(random) if coded else None) for _ in range(count)]
    return [chat(heldout_message(random, given), system=system) for given in facts], facts


def _is_json(text: str, wanted: dict[str, str]) -> bool:
    try:
        return bool(json.loads(text) == wanted)
    except ValueError:
        return False


def table(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, count: int = 100, seed: int = 7
) -> dict[str, float]:
    """Shares in 0..1 by what is measured; `count` prompts for each row."""
    random = Random(seed)
    rows: dict[str, float] = {}
    settings = (
        ("", None, False),
        (", with a system prompt", "You are a polite clerk of a shop.", False),
        (", codes", None, True),
    )
    for label, system, coded in settings:
        prompts, facts = _copies(random, count, system, coded)
        said = answers(model, tokenizer, prompts)
        kept = [
            [given[key] in text for key in ("name", "item", "order")]
            for text, given in zip(said, facts, strict=True)
        ]
        if not label:
            rows |= {
                key: sum(row[index] for row in kept) / count
                for index, key in enumerate(("name", "item", "order number"))
            }
        rows[f"all three{label}"] = sum(all(row) for row in kept) / count
    prompts, facts = _copies(random, count, "Answer in JSON with the keys name, order, item.", False)
    said = answers(model, tokenizer, prompts)
    wanted = [{key: given[key] for key in ("name", "order", "item")} for given in facts]
    rows["JSON by system prompt"] = sum(map(_is_json, said, wanted)) / count
    prompts, facts = _copies(random, count, "Answer in one short sentence.", False)
    rows["short by system prompt"] = (
        sum(text.count(".") <= 1 and len(text) < 80 for text in answers(model, tokenizer, prompts)) / count
    )
    prompts, facts = _copies(random, count, None, False)
    asked = [chat(f"{prompt[0]['content']}\n\nWhat is the order number?") for prompt in prompts]
    rows["field by question"] = (
        sum(
            given["order"] in text
            for text, given in zip(answers(model, tokenizer, asked), facts, strict=True)
        )
        / count
    )
    cases = [reading.from_passage(random) for _ in range(count)]
    said = answers(model, tokenizer, [case.messages[:-1] for case in cases])
    rows["passage"] = (
        sum(text == case.messages[-1]["content"] for text, case in zip(said, cases, strict=True)) / count
    )
    cases = [fields.as_json(random) for _ in range(count)]
    said = answers(model, tokenizer, [case.messages[:-1] for case in cases])
    rows["JSON, any keys"] = (
        sum(text == case.messages[-1]["content"] for text, case in zip(said, cases, strict=True)) / count
    )
    return rows
