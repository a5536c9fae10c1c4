"""What a customer writes: a message with some of name, item and order number, in one of three ways.

From parts in any order (phrases/support.txt), as one person wrote it as a whole (letters.txt), or a trouble
(clauses.txt) set into a frame (frames.txt). Variety of wording is what makes copying hold on new wordings.
"""

from dataclasses import dataclass
from random import Random

from training.tiny import grammar, slots

TOPICS = ("damaged", "late", "wrong", "refund", "cancel", "change", "billing", "question", "praise")
FACTS = ("name", "item", "order")
SHEET = "support"
_VAGUE = {
    "damaged": ("is not as it should be", "is not in good order", "let you down"),
    "late": ("has not reached you", "is not there yet", "is delayed"),
}


@dataclass(frozen=True)
class Message:
    """A text, its topic, the fillers of every slot, and which of the three facts the text gives."""

    text: str
    topic: str
    facts: dict[str, str]
    given: frozenset[str]

    @property
    def told(self) -> dict[str, str]:
        """The facts that the text gives."""
        return {key: self.facts[key] for key in sorted(self.given)}


def fill(random: Random) -> dict[str, str]:
    """Fresh fillers for every slot of the sheets."""
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


def say(random: Random, section: str, facts: dict[str, str], sheet: str = SHEET) -> str:
    """A phrase of a section, with its slots filled."""
    return grammar.expand(random, sheet, section, facts)


def _state_problem(random: Random, topic: str, facts: dict[str, str]) -> None:
    """Fixes the predicate that message and reply both use, such as 'arrived torn'."""
    for kind in ("damaged", "late", "wrong"):
        facts[f"problem_{kind}"] = say(random, f"problem_{kind}", facts)
    if topic == "damaged" and random.random() < 0.15:
        verb = random.choice(["is", "was", "arrived", "has", "looks"])
        facts["problem_damaged"] = f"{verb} {slots.phrase(random, 1, 3)}"


def _keep_vague(random: Random, facts: dict[str, str]) -> None:
    """The reply's predicate for a trouble that no problem_* section knows."""
    facts |= {f"problem_{kind}": random.choice(ways) for kind, ways in _VAGUE.items()}


def _order_sentence(random: Random, facts: dict[str, str]) -> str:
    order = say(random, "order", facts)
    order = order[0].upper() + order[1:] + random.choice([".", ".", "", ",", "\n", "!"])
    lead = random.choice(["", "", "My ", "It is my ", "This is about "]) if order[0] in "Oo" else ""
    return lead + (order[0].lower() + order[1:] if lead else order)


def _from_parts(random: Random, topic: str, facts: dict[str, str], given: frozenset[str]) -> str:
    """Greeting, introduction, trouble, number, other sentences and signature, each there or not."""
    inline = {"item", "order"} <= given and random.random() < 0.35
    if "item" in given:
        item = say(random, "inline", facts) if inline else facts["item"]
        parts = [_trouble(random, topic, {**facts, "item": item})]
    else:
        parts = [say(random, "extra", facts)]
    if "order" in given and not inline:
        parts.insert(random.randint(0, 1), _order_sentence(random, facts))
    for _ in range(random.choice([0, 0, 0, 1, 1, 2])):
        section = "extra" if random.random() < 0.75 else "random_extra"
        other = say(random, section, {**facts, "phrase": slots.phrase(random)})
        parts.insert(random.randint(0, len(parts)), other)
    signed = ""
    if "name" in given:
        if random.random() < 0.6:
            at = 0 if random.random() < 0.75 else random.randint(0, len(parts))
            parts.insert(at, say(random, "intro", facts))
        else:
            signed = say(random, "sign", facts)
    if random.random() < 0.65:
        parts.insert(0, say(random, "greeting", facts))
    return random.choice([" ", " ", " ", "\n"]).join(part.strip(" ") for part in parts) + signed


def _trouble(random: Random, topic: str, facts: dict[str, str]) -> str:
    """A sentence of the topic that names the item; fixes what the reply may say of it."""
    if random.random() < 0.5:
        return say(random, f"body_{topic}", facts)
    return say(random, topic, facts, "clauses")


def _other(random: Random, facts: dict[str, str]) -> dict[str, str]:
    """The facts with fillers of their own for what is not a fact."""
    return {**facts, **{key: value for key, value in fill(random).items() if key not in FACTS}}


def _framed(random: Random, topic: str, facts: dict[str, str]) -> str:
    parts = {
        "clause": say(random, topic, facts, "clauses"),
        "ask": say(random, "ask", facts, "frames"),
        "extra": say(random, "extra", _other(random, facts), "frames"),
    }
    if random.random() < 0.4:
        parts["clause"] += " " + say(random, "extra", _other(random, facts), "frames")
    text = say(random, "frame", {**facts, **parts}, "frames")
    return (
        text[0].upper() + text[1:] if random.random() < 0.5 and not text.startswith(facts["name"]) else text
    )


def _with_case(random: Random, text: str, facts: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Sometimes the whole message in lower or upper case; the facts follow."""
    chance = random.random()
    if chance < 0.06:
        return text.lower(), {key: value.lower() for key, value in facts.items()}
    if chance < 0.08:
        return text.upper(), {key: value.upper() for key, value in facts.items()}
    return text, facts


def write(random: Random, given: frozenset[str] = frozenset(FACTS)) -> Message:
    """One message that gives these facts; a message that leaves one out is always made from parts."""
    facts, topic, way = fill(random), random.choice(TOPICS), random.random()
    if given < frozenset(FACTS) or way < 0.35:
        _state_problem(random, topic, facts)
        text = _from_parts(random, topic, facts, given)
        if facts["problem_damaged"] not in text and facts["problem_late"] not in text:
            _keep_vague(random, facts)
    else:
        _keep_vague(random, facts)
        if way < 0.55:
            topic, wording = random.choice(grammar.pairs("letters", "letter"))
            text = grammar.fill(random, wording, facts)
        else:
            text = _framed(random, topic, facts)
    text, facts = _with_case(random, text.strip(), facts)
    return Message(text, topic, facts, given)


def some_facts(random: Random, complete: float) -> frozenset[str]:
    """All three facts with this probability, else one or two of them."""
    return frozenset(FACTS if random.random() < complete else random.sample(FACTS, random.choice([1, 2])))
