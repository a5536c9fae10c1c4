"""What brands and checkers share: a case is a message, the brand's answer, and what must be right.

Nothing here draws at random; `slots.py` does, and every brand module builds its cases from it.
"""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "held_out"]


@dataclass(frozen=True)
class Case:
    """One message, the answer that the brand would give, and the facts that a checker looks for."""

    message: str
    answer: str
    expected: Mapping[str, str]

    def chat(self) -> dict[str, list[dict[str, str]]]:
        """The case as one line of OpenAI's chat training format, without a system prompt."""
        return {
            "messages": [
                {"role": "user", "content": self.message},
                {"role": "assistant", "content": self.answer},
            ]
        }


@dataclass(frozen=True)
class Brand:
    """A brand: its name (the job's suffix), its page of instructions for a base model, and its cases."""

    name: str
    title: str
    instructions: str
    draw: Callable[[random.Random, Split], Case]

    def cases(self, split: Split, count: int, seed: int = 0) -> list[Case]:
        """`count` cases with different messages, the same for the same seed."""
        source = random.Random(f"{seed}/{self.name}/{split}")
        found: dict[str, Case] = {}
        for _ in range(200 * count):
            if len(found) == count:
                return list(found.values())
            case = self.draw(source, split)
            found.setdefault(case.message, case)
        raise ValueError(f"{self.name}: fewer than {count} different {split} messages can be made")


def says(reply: str, words: str) -> bool:
    """Whether the reply holds these words whole, in any case."""
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", reply, re.IGNORECASE) is not None


def restates(reply: str, case: Case) -> dict[str, bool]:
    """Which of name, item and order number the reply gives back; a second order number makes it wrong."""
    return {
        "name": says(reply, case.expected["name"]),
        "item": says(reply, case.expected["item"]),
        "order": set(re.findall(r"\d{3,}", reply)) == {case.expected["order"]},
    }
