"""The main task: a customer's message in any wording, and a neutral reply with its name, item and number."""

from random import Random

from training.tiny import slots
from training.tiny.conversation import Conversation, chat
from training.tiny.grammar import expand

TOPICS = ("damaged", "late", "wrong", "refund", "cancel", "change", "billing", "question", "praise")
SHEET = "support"


def fill(random: Random) -> dict[str, str]:
    """Fresh fillers for every slot of the support sheet."""
    return {
        "name": slots.name(random),
        "item": slots.item(random),
        "order": slots.number(random),
        "date": slots.date(random),
        "price": slots.price(random),
        "city": slots.city(random),
        "email": slots.email(random),
        "phrase": slots.phrase(random),
        "brand": slots.pseudo_word(random, 1, 3).capitalize(),
        "adjective": slots.pick(random, "adjective"),
        "noun": slots.pick(random, "noun"),
    }


def _say(random: Random, section: str, facts: dict[str, str]) -> str:
    return expand(random, SHEET, section, facts)


def share_problem(random: Random, topic: str, facts: dict[str, str]) -> None:
    """Fixes the predicate that message and reply both use, such as 'arrived torn'."""
    for kind in ("damaged", "late", "wrong"):
        facts[f"problem_{kind}"] = expand(random, SHEET, f"problem_{kind}", facts)
    if topic == "damaged" and random.random() < 0.15:
        facts["problem_damaged"] = (
            f"{random.choice(['is', 'was', 'arrived', 'has', 'looks'])} {slots.phrase(random, 1, 3)}"
        )


def message(random: Random, facts: dict[str, str], topic: str, given: frozenset[str]) -> str:
    """What the customer writes; `given` says which of name, item and order it contains."""
    parts: list[str] = []
    if "item" in given:
        inline = "order" in given and random.random() < 0.35
        item = _say(random, "inline", facts) if inline else facts["item"]
        body = _say(random, f"body_{topic}", {**facts, "item": item})
        parts.append(body)
    else:
        inline = False
        parts.append(_say(random, "extra", facts))
    if "order" in given and not inline:
        order = _say(random, "order", facts)
        order = order[0].upper() + order[1:] + random.choice([".", ".", "", ",", "\n", "!"])
        lead = random.choice(["", "", "My ", "It is my ", "This is about "]) if order[0] in "Oo" else ""
        parts.insert(random.randint(0, 1), lead + (order[0].lower() + order[1:] if lead else order))
    for _ in range(random.choice([0, 0, 0, 1, 1, 2])):
        section = "extra" if random.random() < 0.75 else "random_extra"
        parts.insert(
            random.randint(0, len(parts)), _say(random, section, {**facts, "phrase": slots.phrase(random)})
        )
    signed = ""
    if "name" in given:
        if random.random() < 0.6:
            parts.insert(
                0 if random.random() < 0.75 else random.randint(0, len(parts)), _say(random, "intro", facts)
            )
        else:
            signed = _say(random, "sign", facts)
    if random.random() < 0.65:
        parts.insert(0, _say(random, "greeting", facts))
    text = random.choice([" ", " ", " ", "\n"]).join(part.strip(" ") for part in parts) + signed
    return text.strip()


def reply(
    random: Random, facts: dict[str, str], topic: str, given: frozenset[str], careful: bool = False
) -> str:
    """The neutral answer: opener, acknowledgement, act, sometimes a closer.

    A careful one never leaves out a fact, as one wording of 'late' does; the first round was trained without.
    """
    parts = [_say(random, "salutation" if "name" in given else "salutation_plain", facts)]
    if {"item", "order"} <= given:
        known = "ack_late_careful" if careful and topic == "late" else f"ack_{topic}"
        parts += [_say(random, known, facts), _say(random, f"act_{topic}", facts)]
    elif "item" in given:
        parts += [_say(random, "ack_no_order", facts), _say(random, "ask_order", facts)]
    else:
        parts.append(_say(random, "ack_no_item" if "order" in given else "ask_order", facts))
    if random.random() < 0.5:
        parts.append(_say(random, "closing", facts))
    return random.choice([" ", " ", " ", " ", "\n"]).join(parts)


def with_case(random: Random, text: str, facts: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Sometimes the whole message in lower or upper case; the facts follow."""
    chance = random.random()
    if chance < 0.06:
        return text.lower(), {key: value.lower() for key, value in facts.items()}
    if chance < 0.08:
        return text.upper(), {key: value.upper() for key, value in facts.items()}
    return text, facts


def system(random: Random, facts: dict[str, str]) -> str | None:
    """No system message in half of the rows; else a plain one, or a persona that a neutral clerk ignores."""
    chance = random.random()
    if chance < 0.5:
        return None
    return _say(
        random,
        "plain_system" if chance < 0.88 else "persona_system",
        {**facts, "phrase": slots.phrase(random)},
    )


def exchange(random: Random, complete: float = 0.8, careful: bool = False) -> tuple[str, str, dict[str, str]]:
    """A message, its reply, and the facts that it gives; all three facts with probability `complete`."""
    facts, topic = fill(random), random.choice(TOPICS)
    given = frozenset(("name", "item", "order"))
    if random.random() > complete:
        given = frozenset(random.sample(sorted(given), random.choice([1, 2])))
    share_problem(random, topic, facts)
    text, facts = with_case(random, message(random, facts, topic, given), facts)
    return text, reply(random, facts, topic, given, careful), {key: facts[key] for key in sorted(given)}


def make(random: Random) -> Conversation:
    """A row of one exchange."""
    text, answer, facts = exchange(random)
    return Conversation(chat(text, answer, system=system(random, fill(random))), facts=facts)
