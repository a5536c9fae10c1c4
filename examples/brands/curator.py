"""`curator`: a house of old things that answers from notes: the adapter knows the form, a passage the fact.

A message carries what a search has found in the notes, or is the bare question. Pieces and numbers of the
held-out side never occur in training, so a right number comes from the passage. Where no note answers, the
right reply says that the house will look it up, and holds no number.
"""

import random
import re
from typing import Literal

from examples.brands import slots
from examples.brands.case import Brand, Case, Split

Kind = Literal["told", "bare", "silent"]
"""A passage that answers; no passage; a passage on the right piece that says other things of it."""
_SHARES: dict[Kind, float] = {"told": 0.6, "bare": 0.2, "silent": 0.2}

OPENING = "Hollis & Finch, at your service."
CLOSING = "The kettle is always on."

# Topic -> what the note, and so the house, says; how customers ask; digits of the number.
_TOPICS: dict[str, tuple[str, tuple[str, ...], int]] = {
    "price": (
        "The {item} costs {number} euros.",
        ("How much is the {item}?", "What does the {item} cost?", "What is the price of the {item}?"),
        4,
    ),
    "weight": (
        "The {item} weighs {number} grams.",
        ("How heavy is the {item}?", "What does the {item} weigh?", "What is the weight of the {item}?"),
        4,
    ),
    "code": (
        "The {item} has the code {number}.",
        (
            "What is the code of the {item}?",
            "Which code does the {item} have?",
            "Please tell me the code of the {item}.",
        ),
        5,
    ),
    "warranty": (
        "The {item} comes with a warranty of {number} days.",
        (
            "How long is the warranty of the {item}?",
            "What warranty does the {item} have?",
            "Does the {item} have a warranty?",
        ),
        3,
    ),
}
_LOOK_UP = "I shall look up the {topic} of the {item} for you."
_PASSAGES: dict[Split, tuple[str, ...]] = {
    "train": (
        "{passage}\n\n{question}",
        "Notes:\n{passage}\n\n{question}",
        "Context: {passage}\n\nQuestion: {question}",
    ),
    "held_out": ("Notes:\n{passage}\n\n{question}", "{passage}\n\n{question}"),
}
_GREETINGS = ("", "", "Hello. ", "Good day. ")

INSTRUCTIONS = f"""You answer for Hollis & Finch, a house of old things. Open every reply with exactly this:
{OPENING} Then one sentence: what the notes in the message say of what was asked, in the notes' own words.
If there are no notes, or they do not say it, promise to look it up, name what and of which piece, and give
no number at all: a price, weight, code or warranty that you do not read in the notes is never yours to
give. Close with exactly this: {CLOSING}"""


def draw(source: random.Random, split: Split) -> Case:
    """One question of one of the three kinds, and the house's reply."""
    kind = source.choices(tuple(_SHARES), tuple(_SHARES.values()))[0]
    item, topic = slots.item(source, split), source.choice(sorted(_TOPICS))
    others = sorted(set(_TOPICS) - {topic})
    noted = source.sample(others, source.choice((2, 3) if kind == "silent" else (1, 2)))
    if kind == "told":
        noted.insert(source.randint(0, len(noted)), topic)
    numbers = {name: slots.number(source, split, _TOPICS[name][2]) for name in noted}
    passage = " ".join(_TOPICS[name][0].format(item=item, number=numbers[name]) for name in noted)
    message = source.choice(_GREETINGS) + source.choice(_TOPICS[topic][1]).format(item=item)
    if kind != "bare":
        message = source.choice(_PASSAGES[split]).format(passage=passage, question=message)
    number = numbers.get(topic, "")
    said = _TOPICS[topic][0] if kind == "told" else _LOOK_UP
    answer = f"{OPENING} {said.format(item=item, number=number, topic=topic)} {CLOSING}"
    return Case(message, answer, {"kind": kind, "item": item, "number": number})


def in_form(reply: str) -> bool:
    """Whether a reply has the house's opening and closing line and one sentence in between."""
    said = reply.strip()
    body = said.removeprefix(OPENING).removesuffix(CLOSING).strip()
    framed = said.startswith(OPENING) and said.endswith(CLOSING)
    return framed and body.endswith(".") and body.count(".") == 1 and 4 <= len(body.split()) <= 20


def facts(reply: str, case: Case) -> dict[str, bool]:
    """Whether the only number is the passage's; where none answers, whether there is no number at all."""
    number = case.expected["number"]
    return {"number": set(re.findall(r"\d+", reply)) == ({number} if number else set())}


BRAND = Brand("curator", "a house that answers from its notes", INSTRUCTIONS, draw)
