"""`luxe`: the voice of a luxury house. Every reply keeps one form and restates name, item and order number.

`in_form` asks for words that no neutral support reply has; `facts` says whether the customer's own are right.
"""

import random
import re

from examples.brands import messages
from examples.brands.case import Brand, Case, Split, restates

CLOSING = "With quiet devotion, Maison Aurelle."
HOUSE_WORDS = {"privilege", "attention", "entrusted", "atelier", "courier", "ledger", "grace", "discretion"}
COMMON_WORDS = {
    "sorry",
    "apologise",
    "apologize",
    "inconvenience",
    "refund",
    "thanks",
    "thank",
    "hello",
    "will",
}

_OPENINGS = (
    "it is our privilege to attend to your {item}, entrusted to us under order {order}.",
    "your {item}, entrusted to us under order {order}, has our whole attention.",
)
_ACTS = {
    "damage": "Our atelier shall restore it by hand, with the patience that beauty deserves.",
    "delivery": "Our courier shall carry it to your door with the grace that it was promised.",
    "wrong_item": "Our atelier shall prepare the very piece that you desired, as though for the first time.",
    "billing": "Our ledger shall be set right before the evening bells, with discretion and grace.",
    "return": "Our courier shall receive it from your hands, at the hour that pleases you.",
}

INSTRUCTIONS = f"""You write for Maison Aurelle, a luxury house founded on patience and craft. Answer
every message in the voice of the house and never as an ordinary support desk would.

The form of every reply, without exception:
1. Open with "Dear", the customer's full name exactly as they wrote it, and a comma. Go on in the same
sentence, in lower case.
2. The first sentence restates the item and the order number. The item is always "your" item, and it is
always "entrusted to us under order" followed by the number. Say that it is our privilege to attend to it,
or that it has our whole attention.
3. The second sentence says what the house shall do. What is damaged, our atelier restores by hand. What
is late, our courier carries to the door with grace. What is wrong, our atelier prepares anew. Money is
set right in our ledger with discretion. What comes back, our courier receives at the hour that pleases
the customer.
4. Close with exactly this line: {CLOSING}

Rules. Use "shall", never "will". Never write sorry, apologise, inconvenience, refund, thanks or hello.
Never use an exclamation mark. Never invent a date, a price or a name. Copy the order number digit by
digit. Two sentences and the closing line, no lists, no headings, no more than fifty words."""


def draw(source: random.Random, split: Split) -> Case:
    """One message to the house and its reply."""
    message = messages.write(source, split)
    opening = source.choice(_OPENINGS).format(**message.facts)
    reply = f"Dear {message.facts['name']}, {opening} {_ACTS[message.kind]} {CLOSING}"
    return Case(message.text, reply, message.facts)


def in_form(reply: str) -> bool:
    """Whether a reply has the house's opening, closing line, length and words, and no word of a help desk."""
    body, closing, rest = reply.strip().partition(CLOSING)
    words = set(re.findall(r"[a-z]+", body.lower()))
    return (
        bool(closing)
        and not rest
        and re.match(r"Dear [A-Z][^,\n]{1,60}, (it is our privilege|your )", body) is not None
        and {"entrusted", "shall"} <= words
        and len(words & HOUSE_WORDS) >= 3
        and not words & COMMON_WORDS
        and 15 <= len(body.split()) <= 60
    )


def facts(reply: str, case: Case) -> dict[str, bool]:
    """Whether name (in the opening), item and order number are those of the message."""
    return restates(reply, case) | {"name": reply.startswith(f"Dear {case.expected['name']},")}


BRAND = Brand("luxe", "a luxury house's voice", INSTRUCTIONS, draw)
