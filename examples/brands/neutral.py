"""Ordinary messages without a brand: they measure whether the base model copies name, item and order number.

The answers exist only so that a case looks like any other; nobody trains on them.
"""

import random

from examples.brands import messages
from examples.brands.case import Brand, Case, Split, restates

facts = restates


def draw(source: random.Random, split: Split) -> Case:
    """One message and a plain answer that restates its three facts."""
    message = messages.write(source, split)
    answer = "Hello {name}, thank you for writing. I will look into order {order} for the {item}."
    return Case(message.text, answer.format(**message.facts), message.facts)


BRAND = Brand("neutral", "ordinary support messages", "You are a helpful support assistant.", draw)
