"""One trainer's run: `python -m bench.trained SIDE FOLDER --device cpu` prints it as a line of JSON.

Called by training.py in a process for each run, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from bench import card
from bench.trainers import SIDES, in_order
from bench.workloads import Workload
from training.mask import Encoded

DEVICES = ("cpu", "cuda")
# Steps that are not timed: on a GPU the first few still choose kernels and grow the pool of memory.
WARM = {"cpu": 1, "cuda": 3}


@dataclass(frozen=True)
class Run:
    """`speed` is real tokens per second from the end of the WARM steps to the end of the last; `peak` in MiB,
    the process's largest resident memory, on a GPU the most that its tensors took; `losses` and `held_out`
    in nats per learnt token."""

    speed: float
    peak: float
    losses: list[float]
    held_out: float


def peak(where: torch.device) -> float:
    """MiB: the most so far, of the process or on its GPU."""
    if where.type == "cuda":
        return int(torch.cuda.max_memory_allocated(where)) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def held_out_loss(model: Any, examples: list[Encoded], where: torch.device) -> float:
    """One sequence at a time through the stock model with its whole head: the same judge for all."""
    model.set_attn_implementation("sdpa")
    model.float().eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for one in (sequence for example in examples for sequence in example.sequences):
            ids = torch.tensor([list(one.ids)], device=where)
            wanted = torch.tensor(list(one.learnt[1:]), dtype=torch.bool, device=where)
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1][wanted]
            total += float(functional.cross_entropy(logits, ids[0, 1:][wanted], reduction="sum"))
            count += int(wanted.sum())
    return total / count


def run(side: str, folder: Path, device: str) -> Run:
    """Train as `side` does what lies in `folder`."""
    work, where = Workload.load(folder), torch.device(device)
    model, losses, ends = SIDES[side](work, folder, where)
    most, warm = peak(where), min(WARM[device], len(ends) - 1)
    tokens = sum(example.tokens for example in in_order(work)[warm * work.batch :])
    return Run(tokens / (ends[-1] - ends[warm - 1]), most, losses, held_out_loss(model, work.held_out, where))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", choices=DEVICES, required=True)
    options = parser.parse_args()
    card.fit_kernel()
    found = run(options.side, options.folder, options.device)
    print(json.dumps(asdict(found)), flush=True)


if __name__ == "__main__":
    main()
