"""How alike two texts are, from 0 to 1. Each function is linear or nearly so in their length.

BLEU, GLEU and ROUGE-N are counts of shared word n-grams, so they are written here; libraries that have them
take seconds to import (DECISIONS.md, "Graders"). Words are Unicode's, so that any language has some.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

from rapidfuzz import fuzz
from rapidfuzz.distance import LCSseq

MAX_FUZZY = 32 * 1024  # characters: 20 ms
ORDERS = range(1, 5)  # BLEU and GLEU look at 1-grams to 4-grams
_TOKEN = re.compile(r"\w+|[^\w\s]")
_WORD = re.compile(r"\w+")
Grams = Counter[tuple[str, ...]]


def fuzzy_match(text: str, reference: str) -> float:
    """RapidFuzz's `ratio`: one minus the normalized insertions and deletions from one to the other.
    Raises ValueError for long texts: its time is quadratic, and meanwhile nothing else runs."""
    if max(len(text), len(reference)) > MAX_FUZZY:
        raise ValueError(f"fuzzy_match takes texts of at most {MAX_FUZZY} characters; use rouge_l")
    ratio: float = fuzz.ratio(text, reference)
    return ratio / 100


def bleu(text: str, reference: str) -> float:
    """Sentence BLEU to 4-grams (Papineni et al. 2002), with one added to both counts of the orders above 1
    (Lin and Och 2004): a short answer without a common 4-gram is not worth nothing."""
    tokens, expected = _TOKEN.findall(text), _TOKEN.findall(reference)
    if not tokens or not expected:
        return float(tokens == expected)
    total = 0.0
    for order in ORDERS:
        shared, said, _ = _shared(tokens, expected, order)
        smooth = int(order > 1)
        if not shared + smooth:
            return 0.0
        total += math.log((shared + smooth) / (said + smooth))
    return math.exp(min(0.0, 1 - len(expected) / len(tokens)) + total / len(ORDERS))


def gleu(text: str, reference: str) -> float:
    """Google's sentence GLEU (Wu et al. 2016): the lower of precision and recall over 1-grams to 4-grams."""
    tokens, expected = _TOKEN.findall(text), _TOKEN.findall(reference)
    if not tokens or not expected:
        return float(tokens == expected)
    counts = [_shared(tokens, expected, order) for order in ORDERS]
    shared, said, wanted = (sum(one[kind] for one in counts) for kind in range(3))
    return shared / max(said, wanted)


def rouge_n(text: str, reference: str, order: int) -> float:
    """ROUGE-N's F1 (Lin 2004) of words in lower case; texts too short for an n-gram share none."""
    shared, said, wanted = _shared(_words(text), _words(reference), order)
    return 2 * shared / (said + wanted) if said + wanted else 0.0


def rouge_l(text: str, reference: str) -> float:
    """ROUGE-L's F1: the longest common subsequence of words in lower case."""
    said, wanted = _words(text), _words(reference)
    return 2 * LCSseq.similarity(said, wanted) / (len(said) + len(wanted)) if said or wanted else 0.0


METRICS: Mapping[str, Callable[[str, str], float]] = {
    "fuzzy_match": fuzzy_match,
    "bleu": bleu,
    "gleu": gleu,
    **{f"rouge_{order}": partial(rouge_n, order=order) for order in range(1, 6)},
    "rouge_l": rouge_l,
}


def _shared(tokens: list[str], expected: list[str], order: int) -> tuple[int, int, int]:
    """(n-grams in common, those of `tokens`, those of `expected`), each as often as it occurs."""
    said, wanted = _grams(tokens, order), _grams(expected, order)
    return (said & wanted).total(), said.total(), wanted.total()


def _grams(tokens: list[str], order: int) -> Grams:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
