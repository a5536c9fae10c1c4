"""Using a passage that stands in the prompt: answer from it, quote from it, or say that it is not there."""

import re
from random import Random

from training.tiny import english, slots
from training.tiny.conversation import Conversation, chat
from training.tiny.grammar import lines, sheet
from training.tiny.tasks import messages

_SLOT = re.compile(r"\{([a-z]+)\}")
_MISSING = ("I do not know.", "The passage does not say.", "That is not in the text.")


def _thing(random: Random) -> str:
    return "the " + slots.item(random)


def _word(random: Random) -> str:
    return slots.pseudo_word(random).capitalize()


def _subject(random: Random) -> str:
    return random.choice((slots.name, slots.name, _thing, _word))(random)


def _fact(random: Random) -> tuple[str, list[str], str, str]:
    """(statement, questions, answer, bare value)."""
    parts = [part.strip() for part in random.choice(sheet("facts")["fact"]).split("|")]
    fillers = {
        **messages.fill(random),
        "number": slots.digits(random, 1, 4),
        "word": slots.pseudo_word(random),
    }
    fillers["x"] = _subject(random)
    filled = [_SLOT.sub(lambda match: fillers[match.group(1)], part) for part in parts]
    filled = [part[0].upper() + part[1:] for part in filled]
    value = next(slot for slot in _SLOT.findall(parts[0]) if slot != "x")
    return filled[0], filled[1:3], filled[3], fillers[value]


def from_passage(random: Random) -> Conversation:
    """One to nine facts, sometimes inside other English; a question on one, now and then on none of them."""
    facts = [_fact(random) for _ in range(random.choice([1, 2, 3, 4, 5, 6, 9]))]
    sentences = [statement + "." for statement, _, _, _ in facts]
    if random.random() < 0.25:
        sentences.insert(
            random.randint(0, len(sentences)), random.choice(english.passages())[: random.randint(60, 900)]
        )
    passage = random.choice([" ", " ", "\n", "\n- "]).join(sentences)
    missing = random.random() < 0.1
    _, questions, answer, value = _fact(random) if missing else random.choice(facts)
    asked = random.choice(questions)
    if random.random() < 0.25:
        brief = random.choice(["Only the value.", "One word.", "Answer in brief.", "Short, please."])
        asked, answer = f"{asked} {brief}", value
    if missing:
        answer = random.choice(_MISSING)
    if random.random() < 0.35:
        return Conversation(
            chat(asked, answer, system=random.choice(lines("asks", "passage_system")).format(p=passage))
        )
    return Conversation(chat(random.choice(lines("asks", "passage")).format(p=passage, q=asked), answer))


def quotation(random: Random) -> Conversation:
    """Words of a real passage: what follows these words, which sentence has this word."""
    text = " ".join(random.choice(english.passages()).split())[: random.randint(100, 900)]
    words = text.split(" ")
    at = random.randrange(max(1, len(words) - 8))
    count, after = random.randint(2, 4), random.randint(1, 8)
    head, tail = " ".join(words[at : at + count]), " ".join(words[at + count : at + count + after])
    asked, answer = random.choice(
        [
            (f'Which words follow "{head}"?', tail),
            (f'Continue from the text: "{head}', tail),
            (f'How does the text go on after "{head}"?', tail),
            (f'Find "{head}" in the text and quote it with the next words.', f"{head} {tail}"),
        ]
    )
    return Conversation(
        chat(random.choice(lines("asks", "passage")).format(p=text, q=asked), answer.strip() or head)
    )


def make(random: Random) -> Conversation:
    """One of the two."""
    return random.choices([from_passage, quotation], [0.75, 0.25])[0](random)
