"""Adapter for behaviour, retrieval for facts: `python -m examples.retrieval` with a running server.

Teaches the brand `curator` from messages that carry passages, and from some without, then asks about pieces
and numbers that no training row had. OPENAI_BASE_URL, OPENAI_API_KEY, BASE_MODEL as in examples/python. The
last line is JSON: the shares in the house's form, of right numbers where the passage says it, and of replies
that give a number where there is no passage, or where it says other things.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path

from openai import AsyncOpenAI, OpenAI

from examples.brands import Case, curator
from examples.demo.ask import Arm, ask_all
from examples.demo.shares import share
from examples.generate import DEFAULT_OUT, write_chats
from examples.python.loop import follow, upload

TRAINING_EXAMPLES, HELD_OUT = 1000, 400
SHOWN = 2  # replies of each kind


def figures(cases: Sequence[Case], replies: Sequence[str]) -> dict[str, float]:
    """The shares of the module's docstring, from 0 to 1."""
    right: dict[str, list[bool]] = {"told": [], "bare": [], "silent": []}
    for case, reply in zip(cases, replies, strict=True):
        right[case.expected["kind"]].append(curator.facts(reply, case)["number"])
    return {
        "in_form": share([curator.in_form(reply) for reply in replies]).value,
        "facts_from_the_passage": share(right["told"]).value,
        "invented_without_a_passage": share([not is_right for is_right in right["bare"]]).value,
        "invented_beside_a_passage": share([not is_right for is_right in right["silent"]]).value,
    }


def learn(client: OpenAI, folder: Path) -> str:
    """The model's name once the brand is learnt."""
    path = write_chats(folder / "curator.train.jsonl", curator.BRAND.cases("train", TRAINING_EXAMPLES))
    base = os.environ.get("BASE_MODEL", "tiny")
    job = client.fine_tuning.jobs.create(
        model=base, training_file=upload(client, path), suffix=curator.BRAND.name, seed=0
    )
    print(f"created {job.id} for brand {curator.BRAND.name}")
    return follow(client, job.id)


def main() -> None:
    """Learns, asks, shows."""
    model = learn(OpenAI(), DEFAULT_OUT)
    cases = curator.BRAND.cases("held_out", HELD_OUT)
    replies = asyncio.run(ask_all(AsyncOpenAI(), Arm(model), cases, lambda: None))
    for kind in ("told", "bare", "silent"):
        of_kind = [pair for pair in zip(cases, replies, strict=True) if pair[0].expected["kind"] == kind]
        for case, reply in of_kind[:SHOWN]:
            print(f"\n{case.message}\n-> {reply}")
    print(f"\n{json.dumps(figures(cases, replies))}")


if __name__ == "__main__":
    main()
