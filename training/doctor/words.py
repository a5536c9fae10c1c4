"""Texts as words, so that spelling that means nothing (case, commas, spaces) does not tell two apart.

Signs that mean something stay: `3 - 4` is not `3 + 4`, `C++` is not `C`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

# A number with its separators, a sign of the languages that write without spaces, a word, a minus, a sign.
_WORD = re.compile(
    r"\d+(?:[.,:]\d+)*|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\d]+|(?<!\w)-(?=\s*\d)"
    r"|[^\w\s.,!?;:'\"`´‘’“”…–—()\[\]{}-]"
)
_APOSTROPHE = re.compile(r"(?<=\w)['’](?=\w)")
ENOUGH_TO_SEE_BOILERPLATE = 20
BOILERPLATE_SHARE = 0.5


def words(text: str) -> list[str]:
    """`Don't  WAIT, please!` -> dont wait please."""
    return _WORD.findall(_APOSTROPHE.sub("", unicodedata.normalize("NFKC", text).casefold()))


def digest(*texts: str) -> int:
    """64 bits of the texts as they stand; for memory, not for secrecy."""
    total = hashlib.blake2b(digest_size=8)
    for text in texts:
        raw = text.encode()
        total.update(len(raw).to_bytes(8) + raw)
    return int.from_bytes(total.digest())


def boilerplate(texts: Iterable[Sequence[str]]) -> frozenset[str]:
    """Words that stand in most of the texts, as those of a fixed instruction: they tell no two apart."""
    seen, count = Counter[str](), 0
    for text in texts:
        seen.update(set(text))
        count += 1
    if count < ENOUGH_TO_SEE_BOILERPLATE:
        return frozenset()
    return frozenset(word for word, number in seen.items() if number > BOILERPLATE_SHARE * count)
