"""Random Llamas with the tiny base's tokenizer: a size to measure on, where no model can be downloaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from adapters import base as bases
from adapters.base import TINY

# 137 million parameters, 3.7 of them in the tied vocabulary: the size of our figures of serving.
MEDIUM = {
    "hidden_size": 1024,
    "intermediate_size": 2592,
    "num_hidden_layers": 12,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "vocab_size": 3584,
    "max_position_embeddings": 2048,
}


def random_llama(folder: Path, seed: int, *, dtype: torch.dtype = torch.bfloat16, **sizes: int) -> Path:
    """A Llama of these sizes with random weights and a tied vocabulary, saved into `folder`."""
    torch.manual_seed(seed)
    config = LlamaConfig(**sizes, tie_word_embeddings=True, bos_token_id=None, eos_token_id=2, pad_token_id=0)
    shutil.copytree(
        TINY, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json", "manifest.json")
    )
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    return folder


def medium(folder: Path) -> Path:
    """The model that the benches of serving ask: bf16, 274 MB."""
    return random_llama(folder, 1, **MEDIUM)


def chosen(base: str, folder: Path) -> Path:
    """The folder of what `--base` names; MEDIUM is made, in `folder`."""
    return medium(folder / "medium") if base == "medium" else bases.resolve(base, folder).path
