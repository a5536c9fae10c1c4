"""From a job's files to token sequences: read, check, render, truncate, and say what was changed.

Called by inputs.py at the start of each attempt; the same bytes give the same data.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from records.dataset import MIN_EXAMPLES, InvalidLine, Line, Pair, parse
from records.models import DPO, SUPERVISED
from training.chat import Renderer
from training.encode import Trainable, encode
from training.failure import JobFailed

HELD_OUT_SHARE = 0.1
HELD_OUT_MIN, HELD_OUT_MAX = 8, 100
ENOUGH_TO_HOLD_OUT = 40
SHOWN_LINES = 5

T = TypeVar("T")


@dataclass(frozen=True)
class Data:
    """The examples of one file in its order; lengths are in tokens, `dropped` are line numbers."""

    examples: list[Trainable]
    truncated: int = 0
    longest: int = 0
    dropped: list[int] = field(default_factory=list)

    def cuts(self, file_id: str, max_length: int) -> str | None:
        """What to say about examples that were cut or left out, or None when none was."""
        told = []
        if self.truncated:
            told.append(
                f"{self.truncated} examples of {file_id} are longer than {max_length} tokens (longest: "
                f"{self.longest}) and were cut at the end."
            )
        if self.dropped:
            shown = ", ".join(map(str, self.dropped[:SHOWN_LINES]))
            more = ", ..." if len(self.dropped) > SHOWN_LINES else ""
            told.append(
                f"{len(self.dropped)} examples of {file_id} have nothing to learn and are left out "
                f"(lines {shown}{more})."
            )
        return " ".join(told) or None


def load(
    path: Path,
    renderer: Renderer,
    max_length: int,
    *,
    param: str,
    least: int = MIN_EXAMPLES,
    method: str = SUPERVISED,
) -> Data:
    """All examples of a JSONL file, each sequence at most `max_length` tokens; `param` is the job's field
    that named the file. Raises JobFailed."""
    examples: list[Trainable] = []
    dropped: list[int] = []
    truncated = longest = 0
    try:
        with path.open("rb") as lines:
            for number, line in parse(lines):
                _check_method(line, method, param)
                encoded = encode(line, number, renderer, max_length)
                longest = max(longest, encoded.longest)
                truncated += encoded.longest > max_length
                if encoded.teaches:
                    examples.append(encoded)
                else:
                    dropped.append(number)
    except FileNotFoundError:
        raise JobFailed("file_not_found", "The file is gone; upload it again.", param) from None
    except InvalidLine as error:
        raise JobFailed(f"invalid_{param}", f"The file cannot be used. {error}", param) from None
    if len(examples) < least:
        raise JobFailed(
            "too_few_examples",
            f"The file has {len(examples)} usable examples; at least {least} are needed. With a handful "
            "of examples, put them into the prompt instead.",
            param,
        )
    return Data(examples, truncated, longest, dropped)


def _check_method(line: Line, method: str, param: str) -> None:
    """Raises JobFailed: one method learns from pairs, the other from single answers."""
    if isinstance(line, Pair) == (method == DPO):
        return
    if method == DPO:
        what, fits = "examples with one answer each", f"leave 'method' out (it is '{SUPERVISED}' then)"
    else:
        what, fits = "preference pairs", f'send "method": {{"type": "{DPO}"}}'
    raise JobFailed(
        "wrong_method",
        f"The {param.replace('_', ' ')} holds {what}, from which the method '{method}' cannot learn. Create "
        f"the job again and {fits}, or upload a file of the other kind.",
        "method",
    )


def hold_out(examples: Sequence[Trainable], seed: int) -> tuple[list[Trainable], list[Trainable]]:
    """(to train on, held out): about a tenth, between HELD_OUT_MIN and HELD_OUT_MAX; none of a small file.

    Those that ask the same stay together: an answer that was learnt by heart shows nothing. Where most ask
    the same, those that are the same stay together; where most are the same, none is held out.
    """
    count = min(max(round(len(examples) * HELD_OUT_SHARE), HELD_OUT_MIN), HELD_OUT_MAX)
    for alike in (_question, _whole) if len(examples) >= ENOUGH_TO_HOLD_OUT else ():
        chosen = _drawn(examples, alike, count, seed)
        if len(chosen) >= count / 2:
            break
    else:
        chosen = set()
    return (
        [example for index, example in enumerate(examples) if index not in chosen],
        [example for index, example in enumerate(examples) if index in chosen],
    )


def _drawn(
    examples: Sequence[Trainable], alike: Callable[[Trainable], bytes], count: int, seed: int
) -> set[int]:
    """Indices of at most `count` examples; those that are alike are drawn together or not at all."""
    groups = defaultdict[bytes, list[int]](list)
    for index, example in enumerate(examples):
        groups[alike(example)].append(index)
    chosen: set[int] = set()
    for group in random.Random(f"{seed}/held-out").sample([*groups.values()], min(count, len(groups))):
        if len(chosen) + len(group) <= count:
            chosen |= set(group)
    return chosen


def _question(example: Trainable) -> bytes:
    """The tokens before its last answer; all of them where nothing comes before it."""
    last = example.sequences[-1]
    start = last.learnt.rfind(0, 0, last.learnt.rfind(1) + 1) + 1
    return last.ids[: start or len(last.ids)].tobytes()


def _whole(example: Trainable) -> bytes:
    return b"".join(sequence.ids.tobytes() for sequence in example.sequences)


def batches(examples: Sequence[T], size: int, seed: int, epoch: int) -> list[list[T]]:
    """The epoch's batches in random order; a function of seed and epoch, so that a resumed job meets them
    again. The last one may be smaller."""
    order = list(range(len(examples)))
    random.Random(f"{seed}/epoch/{epoch}").shuffle(order)
    return [[examples[i] for i in order[k : k + size]] for k in range(0, len(order), size)]
