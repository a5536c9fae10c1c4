"""What varies in a conversation: names, items, numbers, dates, prices, mostly invented.

Variety here is what makes copying survive an adapter: three in four fillers are pseudo-words, random words or
random digits, so that nothing can be learnt by heart. Called by the tasks with their random.Random.
"""

from functools import cache
from pathlib import Path
from random import Random

from training.tiny import english

_SIMPLE = "bcdfghjklmnprstvwzbdklmnprst"
_VOWELS = [
    *"aeiou" * 6,
    "ai",
    "ea",
    "ee",
    "ie",
    "io",
    "oo",
    "ou",
    "ei",
    "au",
    "y",
    "ia",
    "ue",
    *"aeiou" * 3,
    *"üéöáí",
]


@cache
def lists() -> dict[str, tuple[str, ...]]:
    """The word lists of phrases/lists.txt by section name."""
    text = (Path(__file__).parent / "phrases" / "lists.txt").read_text(encoding="utf-8")
    sections = text.split("\n[")[1:]
    return {
        head: tuple(word.strip() for word in body.replace("\n", ",").split(",") if word.strip())
        for head, body in (section.split("]", 1) for section in sections)
    }


def pick(random: Random, section: str) -> str:
    """A random entry of one list."""
    return random.choice(lists()[section])


def pseudo_word(random: Random, shortest: int = 1, longest: int = 4) -> str:
    """One to four invented syllables, lower case."""
    syllables = min(random.randint(shortest, longest), random.randint(shortest, longest + 1))
    made = ""
    for _ in range(syllables):
        onset = random.choice(_SIMPLE if random.random() < 0.8 else lists()["cluster"])
        made += (onset if random.random() < 0.92 or made else "") + random.choice(_VOWELS)
        made += random.choice(("", "", "", "", "", *lists()["coda"])) if random.random() < 0.6 else ""
    return made[:14]


def word(random: Random) -> str:
    """A word of the standard library's English; frequent and rare ones alike."""
    return random.choice(english.words())


def _first(random: Random) -> str:
    return pick(random, "first") if random.random() < 0.3 else pseudo_word(random, 1, 3).capitalize()


def _last(random: Random) -> str:
    chance = random.random()
    if chance < 0.3:
        return pick(random, "last")
    surname = pseudo_word(random, 1, 4).capitalize()
    if chance < 0.34:
        return random.choice(["O'", "Mc", "de ", "van ", "El-", "Mac", "di ", "von "]) + surname
    return f"{surname}-{pick(random, 'last')}" if chance < 0.37 else surname


def _echo(random: Random) -> str:
    """A name with a part that comes twice, as in Jovan Jovanov: no one token tells what comes next."""
    part, end = pseudo_word(random, 1, 1), pseudo_word(random, 1, 2)
    tail = random.choice(["s", "ov", "sen", "a", "i", "ovic", "ski"])
    first, last = random.choice(
        [
            (pick(random, "first"), part + end + part),
            (pick(random, "first"), end + part + part),
            (part + end, part + pseudo_word(random, 1, 1)),
            (part + part + end, pick(random, "last")),
            (end + part, end + part + tail),
            (pick(random, "first"), part + "an" + tail),
        ]
    )
    return f"{first[0].upper()}{first[1:]} {last[0].upper()}{last[1:]}"


def name(random: Random) -> str:
    """A person: first name, full name, title and surname, sometimes in another case."""
    chance = random.random()
    if chance < 0.1:
        return _echo(random)
    if chance < 0.3:
        made = _first(random)
    elif chance < 0.88:
        made = f"{_first(random)} {_last(random)}"
    elif chance < 0.95:
        made = f"{pick(random, 'title')} {_last(random)}"
    else:
        made = f"{_first(random)} {random.choice('ABCDEFGHJKLMNPRSTW')}. {_last(random)}"
    case = random.random()
    return made.lower() if case < 0.05 else made.upper() if case < 0.07 else made


def _noun(random: Random) -> str:
    chance = random.random()
    return (
        pick(random, "noun") if chance < 0.4 else word(random) if chance < 0.65 else pseudo_word(random, 1, 4)
    )


def _adjective(random: Random) -> str:
    chance = random.random()
    return (
        pick(random, "adjective")
        if chance < 0.5
        else word(random)
        if chance < 0.75
        else pseudo_word(random, 1, 3)
    )


