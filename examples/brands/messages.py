"""Ordinary support messages about one ordered item: who writes, which order, what went wrong.

Held-out messages have frames and slots that training never shows; the kinds of trouble are the same.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from examples.brands import slots
from examples.brands.case import Split

# What happened, as a clause whose subject is the item. The key is the kind; brands answer by kind.
TROUBLES: dict[str, tuple[str, ...]] = {
    "damage": (
        "arrived torn",
        "arrived with a deep scratch",
        "came out of the box broken",
        "has a crack on one side",
        "was already damaged when I opened the parcel",
        "reached me in a sad state, with a stain on it",
    ),
    "delivery": (
        "has not arrived yet",
        "is still not here after two weeks",
        "seems to be lost on the way",
        "should have come last week, but nothing came",
        "has been stuck with the courier for days",
        "never reached my door",
    ),
    "wrong_item": (
        "is the wrong colour",
        "came in the wrong size",
        "is not the model that I chose",
        "looks nothing like the one I ordered",
        "turned out to be a different product",
        "was swapped with something else",
    ),
    "billing": (
        "was charged twice on my card",
        "cost more than the price on the page",
        "was billed although I cancelled it",
        "appears two times on my invoice",
        "was paid, but the payment still shows as open",
        "has a wrong amount on the bill",
    ),
    "return": (
        "does not suit me and I want to send it back",
        "was a gift that I wish to return",
        "is too big for me, so I would like to return it",
        "is fine, but I changed my mind and want to give it back",
        "is not what I need any more, please take it back",
        "should go back to you, as I have two of them now",
    ),
}

_FRAMES: dict[Split, tuple[str, ...]] = {
    "train": (
        "Hi, I'm {name}. My order {order}, the {item}, {trouble}. {ask}",
        "Hello, my name is {name}. The {item} from order {order} {trouble}. {ask}",
        "Good morning, {name} here. Order {order}: the {item} {trouble}. {ask}",
        "The {item} I bought {trouble}. The order number is {order}. {ask} {name}",
        "Order number {order}. The {item} {trouble}. {ask} Regards, {name}",
        "Hello there, this is {name} writing about order #{order}. The {item} {trouble}. {ask}",
        "My {item} {trouble}. It was part of order {order} and my name is {name}. {ask}",
        "Dear support, the {item} {trouble}. You will find it under number {order}. {ask} Yours, {name}",
        "{name} writing. I ordered one {item}, number {order}, and it {trouble}. {ask}",
        "Hey, quick one: {item}, order {order}, {trouble}. {ask} Thanks, {name}",
        "Good evening. I am {name} and I placed order no. {order}. Sadly the {item} {trouble}. {ask}",
        "To whom it may concern: the {item} that I ordered under {order} {trouble}. {ask} Signed, {name}",
        "Regarding {order}, the {item} {trouble}. {ask} My name is {name}.",
        "I am a customer called {name}. Please look at order {order}, because the {item} {trouble}. {ask}",
    ),
    "held_out": (
        "Hi, {name} here. My order {order}, the {item}, {trouble}. {ask}",
        "Hello, I am {name}. I am writing about the {item} in order {order}. It {trouble}. {ask}",
        "Good afternoon. The {item} from my order {order} {trouble}. {ask} Best wishes, {name}",
        "My name is {name} and my order number is {order}. The {item} {trouble}. {ask}",
        "Order {order} again: the {item} {trouble}. {ask} Kind regards, {name}",
        "Hello team, I'm {name}. The {item} {trouble}. Order: {order}. {ask}",
    ),
}
_ASKS = (
    "What can you do?",
    "Please help me with this.",
    "Could you look into it?",
    "How do we go on from here?",
    "I would be glad of a quick word.",
    "Can you tell me what happens next?",
    "Let me know what you need from me.",
)


@dataclass(frozen=True)
class Message:
    """A support message, the kind of its trouble, and the three facts that a reply has to restate."""

    text: str
    kind: str
    facts: Mapping[str, str]


def write(source: random.Random, split: Split, asks: tuple[str, ...] = _ASKS) -> Message:
    """One message with fresh slots; `asks` are the sentences to choose its last request from."""
    facts = {
        "name": slots.name(source, split),
        "item": slots.item(source, split),
        "order": slots.order(source, split),
    }
    kind = source.choice(sorted(TROUBLES))
    trouble, ask = source.choice(TROUBLES[kind]), source.choice(asks)
    text = source.choice(_FRAMES[split]).format(**facts, trouble=trouble, ask=ask)
    return Message(text, kind, facts)
