"""The main task: a neutral reply that gives name, item and number of a message back."""

from random import Random

from training.tiny import slots
from training.tiny.conversation import Conversation, chat
from training.tiny.tasks import messages
from training.tiny.tasks.messages import Message, say

_PAGES = 0.06
"""The share of rows with a long system message."""


def reply(random: Random, message: Message) -> str:
    """Opener, acknowledgement, act, sometimes a closer; asks for the number only where it is missing."""
    facts, given, topic = message.facts, message.given, message.topic
    parts = [say(random, "salutation" if "name" in given else "salutation_plain", facts)]
    if {"item", "order"} <= given:
        known = "any" if random.random() < 0.25 else topic
        parts += [say(random, f"ack_{known}", facts), say(random, f"act_{topic}", facts)]
    elif "item" in given:
        parts += [say(random, "ack_no_order", facts), say(random, "ask_order", facts)]
    else:
        parts.append(say(random, "ack_no_item" if "order" in given else "ask_order", facts))
    if random.random() < 0.5:
        parts.append(say(random, "closing", facts))
    return random.choice([" ", " ", " ", " ", "\n"]).join(parts)


def system(random: Random) -> str | None:
    """No system message in half of the rows; else a plain one, or a persona that a neutral clerk ignores."""
    chance = random.random()
    if chance < 0.5:
        return None
    facts = messages.fill(random)
    return say(random, "plain_system" if chance < 0.88 else "persona_system", facts)


def exchange(random: Random, complete: float = 0.9) -> tuple[str, str, dict[str, str]]:
    """A message, its reply, and the facts that it gives; all three facts with probability `complete`."""
    message = messages.write(random, messages.some_facts(random, complete))
    return message.text, reply(random, message), message.told


def page(random: Random) -> str:
    """A page about a house and its rules, of which nothing asks for another form."""
    facts = messages.fill(random)
    parts = [say(random, "plain_system", facts)]
    for number in range(1, random.randint(3, 12)):
        rule = say(random, "rule", {**messages.fill(random), "phrase": slots.phrase(random, 2, 9)})
        parts.append(random.choice(["", "", "- ", f"{number}. "]) + rule)
    return random.choice([" ", "\n", "\n"]).join(parts)


def make(random: Random) -> Conversation:
    """A row of one exchange; now and then under a page of instructions that changes nothing."""
    text, answer, facts = exchange(random)
    told = page(random) if random.random() < _PAGES else system(random)
    return Conversation(chat(text, answer, system=told), facts=facts)
