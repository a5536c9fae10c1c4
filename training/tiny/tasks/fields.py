"""Reading facts out of a message: one field by question, several as JSON, short answers, a category."""

import json
from random import Random

from training.tiny import slots
from training.tiny.conversation import Conversation, chat
from training.tiny.grammar import lines
from training.tiny.tasks import messages, support

_ACTS = {
    "damaged": "We will replace it",
    "late": "We will track it",
    "wrong": "We will exchange it",
    "refund": "We will refund it",
    "cancel": "It is cancelled",
    "change": "We will update it",
    "billing": "We will check the payment",
    "question": "We will let you know",
    "praise": "Thank you",
}


def _values(message: messages.Message) -> dict[str, str]:
    return {**message.facts, "topic": message.topic}


def place(
    random: Random, instruction: str, text: str, answer: str, facts: dict[str, str] | None = None
) -> Conversation:
    """The instruction as system message, on a page or alone, or before or after the text."""
    place, taken = random.random(), facts or {}
    if place < 0.06:
        told = random.sample([support.page(random), instruction], 2)
        return Conversation(
            chat(text, answer, system=random.choice(["\n", "\n\n", " "]).join(told)), facts=taken
        )
    if place < 0.55:
        return Conversation(chat(text, answer, system=instruction), facts=taken)
    quoted = random.choice(
        ["{}", '"{}"', "Message: {}", "---\n{}\n---", "Ticket:\n{}", "<message>\n{}\n</message>"]
    ).format(text)
    user = f"{instruction}\n\n{quoted}" if place < 0.78 else f"{quoted}\n\n{instruction}"
    return Conversation(chat(user, answer), facts=taken)


def ask(random: Random, key: str) -> str:
    """A question for one of name, item, order, topic."""
    asked = random.choice(lines("asks", "question")).format(random.choice(lines("asks", f"word_{key}")))
    return asked[0].upper() + asked[1:]


def question(random: Random) -> Conversation:
    """One field by name, bare or in a sentence."""
    message = messages.write(random, messages.some_facts(random, 0.8))
    key = random.choice(["name", "item", "order", "name", "item", "order", "topic"])
    asked = ask(random, key)
    missing = key != "topic" and key not in message.given
    answer = random.choice(["none", "unknown", "It is not given."]) if missing else _values(message)[key]
    return place(random, asked, message.text, answer, message.told)


def as_json(random: Random) -> Conversation:
    """Some of name, item, order and topic as JSON under the prompt's keys; null for what is missing."""
    message = messages.write(random, messages.some_facts(random, 0.8))
    facts = _values(message)
    wanted = random.sample(["name", "item", "order", "topic"], random.choice([1, 2, 3, 3, 3, 4]))
    if random.random() < 0.3:
        wanted = [key for key in ("name", "order", "item") if key in wanted] or wanted
    keys = {key: random.choice(lines("asks", f"key_{key}")) for key in wanted}
    if len(set(keys.values())) < len(keys):
        keys = {key: key for key in wanted}
    joiner = random.choice([", ", ", ", " and ", ", "])
    quote = random.choice(["{}", "{}", '"{}"', "`{}`", "'{}'"])
    asked = random.choice(lines("asks", "json")).format(
        joiner.join(quote.format(keys[key]) for key in wanted)
    )
    known = message.given | {"topic"}
    value = {keys[key]: facts[key] if key in known else None for key in wanted}
    return place(random, asked, message.text, json.dumps(value, ensure_ascii=False), message.told)


def brief(random: Random) -> Conversation:
    """A reply of one short sentence that names the order or the item."""
    message = messages.write(random)
    facts = message.facts
    act = _ACTS[message.topic]
    answer = random.choice(
        [
            f"{act}, {facts['name']}.",
            f"{act}: order {facts['order']}.",
            f"{act} for order {facts['order']}.",
            f"{act}.",
        ]
    )
    return place(random, random.choice(lines("asks", "short")), message.text, answer, message.told)


def record(random: Random) -> Conversation:
    """Key-value lines to JSON, or JSON to a value."""
    makers = {
        "date": slots.date,
        "price": slots.price,
        "email": slots.email,
        "city": slots.city,
        "word": slots.word,
        "code": slots.number,
    }
    keys = random.sample(
        [*makers, *[slots.pseudo_word(random, 1, 2) for _ in range(4)], "status", "colour", "size"],
        random.randint(2, 6),
    )
    value = {key: makers.get(key, lambda r: slots.phrase(r, 1, 2))(random) for key in keys}
    if random.random() < 0.5:
        fields = random.choice(["\n", ", ", "; "]).join(
            f"{key}{random.choice([': ', ' = ', ': '])}{value[key]}" for key in keys
        )
        asked = random.choice(["Write this as JSON.", "JSON:", "Convert to JSON.", "Give me JSON for this."])
        return place(random, asked, fields, json.dumps(value, ensure_ascii=False), value)
    key = random.choice(keys)
    asked = random.choice(["What is {}?", "Value of {}?", "Give me {}.", 'What is the "{}"?', "{}?"]).format(
        key
    )
    return place(
        random,
        asked,
        json.dumps(value, ensure_ascii=False, indent=random.choice([None, None, 1])),
        value[key],
    )


def make(random: Random) -> Conversation:
    """One of the four."""
    return random.choices([question, as_json, brief, record], [0.3, 0.45, 0.12, 0.13])[0](random)
