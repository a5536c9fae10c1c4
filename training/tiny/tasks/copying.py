"""Say-after-me tasks: plain repetition, lists, filling a pattern; copying apart from any one voice."""

from random import Random

from training.tiny import slots
from training.tiny.conversation import Conversation, chat
from training.tiny.grammar import lines, pairs
from training.tiny.tasks.messages import fill


def thing(random: Random) -> str:
    """Anything that can stand in a message: a name, number, item, date, price, address, or random words."""
    makers = (
        slots.name, slots.item, slots.number, slots.digits, slots.date, slots.price, slots.email,
        slots.city, slots.phrase, slots.pseudo_word, slots.word, slots.number, slots.name,
    )  # fmt: skip
    return random.choice(makers)(random)


def repeat(random: Random) -> Conversation:
    """Repeat a mixed text of one to five things."""
    parts = [thing(random) for _ in range(random.choice([1, 1, 2, 3, 4, 5]))]
    text = random.choice([", ", " ", " and ", "; ", ". ", " - ", "\n", "/"]).join(parts)
    if random.random() < 0.3:
        text = text[0].upper() + text[1:]
    answer = random.choice(["{}", "{}", "{}", '"{}"']).format(text) if random.random() < 0.1 else text
    return Conversation(chat(random.choice(lines("asks", "repeat")).format(text), answer))


def listing(random: Random) -> Conversation:
    """Turn a run of things into a list."""
    parts = [thing(random) for _ in range(random.randint(2, 6))]
    ask, line = random.choice(pairs("asks", "list"))
    joined = random.choice([", ", "; ", " and "]).join(parts)
    answer = "\n".join(
        line.replace("{n}", str(index)).replace("{}", part) for index, part in enumerate(parts, 1)
    )
    return Conversation(chat(ask.format(joined), answer))


_KEYS = ("name", "item", "order", "date", "price", "city", "email")


def pattern(random: Random) -> Conversation:
    """Fill a pattern such as 'Dear {name}, ...' from given fields."""
    facts = fill(random)
    keys = random.sample(_KEYS, random.randint(1, 4))
    pieces = [slots.phrase(random, 1, 4) for _ in range(len(keys) + 1)]
    left, right = random.choice([("{", "}"), ("[", "]"), ("<", ">"), ("{{", "}}"), ("$", ""), ("[", "]")])
    shape, answer = pieces[0], pieces[0]
    for key, piece in zip(keys, pieces[1:], strict=True):
        join = random.choice([" ", ", ", ": ", " ", " - "])
        end = random.choice([" ", ". ", ", ", "! ", "\n"])
        shape += f"{join}{left}{key}{right}{end}{piece}"
        answer += f"{join}{facts[key]}{end}{piece}"
    order = random.sample(keys, len(keys))
    fields = random.choice([", ", "\n", "; "]).join(
        f"{key}{random.choice([': ', '=', ' is '])}{facts[key]}" for key in order
    )
    ask = random.choice(
        [
            "Fill in the pattern.",
            "Complete this text:",
            "Use this template:",
            "Fill in:",
            "Pattern:",
            "Write it like this:",
        ]
    )
    if random.random() < 0.5:
        return Conversation(chat(fields, answer, system=f"{ask} {shape}"))
    given = f"{ask} {shape}\n{fields}" if random.random() < 0.6 else f"{fields}\n{ask}\n{shape}"
    return Conversation(chat(given, answer))


def make(random: Random) -> Conversation:
    """One of the three."""
    return random.choices([repeat, listing, pattern], [0.5, 0.2, 0.3])[0](random)
