"""Training speed and memory against transformers.Trainer and TRL's SFTTrainer: the same data, model, batches,
optimizer and schedule, in processes of their own, round after round.

`speedup_*`: real tokens per second of ours against theirs; `memory_ratio`: largest resident memory of ours
against Trainer's; `loss_difference`: the largest relative distance of a step's loss from Trainer's. Trainer
runs in float32, its default, and once more over a base in bf16, under autocast: its losses are not compared.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench import report
from bench.trainers import SIDES, Run
from bench.workloads import BATCH, large, tiny

WORKLOADS = {"tiny": tiny, "25m": large}
# workload: (examples to train on, held out) of a full run and of a quick one
SIZES = {"tiny": ((304, 32), (48, 8)), "25m": ((96, 32), (24, 8))}
ROUNDS = 3
TOLERANCE = 1e-3
COMPARED = ("ours", "trl")  # whose losses must be Trainer's
LIBRARIES = ("trl", "datasets")
# As in a job (training/process.py); the libraries must not reach out to anybody.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}


def run(side: str, folder: Path) -> Run:
    """One run in a process of its own. Raises SystemExit with what it printed when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.trainers", side, str(folder)],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{side} failed: {done.stderr[-2000:]}")
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def rounds(folder: Path, count: int) -> dict[str, list[Run]]:
    """`count` runs of each side; the order turns, so that none is always first."""
    found: dict[str, list[Run]] = {side: [] for side in SIDES}
    sides = list(SIDES)
    for number in range(count):
        for side in sides[number % len(sides) :] + sides[: number % len(sides)]:
            found[side].append(run(side, folder))
    return found


def loss_difference(mine: list[float], theirs: list[float]) -> float:
    """The largest relative distance of two loss curves, step by step."""
    return max(abs(a - b) / b for a, b in zip(mine, theirs, strict=True))


def figures(found: Mapping[str, list[Run]]) -> dict[str, float]:
    """The ratios, each the median over rounds, and that all sides learnt the same."""
    speed = {side: [one.speed for one in runs] for side, runs in found.items()}
    peak = {side: [one.peak for one in runs] for side, runs in found.items()}
    base = found["trainer"][0]
    return {
        "speedup_vs_trainer": report.median_ratio(speed["ours"], speed["trainer"]),
        "speedup_vs_trainer_bf16": report.median_ratio(speed["ours"], speed["trainer_bf16"]),
        "speedup_vs_trl": report.median_ratio(speed["ours"], speed["trl"]),
        "memory_ratio": report.median_ratio(peak["ours"], peak["trainer"]),
        "loss_difference": max(
            loss_difference(one.losses, base.losses) for side in COMPARED for one in found[side]
        ),
        **{f"held_out_loss_{side}": runs[0].held_out for side, runs in found.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few examples, one round: a try, no measurement")
    options = parser.parse_args()
    if missing := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
        raise SystemExit(
            f"This bench compares with {missing[0]}, which is not installed: "
            "pip install --no-deps -r requirements/bench.txt"
        )
    ended, rows = {}, []
    for name, make in WORKLOADS.items():
        with tempfile.TemporaryDirectory() as place:
            make(Path(place), *SIZES[name][options.quick]).save(Path(place))
            found = rounds(Path(place), 1 if options.quick else ROUNDS)
        ended[name] = figures(found)
        rows += [
            (
                name,
                side,
                f"{statistics.median(one.speed for one in runs):.0f}",
                f"{statistics.median(one.peak for one in runs):.0f}",
                f"{runs[0].losses[0]:.4f}",
                f"{runs[0].losses[-1]:.4f}",
                f"{runs[0].held_out:.4f}",
            )
            for side, runs in found.items()
        ]
    columns = ("model", "trainer", "tokens/s", "peak, MiB", "first loss", "last loss", "held-out loss")
    report.show(f"One epoch in batches of {BATCH}", columns, rows)
    report.end(ended)
    if any(one["loss_difference"] > TOLERANCE for one in ended.values()):
        raise SystemExit(f"the loss curves differ by more than {TOLERANCE}: the speeds are of different work")


if __name__ == "__main__":
    main()
