"""Writes the brands' training and held-out data: `python -m examples.generate [--out DIR] [--seed N]`.

One `<brand>.train.jsonl` (upload it) and one `<brand>.held_out.jsonl` per brand, in OpenAI's chat format.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from examples.brands import BRANDS, NEUTRAL, Case

TRAINING_EXAMPLES = 500
HELD_OUT = {"luxe": 200, "tickets": 1000, "clinic": 150, "neutral": 200}
DEFAULT_OUT = Path("build/brands")


def write_chats(path: Path, cases: Sequence[Case]) -> Path:
    """The cases as JSON lines; the folder is made when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(case.chat()) + "\n" for case in cases), encoding="utf-8")
    return path


def generate(out: Path, seed: int = 0) -> list[Path]:
    """All files under `out`, the same bytes for the same seed."""
    written = []
    for brand in (*BRANDS.values(), NEUTRAL):
        if brand is not NEUTRAL:
            training = brand.cases("train", TRAINING_EXAMPLES, seed)
            written.append(write_chats(out / f"{brand.name}.train.jsonl", training))
        held_out = brand.cases("held_out", HELD_OUT[brand.name], seed)
        written.append(write_chats(out / f"{brand.name}.held_out.jsonl", held_out))
    return written


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Writes the brands' training and held-out data.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other examples")
    options = parser.parse_args()
    for path in generate(options.out, options.seed):
        print(path)


if __name__ == "__main__":
    main()
