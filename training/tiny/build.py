"""Builds the base: tokenizer, model, training in several processes, the cast to bf16.

Called by __main__ and by the smoke test; writing the folder is package.py's work.
"""

import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import torch
from torch import distributed, multiprocessing
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from training.tiny import english, model, tokenizer, train
from training.tiny.corpus import Corpus, conversation, render
from training.tiny.recipe import Recipe

Watch = Callable[[train.Progress, LlamaForCausalLM], None]
_CHATS_FOR_THE_VOCABULARY = 6000


def build_tokenizer(recipe: Recipe) -> PreTrainedTokenizerFast:
    """The tokenizer of a recipe, from chats and English without their digits."""
    random = Random(recipe.seed)
    chats = [render(conversation(random)) for _ in range(_CHATS_FOR_THE_VOCABULARY)]
    texts = (re.sub(r"\d", "", text) for text in [*english.passages(), *chats])
    return tokenizer.build(texts, recipe.vocabulary, recipe.context)


def _join(recipe: Recipe, rank: int, store: str) -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if recipe.processes > 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        distributed.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=recipe.processes
        )


def _work(rank: int, recipe: Recipe, made: PreTrainedTokenizerFast, store: str, resume: Path | None) -> None:
    """One process; the model of every process stays the same, as all take the same averaged steps."""
    _join(recipe, rank, store)
    for _ in train.steps(model.build(recipe, made), Corpus(recipe, made, rank), recipe, resume):
        pass


def build(
    recipe: Recipe, made: PreTrainedTokenizerFast, watch: Watch, resume: Path | None = None
) -> LlamaForCausalLM:
    """Trains in `recipe.processes` processes, this one among them; the model in bf16, ready to save."""
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        store = f"{folder}/store"
        helpers = [
            multiprocessing.get_context("spawn").Process(
                target=_work, args=(rank, recipe, made, store, resume), daemon=True
            )
            for rank in range(1, recipe.processes)
        ]
        for helper in helpers:
            helper.start()
        _join(recipe, 0, store)
        try:
            trained = model.build(recipe, made)
            for progress in train.steps(trained, Corpus(recipe, made), recipe, resume):
                watch(progress, trained)
        finally:
            with suppress(AssertionError, ValueError):
                distributed.destroy_process_group()
            torch.use_deterministic_algorithms(False)
            torch.set_num_threads(threads)
            for helper in helpers:
                helper.join(timeout=30)
    return trained.to(torch.bfloat16).eval()
