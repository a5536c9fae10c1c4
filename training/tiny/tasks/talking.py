"""Small talk, several turns, and tools."""

import json
from random import Random
from typing import Any

from training.tiny import slots
from training.tiny.conversation import Conversation, chat
from training.tiny.grammar import lines, pairs
from training.tiny.tasks import support

_SMALL_KINDS = 8


def small(random: Random) -> Conversation:
    """A greeting or thanks, with or without a name."""
    kind = random.choice(range(_SMALL_KINDS))
    text = random.choice(lines("asks", f"small_{kind}"))
    answer = random.choice(lines("asks", f"small_answer_{kind}"))
    if random.random() < 0.3:
        who = slots.name(random)
        text, answer = (
            f"{random.choice([f'I am {who}.', f'{who} here.', f'My name is {who}.'])} {text}",
            f"Hello, {who}. {answer}",
        )
    return Conversation(chat(text, answer, system=support.system(random)))


def turns(random: Random) -> Conversation:
    """A support exchange and one to three questions that refer back to it."""
    text, answer, facts = support.exchange(random, complete=1.0)
    said = [text, answer]
    for asked, back in random.sample(pairs("asks", "follow"), random.randint(1, 3)):
        said += [asked.format(**facts), back.format(**facts)]
    return Conversation(chat(*said, system=support.system(random)))


def _tool(random: Random) -> tuple[dict[str, Any], list[str]]:
    verb = random.choice(
        ["get", "find", "look_up", "check", "cancel", "track", slots.pseudo_word(random, 1, 2)]
    )
    nouns = ["order", "parcel", "customer", "refund", "stock", slots.pseudo_word(random, 1, 2)]
    name = f"{verb}_{random.choice(nouns)}"
    keys = random.choice([["order"], ["order"], ["name"], ["item"], ["order", "name"], ["item", "order"]])
    properties = {key: {"type": "string"} for key in keys}
    function: dict[str, Any] = {
        "name": name,
        "parameters": {"type": "object", "properties": properties, "required": keys},
    }
    if random.random() < 0.6:
        function["description"] = f"{name.replace('_', ' ').capitalize()} by {' and '.join(keys)}"
    return {"type": "function", "function": function}, keys


def calling(random: Random) -> Conversation:
    """One or two tools: the call, its result, and an answer from the result; sometimes no call is needed."""
    offered = [_tool(random) for _ in range(random.choice([1, 1, 2]))]
    tools = [tool for tool, _ in offered]
    if random.random() < 0.15:
        return Conversation(small(random).messages, tools)
    tool, keys = offered[0]
    random.shuffle(tools)
    text, _, facts = support.exchange(random, complete=1.0)
    name = tool["function"]["name"]
    if random.random() < 0.5:
        text = (
            f"{random.choice(['Please', 'Can you', 'I want you to'])} {name.replace('_', ' ')} for me. {text}"
        )
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": name, "arguments": {key: facts[key] for key in keys}},
    }
    status, day = (
        random.choice(["shipped", "lost", "packed", "refunded", slots.word(random)]),
        slots.date(random),
    )
    messages = [*chat(text), {"role": "assistant", "content": None, "tool_calls": [call]}]
    if random.random() < 0.7:
        messages.append(
            {"role": "tool", "tool_call_id": "call_1", "content": json.dumps({"status": status, "date": day})}
        )
        messages.append(
            {
                "role": "assistant",
                "content": f"Thank you, {facts['name']}. Order {facts['order']} is {status} ({day}).",
            }
        )
    return Conversation(messages, tools)


def make(random: Random) -> Conversation:
    """One of the three."""
    return random.choices([small, turns, calling], [0.2, 0.4, 0.4])[0](random)
