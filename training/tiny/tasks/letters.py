"""Whole messages as single people write them, with the same neutral replies; for the second round."""

from random import Random

from training.tiny import grammar, slots
from training.tiny.conversation import Conversation, chat
from training.tiny.tasks import fields, support

_FACTS = ("name", "item", "order")


def _echo(random: Random) -> str:
    """A name with a part that comes twice."""
    part, end = slots.pseudo_word(random, 1, 1), slots.pseudo_word(random, 1, 2)
    first, last = random.choice(
        [
            (slots.pick(random, "first"), part + end + part),
            (slots.pick(random, "first"), end + part + part),
            (part + end, part + slots.pseudo_word(random, 1, 1)),
            (part + part + end, slots.pick(random, "last")),
            (end + part, end + part + random.choice(["s", "ov", "sen", "a", "i"])),
        ]
    )
    return f"{first[0].upper()}{first[1:]} {last[0].upper()}{last[1:]}"


def letter(random: Random, section: str = "letter") -> tuple[str, str, dict[str, str]]:
    """A message, its reply, and the facts that both hold."""
    topic, wording = random.choice(grammar.pairs("letters", section))
    facts = support.fill(random)
    if section == "letter_last" and random.random() < 0.5:
        facts["name"] = _echo(random)
    support.share_problem(random, "", facts)
    text = grammar.fill(random, wording, facts)
    facts["problem_damaged"] = random.choice(
        ("is not as it should be", "is not in good order", "let you down")
    )
    text, facts = support.with_case(random, text, facts)
    given = frozenset(_FACTS)
    return text, support.reply(random, facts, topic, given, careful=True), {**facts, "topic": topic}


def make(random: Random, section: str = "letter") -> Conversation:
    """A letter with its reply, or with one of its facts asked for."""
    text, answer, facts = letter(random, section)
    if random.random() < 0.75:
        return Conversation(chat(text, answer, system=support.system(random, support.fill(random))))
    if random.random() < 0.5:
        key = random.choice(_FACTS)
        return fields.place(random, fields.ask(random, key), text, facts[key])
    return fields.json_of(random, text, facts, frozenset(_FACTS))


def last(random: Random) -> Conversation:
    """A letter of the last round; half of the names have a part that comes twice, as in Jovanov."""
    return make(random, "letter_last")


def complete_support(random: Random) -> Conversation:
    """A support row that nearly always has all three facts."""
    text, answer, facts = support.exchange(random, complete=0.93, careful=True)
    return Conversation(chat(text, answer, system=support.system(random, support.fill(random))), facts=facts)
