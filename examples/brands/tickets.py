"""`tickets`: a support message in, one JSON object out, held to a strict schema.

Category and action follow from the trouble, priority from the tone; the summary restates item and number.
"""

import json
import random
from typing import Any

import jsonschema

from examples.brands import messages
from examples.brands.case import Brand, Case, Split

_SUMMARIES = {
    "damage": "damaged: {item}",
    "delivery": "not delivered: {item}",
    "wrong_item": "wrong item: {item}",
    "billing": "billed wrongly: {item}",
    "return": "to be returned: {item}",
}
_ACTIONS = {
    "damage": "send a replacement",
    "delivery": "trace the parcel",
    "wrong_item": "ship the right item",
    "billing": "correct the invoice",
    "return": "send a return label",
}
_TONES = {
    "low": (
        "No hurry at all.",
        "Whenever you have time.",
        "There is no rush with this.",
        "It can wait, I only wanted to tell you.",
    ),
    "normal": (
        "Please help me with this.",
        "Could you look into it?",
        "What can you do?",
        "Please let me know.",
    ),
    "high": (
        "This is the second time I write about it.",
        "I am losing patience.",
        "Nobody has answered me so far.",
        "I have already called you twice.",
    ),
    "urgent": (
        "This is urgent, I need it by tomorrow.",
        "I need an answer today.",
        "Please act right now, the party is tomorrow.",
        "It is an emergency, call me at once.",
    ),
}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "category": {"type": "string", "enum": sorted(_ACTIONS)},
        "priority": {"type": "string", "enum": sorted(_TONES)},
        "summary": {"type": "string", "minLength": 8, "maxLength": 120},
        "suggested_action": {"type": "string", "minLength": 8, "maxLength": 80},
    },
    "required": ["category", "priority", "summary", "suggested_action"],
    "additionalProperties": False,
}
_VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

INSTRUCTIONS = """You sort support tickets. Read the message and answer with one JSON object and nothing
else: no greeting, no explanation, no code fence, all on one line.

The object has exactly these four keys, in this order, and every value is a string:
"category": one of "billing", "damage", "delivery", "return", "wrong_item".
"priority": one of "low", "normal", "high", "urgent".
"summary": what happened in two or three words, a colon, the item, then a comma and the order number.
"suggested_action": what our team should do first, in a few words, in lower case.

How to choose the category. Torn, broken, scratched or stained: damage. Late, lost or stuck on its way:
delivery. Another colour, size, model or product than ordered: wrong_item. A wrong amount, a double charge
or an open payment: billing. The customer wants to give it back: return.

How to choose the priority. The customer says that there is no hurry: low. The customer needs it today or
tomorrow or speaks of an emergency: urgent. The customer has written or called before, or is losing
patience: high. Otherwise: normal.

The actions that we know: send a replacement, trace the parcel, ship the right item, correct the invoice,
send a return label.

Example: {"category": "damage", "priority": "normal", "summary": "damaged: green mug, order 1234",
"suggested_action": "send a replacement"}"""


def draw(source: random.Random, split: Split) -> Case:
    """One ticket and its JSON object."""
    priority = source.choice(sorted(_TONES))
    message = messages.write(source, split, asks=_TONES[priority])
    summary = _SUMMARIES[message.kind].format(**message.facts)
    ticket = {
        "category": message.kind,
        "priority": priority,
        "summary": f"{summary}, order {message.facts['order']}",
        "suggested_action": _ACTIONS[message.kind],
    }
    return Case(message.text, json.dumps(ticket), ticket)


def valid(reply: str) -> bool:
    """Whether the whole reply is one JSON object that the schema accepts."""
    try:
        return _VALIDATOR.is_valid(json.loads(reply))
    except ValueError:
        return False


def facts(reply: str, case: Case) -> dict[str, bool]:
    """Which of the four values are exactly those expected; all False when the reply is not valid."""
    ticket = json.loads(reply) if valid(reply) else {}
    return {key: ticket.get(key) == value for key, value in case.expected.items()}


BRAND = Brand("tickets", "support tickets to JSON", INSTRUCTIONS, draw)
