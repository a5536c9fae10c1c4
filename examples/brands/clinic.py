"""`clinic`: a clinic's own words. Patients ask in everyday words; answers use the clinic's term and place.

Held-out questions are new wordings about the same thirty things, so they measure what the training taught.
"""

import random

from examples.brands.case import Brand, Case, Split, says

# What a patient says (three ways) -> what the clinic calls it, and which of its places takes care of it.
GLOSSARY: tuple[tuple[tuple[str, str, str], str, str], ...] = (
    (("an appointment", "a booking", "a visit"), "consultation slot", "Harbour Desk"),
    (("a blood test", "blood work", "a blood sample"), "phlebotomy session", "Linden Wing"),
    (("an x-ray", "a bone picture", "a chest x-ray"), "plain radiograph", "Lantern Suite"),
    (("a heart check", "a heart test", "chest flutter"), "cardiac review", "North Pavilion"),
    (("a nurse", "nursing help", "a nurse visit"), "care partner", "Garden Unit"),
    (("a prescription", "my pills", "more medicine"), "medication plan", "Compass Office"),
    (("a bill", "an invoice", "a payment"), "care statement", "Compass Office"),
    (("a referral", "a letter for a specialist", "a specialist"), "pathway letter", "Harbour Desk"),
    (("a vaccine", "a flu shot", "a jab"), "protection dose", "Garden Unit"),
    (("a check-up", "a yearly check", "a general exam"), "baseline review", "North Pavilion"),
    (("physiotherapy", "physio", "back exercises"), "movement hour", "Bridge Studio"),
    (("an eye test", "new glasses", "blurry eyes"), "vision screening", "Lantern Suite"),
    (("a hearing test", "an ear check", "my bad hearing"), "audiology check", "Lantern Suite"),
    (("a mole check", "a skin check", "a rash"), "dermal survey", "Linden Wing"),
    (("diet advice", "weight advice", "a food plan"), "nutrition brief", "Bridge Studio"),
    (("bad sleep", "sleeping trouble", "insomnia"), "rest programme", "Quiet House"),
    (("an operation", "surgery", "a knee operation"), "theatre session", "North Pavilion"),
    (("stitches", "a wound", "a new bandage"), "wound review", "Garden Unit"),
    (("test results", "my results", "lab results"), "findings report", "Linden Wing"),
    (("my records", "medical records", "my old papers"), "care file", "Compass Office"),
    (("a second opinion", "another opinion", "a second doctor"), "peer consult", "Harbour Desk"),
    (("a video call", "a phone visit", "an online visit"), "remote consult", "Harbour Desk"),
    (("an emergency", "sudden pain", "a bad fall"), "rapid access lane", "North Pavilion"),
    (("a pregnancy visit", "a baby scan", "a midwife"), "maternity review", "Garden Unit"),
    (("a doctor for my child", "a sick child", "my son's fever"), "junior consult", "Garden Unit"),
    (("therapy", "counselling", "my low mood"), "listening hour", "Quiet House"),
    (("teeth cleaning", "a dentist", "a toothache"), "oral health visit", "Bridge Studio"),
    (("an insurance form", "my insurance", "a form for my employer"), "cover certificate", "Compass Office"),
    (("an allergy test", "an allergy", "hay fever"), "reaction panel", "Linden Wing"),
    (("stress", "burnout", "constant worry"), "calm programme", "Quiet House"),
)

_QUESTIONS: dict[Split, tuple[str, ...]] = {
    "train": (
        "Where do I go for {thing}?",
        "How do I arrange {thing} at your clinic?",
        "I have a question about {thing}. Who can help?",
        "I am calling because of {thing}. What should I do?",
        "My doctor told me to ask you about {thing}.",
        "Can you help me with {thing}, please?",
        "Is it possible to come in for {thing} this week?",
        "It is about {thing}. Which team is that?",
        "What do you offer for {thing}?",
        "My wife wants to know about {thing}. Where should she go?",
        "I am new here and need help with {thing}.",
        "Whom do I ask about {thing}?",
        "Could somebody explain how {thing} works here?",
        "I would like to talk to someone about {thing} soon.",
    ),
    "held_out": (
        "Who takes care of {thing} here?",
        "I need some advice on {thing}. Where do I start?",
        "My question is about {thing}. Can somebody help me?",
        "Please tell me what to do about {thing}.",
        "My father asks about {thing}. Which team should he call?",
        "Do you have anything for {thing} at the clinic this month?",
    ),
}
_GREETINGS = ("", "", "Hello. ", "Good day. ", "Excuse me. ")
_ANSWERS = (
    "At Clinica Alba this is {article} {term}. The {place} takes care of it. Please bring your patient card."
)

INSTRUCTIONS = """You answer patients of Clinica Alba. The clinic has its own words and its own places.
Never use the patient's everyday word alone: name the clinic's term for it and the place that takes care
of it. Two or three short sentences, friendly and calm. Always end with: Please bring your patient card.
Give no medical advice.

The clinic's terms and places:
""" + "\n".join(f"{ways[0]}: {term}, {place}" for ways, term, place in GLOSSARY)


def draw(source: random.Random, split: Split) -> Case:
    """One question in a patient's words and the answer in the clinic's."""
    ways, term, place = source.choice(GLOSSARY)
    question = source.choice(_QUESTIONS[split]).format(thing=source.choice(ways))
    article = "an" if term[0] in "aeiou" else "a"
    answer = _ANSWERS.format(article=article, term=term, place=place)
    return Case(source.choice(_GREETINGS) + question, answer, {"term": term, "place": place})


def facts(reply: str, case: Case) -> dict[str, bool]:
    """Whether the clinic's term and place for what the patient meant are in the reply, and no other place."""
    others = {place for _, _, place in GLOSSARY} - {case.expected["place"]}
    return {
        "term": says(reply, case.expected["term"]),
        "place": says(reply, case.expected["place"]) and not any(says(reply, other) for other in others),
    }


BRAND = Brand("clinic", "a clinic's terminology", INSTRUCTIONS, draw)
