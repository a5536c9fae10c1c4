"""`python -m training.tiny`: build the base (about half an hour on two cores) or check the one that ships."""

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from training.tiny import build, evaluate, package, train
from training.tiny.recipe import Recipe


def arguments(words: list[str]) -> argparse.Namespace:
    """The command line; defaults are the recipe's."""
    parser = argparse.ArgumentParser(prog="python -m training.tiny", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=package.FOLDER, help="folder to write (default: adapters/tiny)"
    )
    parser.add_argument(
        "--steps", type=int, default=Recipe().steps, help="training steps; fewer makes a rough base"
    )
    parser.add_argument(
        "--resume", type=Path, help="file that keeps the state of the build: goes on from it if it exists"
    )
    parser.add_argument(
        "--check", action="store_true", help="only compare the folder's files with its manifest"
    )
    return parser.parse_args(words)


def train_with_progress(
    console: Console, recipe: Recipe, tokenizer: PreTrainedTokenizerFast
) -> LlamaForCausalLM:
    """The trained model; shows step, loss, tokens per second and the time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.2f}, {task.fields[speed]:,.0f} tokens/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    started, read, smooth = time.monotonic(), 0, 0.0
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("train", total=recipe.steps, loss=0.0, speed=0.0)

        def watch(progress: train.Progress, _: LlamaForCausalLM) -> None:
            nonlocal read, smooth
            read += progress.tokens
            if progress.kind == "text":
                smooth = progress.loss if not smooth else 0.98 * smooth + 0.02 * progress.loss
            speed = read / (time.monotonic() - started)
            bar.update(task, completed=progress.step + 1, loss=smooth, speed=speed)
            if not console.is_terminal and progress.step % 50 == 49:
                console.print(
                    f"step {progress.step + 1}/{recipe.steps}  loss {smooth:.3f}  {speed:,.0f} tokens/s"
                )

        resume = recipe.checkpoint if recipe.checkpoint and recipe.checkpoint.is_file() else None
        return build.build(recipe, tokenizer, watch, resume)


def main(words: list[str]) -> int:
    """Exit status 0, or 1 with a line that says what is wrong."""
    asked = arguments(words)
    console = Console()
    if asked.check:
        try:
            manifest = package.check(asked.out)
        except package.Spoilt as spoilt:
            console.print(f"[red]{spoilt}")
            return 1
        console.print(f"{asked.out}: {len(manifest['sha256'])} files match {package.MANIFEST}")
        return 0
    logging.disable_progress_bar()
    recipe = Recipe(steps=asked.steps, checkpoint=asked.resume)
    console.print("vocabulary: reading the standard library's English")
    tokenizer = build.build_tokenizer(recipe)
    model = train_with_progress(console, recipe, tokenizer)
    figures = evaluate.table(model, tokenizer)
    package.write(model, tokenizer, recipe, asked.out, figures)
    shown = Table("on held-out names, items, numbers, wordings", "share", title=f"{asked.out}")
    for label, share in figures.items():
        shown.add_row(label, f"{share:.2f}")
    console.print(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
