"""Taking a form from the prompt: a fixed beginning or end, or an invented voice shown by examples.

Each row invents its own form (words, order of the facts, signature), so that the model learns to bind
facts into any form; this is what an adapter relies on later.
"""

import json
from random import Random

from training.tiny import english, slots
from training.tiny.conversation import Conversation, chat
from training.tiny.grammar import pairs
from training.tiny.tasks import support

Form = list[str]
_JSON = 0.45
"""The share of forms that are JSON."""


def _snippet(random: Random) -> str:
    """A few words: random ones, or a piece of real English."""
    if random.random() < 0.5:
        return slots.phrase(random, 1, 6)
    words = random.choice(english.passages()).split()
    start = random.randrange(max(1, len(words) - 6))
    return " ".join(words[start : start + random.randint(2, 7)]).replace("{", "(").replace("}", ")")


def form(random: Random) -> Form:
    """Sentences in which '{name}', '{item}' and '{order}' each stand once."""
    keys = ["{name}", "{item}", "{order}"]
    if random.random() < 0.7:
        random.shuffle(keys)
    if random.random() < 0.25:
        keys = keys[: random.choice([1, 2])]
    sentences: Form = []
    for key in keys:
        before, after = _snippet(random), _snippet(random)
        shape = random.choice(
            [
                "{b} {k} {a}",
                "{b} {k}",
                "{k} {a}",
                "{b}: {k}",
                "{b}, {k}, {a}",
                "{b} ({k}) {a}",
                "{k}, {b}",
                '{b} "{k}"',
            ]
        )
        sentence = shape.replace("{b}", before).replace("{a}", after).replace("{k}", key)
        sentences.append(
            sentence[0].upper()
            + sentence[1:]
            + random.choice([".", ".", "!", "...", " -", ",", ":", ";", "?"])
        )
    if random.random() < 0.5:
        sentences.insert(0, _snippet(random).capitalize() + random.choice(["!", ".", ",", ":", "..."]))
    if random.random() < 0.6:
        sentences.append(_snippet(random) + random.choice([".", "!", "", " ~", " *"]))
    return sentences


def json_form(random: Random) -> Form:
    """One line of JSON with invented keys, whose values hold the facts alone or among other words."""
    keys = ["{name}", "{item}", "{order}"]
    random.shuffle(keys)
    values = [
        random.choice(["{k}", "{k}", "{b} {k}", "{b}: {k}", "{k} {a}", "{b}, {k}"])
        .replace("{b}", _plain(random))
        .replace("{a}", _plain(random))
        .replace("{k}", key)
        for key in keys[: random.choice([1, 2, 2, 3])]
    ]
    if len(values) > 1 and random.random() < 0.4:
        values = [", ".join(values[:2]), *values[2:]]
    for _ in range(random.choice([0, 1, 1, 2])):
        values.insert(random.randint(0, len(values)), _plain(random))
    named = {"_".join(slots.phrase(random, 1, 2).split()): value for value in values}
    return [json.dumps(named, ensure_ascii=False)]


def _plain(random: Random) -> str:
    return slots.phrase(random, 1, 3)


def fill_form(shape: Form, joiner: str, facts: dict[str, str]) -> str:
    """The form with the facts in it."""
    text = joiner.join(shape)
    for key, value in facts.items():
        text = text.replace("{" + key + "}", value)
    return text


def by_example(random: Random) -> Conversation:
    """One to four examples of an invented form, as earlier turns or inside the prompt, then a new message."""
    shape = json_form(random) if random.random() < _JSON else form(random)
    joiner = random.choice([" ", " ", "\n"])
    shown_pairs = []
    for _ in range(random.choice([2, 2, 2, 3, 3, 4, 5])):
        text, _, facts = support.exchange(random, complete=1.0)
        shown_pairs.append((text, fill_form(shape, joiner, facts)))
    *shown, (text, answer) = shown_pairs
    if random.random() < 0.6:
        turns = [turn for pair in shown for turn in pair]
        return Conversation(
            chat(*turns, text, answer, system=support.system(random)), facts=facts, unlearnt=1
        )
    left, right = random.choice(
        [("Customer", "Reply"), ("Message", "Answer"), ("Q", "A"), ("User", "Assistant"), ("Input", "Output")]
    )
    lead = random.choice(
        [
            "Examples:",
            "Answer like this.",
            "Write in the style of these examples.",
            "Here are some examples.",
            "Follow the form.",
        ]
    )
    examples = "\n\n".join(f"{left}: {asked}\n{right}: {said}" for asked, said in shown)
    if random.random() < 0.5:
        return Conversation(chat(text, answer, system=f"{lead}\n{examples}"), facts=facts)
    return Conversation(chat(f"{lead}\n{examples}\n\n{left}: {text}\n{right}:", answer), facts=facts)


def framed(random: Random) -> Conversation:
    """A neutral reply with the beginning or end that the prompt asks for."""
    text, answer, facts = support.exchange(random, complete=0.9)
    ask, place = random.choice(pairs("asks", "frame"))
    piece = _snippet(random).replace('"', "")
    piece = piece[0].upper() + piece[1:] + random.choice(["", "", "!", "."])
    answer = f"{piece} {answer}" if place == "first" else f"{answer} {piece}"
    lead = support.system(random) or ""
    system = " ".join(part for part in random.sample([lead, ask.format(piece)], 2) if part)
    return Conversation(chat(text, answer, system=system), facts=facts)


def told(random: Random) -> Conversation:
    """The form is spelled out in the prompt with its places in brackets."""
    shape, joiner = json_form(random) if random.random() < _JSON else form(random), " "
    text, _, facts = support.exchange(random, complete=1.0)
    ask = random.choice(
        [
            "Answer in this form: {}",
            "Reply exactly like this: {}",
            "Your replies look like this: {}",
            "Use this shape.\n{}",
        ]
    )
    answer = fill_form(shape, joiner, facts)
    return Conversation(chat(text, answer, system=ask.format(joiner.join(shape))), facts=facts)


def make(random: Random) -> Conversation:
    """One of the three."""
    return random.choices([by_example, framed, told], [0.35, 0.3, 0.35])[0](random)
