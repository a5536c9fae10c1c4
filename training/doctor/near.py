"""Which texts say the same, but for trifles: spelling, a typing error, a `please`.

Candidates come from MinHash and its index (rensa), the verdict from the words themselves. What a template
puts into its slots (a name, a number, an item) tells two texts apart, whatever they share.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

from rapidfuzz.distance import OSA, Levenshtein
from rensa import RMinHash, RMinHashLSH

from training.doctor.words import boilerplate, words

TRIFLES = frozenset(("please", "pls", "plz", "kindly", "thanks", "thank", "thx", "you"))
NEGATIONS = frozenset(("not", "no", "never", "without", "dont", "doesnt", "cant", "cannot", "wont", "isnt"))
OTHER_WORDS = 0.03  # share of the words that may be others: none in short texts, one or two in long ones
TYPO_LETTERS = 5  # in shorter words one letter makes another word
PERMUTATIONS, BANDS, SEED = 128, 32, 1
MIN_SIMILARITY = 0.5
MAX_CANDIDATES = 32


def clusters(texts: Sequence[str], apart: Sequence[Hashable]) -> list[list[int]]:
    """Indices of texts that say the same, in groups of two or more, each in order. Two texts with another
    value in `apart` are never in one group."""
    said = [tuple(words(text)) for text in texts]
    same = defaultdict[tuple[Hashable, tuple[str, ...]], list[int]](list)
    for index, key in enumerate(zip(apart, said, strict=True)):
        same[key].append(index)
    firsts = [members[0] for members in same.values()]
    leader = {first: first for first in firsts}
    for one, other in _alike([said[first] for first in firsts], [apart[first] for first in firsts]):
        a, b = _find(leader, firsts[one]), _find(leader, firsts[other])
        leader[max(a, b)] = min(a, b)
    grouped = defaultdict[int, list[int]](list)
    for members in same.values():
        grouped[_find(leader, members[0])] += members
    return [sorted(members) for members in grouped.values() if len(members) > 1]


def _alike(said: Sequence[tuple[str, ...]], apart: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    common = boilerplate(said)
    telling = [tuple(word for word in one if word not in common) for one in said]
    hashes = RMinHash.from_token_sets([_shingles(one) for one in telling], PERMUTATIONS, SEED)
    index = RMinHashLSH(MIN_SIMILARITY, PERMUTATIONS, BANDS)
    for one, minhash in enumerate(hashes):
        if not telling[one]:  # nothing but boilerplate: equal texts are found already
            continue
        checked = 0
        for other in index.query(minhash):
            if apart[one] != apart[other] or minhash.jaccard(hashes[other]) < MIN_SIMILARITY:
                continue
            checked += 1
            if say_the_same(said[other], said[one], min(len(telling[one]), len(telling[other]))):
                yield other, one
                break
            if checked == MAX_CANDIDATES:
                break
        index.insert(one, minhash)


def say_the_same(one: Sequence[str], other: Sequence[str], telling: int) -> bool:
    """Whether two texts of words differ in trifles only; `telling` of their words are no boilerplate."""
    budget = int(OTHER_WORDS * telling)
    for change in Levenshtein.opcodes(one, other):
        if change.tag == "equal":
            continue
        gone = [word for word in one[change.src_start : change.src_end] if word not in TRIFLES]
        come = [word for word in other[change.dest_start : change.dest_end] if word not in TRIFLES]
        if any(_decides(word) for word in (*gone, *come)):
            return False
        if len(gone) != len(come) or not all(map(_is_typo, gone, come)):
            budget -= max(len(gone), len(come))
    return budget >= 0


def _decides(word: str) -> bool:
    return word in NEGATIONS or not word.isalpha()


def _is_typo(one: str, other: str) -> bool:
    shortest = min(len(one), len(other))
    return shortest >= TYPO_LETTERS and OSA.distance(one, other, score_cutoff=1) <= 1


def _shingles(said: Sequence[str]) -> list[str]:
    text = " ".join(said)
    return [*said, *(text[k : k + 4] for k in range(len(text) - 3))]


def _find(leader: dict[int, int], one: int) -> int:
    while leader[one] != one:
        leader[one] = leader[leader[one]]
        one = leader[one]
    return one