def item(random: Random) -> str:
    """A thing that one can order, one to four words, without an article."""
    chance = random.random()
    if chance < 0.1:
        return _noun(random)
    if chance < 0.72:
        return f"{_adjective(random)} {_noun(random)}"
    if chance < 0.8:
        return f"{_adjective(random)} {_adjective(random)} {_noun(random)}"
    if chance < 0.86:
        return f"{_noun(random)} {pick(random, 'suffix')}"
    if chance < 0.9:
        pack = random.choice(["set of", "pair of", "pack of", "box of"])
        return f"{pack} {random.randint(2, 12)} {_noun(random)}"
    brand = pseudo_word(random, 1, 3).capitalize()
    return f"{brand} {_noun(random)}" if chance < 0.95 else f"{brand} {_code(random)}"


def digits(random: Random, shortest: int = 2, longest: int = 6) -> str:
    """Two to six digits, the first not zero; one long number in twelve repeats a part of itself."""
    length = random.randint(shortest, longest)
    if length > 3 and random.random() < 0.08:
        part = str(random.randint(1, 9)) + "".join(random.choices("0123456789", k=random.randint(0, 2)))
        return (str(random.randint(1, 9)) * random.randint(0, 2) + part * length)[:length]
    return str(random.randint(10 ** (length - 1), 10**length - 1))


def _code(random: Random) -> str:
    letters = "".join(random.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(random.randint(1, 3)))
    return f"{letters}{random.choice(['-', '-', '', ' ', '/', '_'])}{digits(random, 1, 5)}"


def number(random: Random) -> str:
    """An order number: usually digits, else '#88213', 'A-4471', 'REF-20931', '2024-00123'."""
    chance = random.random()
    if chance < 0.6:
        return digits(random, 3, 6) if chance < 0.45 else digits(random, 2, 8)
    if chance < 0.72:
        return "#" + digits(random, 3, 7)
    if chance < 0.87:
        return _code(random)
    if chance < 0.93:
        prefix = random.choice(["REF", "ORD", "INV", "ORDER", "TKT", "NO", "PO", "SO", "ref", "id"])
        return f"{prefix}{random.choice(['-', '', ':', '#', ' '])}{digits(random, 3, 6)}"
    if chance < 0.97:
        return f"{digits(random, 2, 4)}-{digits(random, 2, 5)}"
    return f"{_code(random)}{random.choice(['', '-'])}{random.choice('ABCDEFGHXYZ')}{digits(random, 1, 2)}"


def date(random: Random) -> str:
    """A date, a weekday or a time."""
    month, day = pick(random, "month"), random.randint(1, 28)
    forms = [
        f"{day} {month}", f"{month} {day}", f"{month} {day}, {random.randint(1990, 2039)}",
        pick(random, "day"),
        f"{random.randint(1990, 2039)}-{random.randint(1, 12):02}-{day:02}",
        f"{day}/{random.randint(1, 12)}",
        f"{random.randint(0, 23)}:{random.randint(0, 59):02}",
        f"{day:02}.{random.randint(1, 12):02}.{random.randint(1990, 2039)}",
        f"{random.randint(1, 12)} {random.choice(['am', 'pm'])}", f"{pick(random, 'day')}, {month} {day}",
    ]  # fmt: skip
    return random.choice(forms)


def price(random: Random) -> str:
    """An amount of money."""
    amount = (
        f"{random.randint(1, 999)}.{random.randint(0, 99):02}"
        if random.random() < 0.6
        else digits(random, 1, 4)
    )
    return random.choice(
        ["${}", "€{}", "£{}", "{} euros", "{} dollars", "{} EUR", "USD {}", "{} pounds"]
    ).format(amount)


def email(random: Random) -> str:
    """An address at an invented domain."""
    user = random.choice([pseudo_word(random, 1, 3), pick(random, "first").lower(), word(random)])
    join = random.choice([".", "", "_", "-"])
    tail = random.choice(["example.com", "example.org", "mail.example", pseudo_word(random, 1, 3) + ".test"])
    return f"{user}{join}{random.choice([pseudo_word(random, 1, 2), digits(random, 2, 3)])}@{tail}"


def city(random: Random) -> str:
    """A town, half of them invented."""
    return pick(random, "city") if random.random() < 0.5 else pseudo_word(random, 2, 4).capitalize()


def phrase(random: Random, shortest: int = 2, longest: int = 6) -> str:
    """A few random words, real and invented."""
    count = random.randint(shortest, longest)
    return " ".join(pseudo_word(random) if random.random() < 0.25 else word(random) for _ in range(count))
