"""System messages and languages: what differs from row to row without a reason that the model can see."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from training.doctor.found import finding, rows, share
from training.doctor.report import Finding, Severity
from training.doctor.row import Row
from training.doctor.words import words

OWN_PER_ROW = 0.2  # with more different system messages than this per row, they carry data (RAG)
ASKED_ROWS = 2000
LETTERS, SURE = 60, 0.99
READ_CHARACTERS = 2000
RARE_LANGUAGE = 0.02
LEAST = 3


def systems(train: Sequence[Row]) -> Iterator[Finding]:
    """Rows without a system message beside rows with one, and several of them."""
    without = [row.line for row in train if row.system is None]
    seen = Counter(row.system for row in train if row.system is not None)
    if seen and without:
        yield finding(
            "system_prompt_missing", Severity.WARNING, without,
            f"{rows(len(without))} of {len(train):,} have no system message and the others have one: write "
            "into each row what will be sent in production.",
        )  # fmt: skip
    if len(seen) < 2:
        return
    usual, count = seen.most_common(1)[0]
    others = [row.line for row in train if row.system not in (usual, None)]
    carries_data = len(seen) > max(2, OWN_PER_ROW * len(train))
    written = len({tuple(words(system)) for system in seen if system is not None})
    if carries_data:
        said = "fine if they carry what belongs to the row, as retrieved passages."
    elif written == 1:
        said = "they differ in spelling only: use one."
    else:
        said = f"the most frequent has {rows(count)}. Use the one that will be sent in production."
    yield finding(
        "system_prompts_differ", Severity.NOTE if carries_data else Severity.WARNING, others,
        f"There are {len(seen):,} different system messages: {said}",
    )  # fmt: skip


def languages(train: Sequence[Row]) -> Iterator[Finding]:
    """Answers in several languages: a note where each follows its prompt, else a warning."""
    long = [row for row in train if _is_enough(row.last.answer)]
    if not long:
        return
    chosen = long[:: max(1, len(long) // ASKED_ROWS)]
    ask = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)  # half a second
    lines, astray = defaultdict[str, list[int]](list), list[int]()
    for row in chosen:
        if (answered := _language(ask, row.last.answer)) is None:
            continue
        lines[answered].append(row.line)
        asked = _language(ask, row.last.prompt)
        if asked is not None and asked != answered:
            astray.append(row.line)
    total = sum(map(len, lines.values()))
    real = {name: of for name, of in lines.items() if len(of) >= max(LEAST, RARE_LANGUAGE * total)}
    if len(real) < 2:
        return
    usual = max(real, key=lambda name: len(real[name]))
    others = sorted(line for name, of in real.items() if name != usual for line in of)
    shown = ", ".join(
        f"{name} {share(len(of), total)}" for name, of in sorted(real.items(), key=lambda i: -len(i[1]))
    )
    mixed = set(astray) & {line for of in real.values() for line in of}
    follows = len(mixed) < max(LEAST, RARE_LANGUAGE * total)
    yield finding(
        "mixed_languages", Severity.NOTE if follows else Severity.WARNING, others,
        f"The answers are in several languages ({shown}); "
        + (
            "each follows its prompt."
            if follows
            else f"in {rows(len(mixed))} another than the prompt's: say in the prompt which one to answer in."
        ),
    )  # fmt: skip


def _language(ask: LanguageIdentifier, text: str) -> str | None:
    """None where the text is too short, or is no text, to be sure."""
    if not _is_enough(text):
        return None
    name, probability = ask.classify(text[:READ_CHARACTERS])
    return str(name) if probability >= SURE else None


def _is_enough(text: str) -> bool:
    """Whether it is prose of some length."""
    return text.lstrip()[:1] not in ("{", "[") and sum(map(str.isalpha, text[:READ_CHARACTERS])) >= LETTERS
