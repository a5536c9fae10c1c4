"""Uploads the brands' files, creates one job per brand, and follows all jobs until the last one has ended.

The moment that a job has succeeded its model is asked once, which measures publishing to first token, and the
brand is shown while others learn.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openai import OpenAI
from openai.types.fine_tuning import FineTuningJobEvent, SupervisedHyperparametersParam
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from examples.brands import BRANDS, Brand
from examples.demo.ask import Arm, stream
from examples.demo.server import DemoFailed
from examples.generate import TRAINING_EXAMPLES, write_chats

POLL_S = 0.25
# "auto" makes batches of 8, and as many steps. A house's form is learnt from batches of 2 as well, in a third
# of the time, so the first brand answers soon; JSON and thirty terms are not (DECISIONS.md, "Any machine").
HYPERPARAMETERS: dict[str, SupervisedHyperparametersParam] = {"luxe": {"batch_size": 2}}
NO_ROW = TaskID(-1)  # of a job that nobody follows yet
_LOSSES = {"train_loss": "loss", "valid_loss": "valid", "full_valid_loss": "held-out"}


@dataclass
class Learning:
    """One brand's job while it is followed, and what was measured when it ended."""

    brand: Brand
    job_id: str
    row: TaskID = NO_ROW
    seen: set[str] = field(default_factory=set)
    status: str = "queued"
    last_unfinished: float = 0.0
    publish_to_first_token_s: float = math.inf
    answered_at: float = math.inf  # time.monotonic() of its first token
    model: str = ""


def begin(client: OpenAI, base: str, folder: Path, seed: int, console: Console) -> list[Learning]:
    """A job for each brand."""
    learnings = []
    for brand in BRANDS.values():
        cases = brand.cases("train", TRAINING_EXAMPLES, seed)
        path = write_chats(folder / f"{brand.name}.train.jsonl", cases)
        with path.open("rb") as content:
            file = client.files.create(file=content, purpose="fine-tune")
        job = client.fine_tuning.jobs.create(
            model=base,
            training_file=file.id,
            suffix=brand.name,
            method={
                "type": "supervised",
                "supervised": {"hyperparameters": HYPERPARAMETERS.get(brand.name, {})},
            },
            # The job's report compares what training gives with the brand's page of instructions.
            extra_body={"evaluation": {"instruction": brand.instructions}},
        )
        console.print(f"{brand.name}: uploaded {path.name} as {file.id}, created {job.id}")
        learnings.append(Learning(brand, job.id))
    return learnings


def follow(
    client: OpenAI, learnings: Sequence[Learning], console: Console, show: Callable[[Learning], None]
) -> None:
    """Until every brand is learnt, and shown; raises DemoFailed when a job fails or is cancelled."""
    columns = (
        TextColumn("{task.description:8}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    # Brands are shown beside the watching: a job that ends meanwhile is asked at once all the same.
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(1) as aside:
        for learning in learnings:
            learning.row = progress.add_task(learning.brand.name, total=None, note="queued", start=False)
        shown = []
        while waiting := [each for each in learnings if not each.model]:
            for learning in waiting:
                _look(client, learning, progress)
                if learning.model:
                    shown.append(aside.submit(show, learning))
            time.sleep(POLL_S)
        for future in shown:
            future.result()


def _look(client: OpenAI, learning: Learning, progress: Progress) -> None:
    """Reads a job's status and new events once, and asks its model at once when it has succeeded."""
    asked_at = time.monotonic()
    job = client.fine_tuning.jobs.retrieve(learning.job_id)
    if job.status not in ("succeeded", "failed", "cancelled"):
        learning.last_unfinished = asked_at
        if job.status == "running" or job.status != learning.status:
            _show_events(client, learning, progress)
        learning.status = job.status
        return
    if job.status != "succeeded" or job.fine_tuned_model is None:
        events = reversed(client.fine_tuning.jobs.list_events(learning.job_id, limit=50).data)
        told = "\n".join(f"  {event.level}: {event.message}" for event in events)
        raise DemoFailed(f"job {job.id} of {learning.brand.name} {job.status}; its events:\n{told}")
    before = time.monotonic()
    first = stream(client, Arm(job.fine_tuned_model), learning.brand.cases("held_out", 1, seed=1)[0].message)
    learning.answered_at = before + first.ttft_s
    # From the last moment at which the job was surely unfinished: never less than the true time.
    learning.publish_to_first_token_s = learning.answered_at - (learning.last_unfinished or asked_at)
    learning.model = job.fine_tuned_model
    _show_events(client, learning, progress)
    progress.console.print(
        f"{learning.brand.name}: {learning.model} says: {first.text}", highlight=False, markup=False
    )
    progress.update(learning.row, total=1, completed=1)
    progress.stop_task(learning.row)


def _show_events(client: OpenAI, learning: Learning, progress: Progress) -> None:
    page = client.fine_tuning.jobs.list_events(learning.job_id, limit=100)
    lines = not progress.console.is_terminal  # into a pipe or a log: bars would show at the end only
    new = [event for event in page.data if event.id not in learning.seen]
    for event in reversed(new):
        learning.seen.add(event.id)
        if event.type == "metrics":
            progress.start_task(learning.row)
            measured = _measured(event, learning, progress)
            progress.update(learning.row, **measured)
            if lines:
                progress.console.print(f"{learning.brand.name}: {measured['note']}", highlight=False)
        elif lines or not event.data:  # a checkpoint's event has data: one per epoch is too much beside bars
            progress.console.print(f"{learning.brand.name}: {event.message}", highlight=False, markup=False)


def _measured(event: FineTuningJobEvent, learning: Learning, progress: Progress) -> dict[str, Any]:
    """What a metrics event says for the brand's row: step, total when known, and the losses so far."""
    data = event.data if isinstance(event.data, dict) else {}
    row = next(task for task in progress.tasks if task.id == learning.row)
    losses = {
        **row.fields.get("losses", {}),
        **{key: data[key] for key in _LOSSES if data.get(key) is not None},
    }
    step, total = data.get("step"), data.get("total_steps")
    steps = f"step {step}/{total}" if total else f"step {step}"
    note = " ".join([steps, *(f"{_LOSSES[key]} {value:.3f}" for key, value in losses.items())])
    return {"completed": step, "total": total, "note": note, "losses": losses}
