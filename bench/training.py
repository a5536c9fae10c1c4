"""Training speed and memory against transformers.Trainer and TRL's SFTTrainer: the same data, model, batches,
optimizer and schedule, in processes of their own, round after round.

`speedup_*`: real tokens per second of ours against theirs; `memory_*`: largest memory of ours against theirs;
`loss_difference`: the largest relative distance of a step's loss from a float32 Trainer's. `--device cuda`:
on a GPU, where a job checkpoints gradients; `kept_*` is ours without, against a Trainer without.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import card, options, report
from bench.catalogue import SAME_LOSSES
from bench.trained import DEVICES, Run
from bench.workloads import billion, large, tiny
from records.processes import VARIABLES

WORKLOADS = {"tiny": tiny, "25m": large, "1b": billion}
# workload: (examples to train on, held out) of a full run and of a quick one
SIZES = {
    "tiny": ((304, 32), (48, 8)),
    "25m": ((96, 32), (24, 8)),
    "1b": ((640, 32), (160, 8)),
}
ON = {"cpu": ("tiny", "25m"), "cuda": tuple(WORKLOADS)}
ROUNDS = 3
SIDES = {
    "cpu": ("ours", "trainer", "trainer_bf16", "trl"),
    "cuda": ("ours", "ours_kept", "trainer", "trainer_bf16", "trainer_bf16_recomputed", "trl"),
}
# figure: (ours, theirs)
SPEEDUPS = {
    "speedup_vs_trainer": ("ours", "trainer"),
    "speedup_vs_trainer_bf16": ("ours", "trainer_bf16"),
    "speedup_vs_trl": ("ours", "trl"),
    "speedup_vs_trainer_bf16_recomputed": ("ours", "trainer_bf16_recomputed"),
    "kept_speedup_vs_trainer_bf16": ("ours_kept", "trainer_bf16"),
}
MEMORY = {
    "memory_ratio": ("ours", "trainer"),
    "memory_vs_trainer_bf16_recomputed": ("ours", "trainer_bf16_recomputed"),
    "kept_memory_vs_trainer_bf16": ("ours_kept", "trainer_bf16"),
}
# On a GPU ours computes in bf16 whatever the base's size, and so does TRL.
TOLERANCE = {"cpu": SAME_LOSSES, "cuda": 5e-3}
COMPARED = ("ours", "ours_kept", "trl")  # whose losses must be Trainer's
LIBRARIES = ("trl", "datasets")
# As in a job; the libraries must not reach out to anybody.
ENVIRONMENT = {**VARIABLES, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
# Trainer would spread a batch over all cards of a machine, ours trains on one.
ONE_CARD = {"CUDA_VISIBLE_DEVICES": "0"}


def sides(device: str) -> tuple[str, ...]:
    """Who takes part. Raises SystemExit where TRL is not installed; on a GPU, whose machine may have
    packages of its own, that is said and TRL left out."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if not missing:
        return SIDES[device]
    said = f"{missing[0]}, which is not installed: pip install --no-deps -r requirements/bench.txt"
    if device == "cpu":
        raise SystemExit(f"This bench compares with {said}")
    print(f"Left out: {said}", flush=True)
    return tuple(side for side in SIDES[device] if side != "trl")


def run(side: str, folder: Path, device: str) -> Run:
    """One run in a process of its own. Raises SystemExit with what it printed when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.trained", side, str(folder), "--device", device],
        env=ONE_CARD | os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{side} failed: {done.stderr[-2000:]}")
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def rounds(folder: Path, count: int, names: Sequence[str], device: str) -> dict[str, list[Run]]:
    """`count` runs of each side; the order turns, so that none is always first."""
    found: dict[str, list[Run]] = {side: [] for side in names}
    for number in range(count):
        first = number % len(names)
        for side in (*names[first:], *names[:first]):
            found[side].append(run(side, folder, device))
    return found


def loss_difference(mine: list[float], theirs: list[float]) -> float:
    """The largest relative distance of two loss curves, step by step."""
    return max(abs(a - b) / b for a, b in zip(mine, theirs, strict=True))


def figures(found: Mapping[str, list[Run]]) -> dict[str, float]:
    """The ratios of the sides that took part, each the median over rounds, and that all learnt the same."""
    speed = {side: [one.speed for one in runs] for side, runs in found.items()}
    peak = {side: [one.peak for one in runs] for side, runs in found.items()}
    base = found["trainer"][0]
    return {
        **{
            name: report.median_ratio(kind[ours], kind[theirs])
            for kind, pairs in ((speed, SPEEDUPS), (peak, MEMORY))
            for name, (ours, theirs) in pairs.items()
            if {ours, theirs} <= found.keys()
        },
        "loss_difference": max(
            loss_difference(one.losses, base.losses) for side in COMPARED for one in found.get(side, ())
        ),
        **{f"held_out_loss_{side}": runs[0].held_out for side, runs in found.items()},
        **{f"tokens_per_second_{side}": statistics.median(all_of) for side, all_of in speed.items()},
        **{f"peak_mib_{side}": statistics.median(all_of) for side, all_of in peak.items()},
    }


def row(name: str, side: str, runs: list[Run]) -> tuple[str, ...]:
    first = runs[0]
    return (
        name,
        side,
        f"{statistics.median(one.speed for one in runs):.0f}",
        f"{statistics.median(one.peak for one in runs):.0f}",
        f"{first.losses[0]:.4f}",
        f"{first.losses[-1]:.4f}",
        f"{first.held_out:.4f}",
    )


def main() -> None:
    parser = options.parser(__doc__, "few examples, one round")
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="where to train (default cpu)")
    parser.add_argument(
        "--only", choices=WORKLOADS, action="append", help="a workload; default: all of a device"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each side (default {ROUNDS})")
    given = parser.parse_args()
    title = f"One epoch on {card.describe(given.device)}"
    names, count = sides(given.device), 1 if given.quick else given.rounds
    ended, rows, sizes = {}, [], []
    for name in given.only or ON[given.device]:
        with tempfile.TemporaryDirectory() as place:
            work = WORKLOADS[name](Path(place), *SIZES[name][given.quick])
            work.save(Path(place))
            found = rounds(Path(place), count, names, given.device)
        ended[name] = figures(found)
        sizes.append(f"{name} {work.batch}")
        rows += [row(name, side, runs) for side, runs in found.items()]
    columns = ("model", "trainer", "tokens/s", "MiB", "first", "last", "held out")
    report.show(f"{title}; examples a step: {', '.join(sizes)}", columns, rows)
    report.end(ended)
    bound = TOLERANCE[given.device]
    if any(one["loss_difference"] > bound for one in ended.values()):
        raise SystemExit(f"the loss curves differ by more than {bound}: the speeds are of different work")


if __name__ == "__main__":
    main()
