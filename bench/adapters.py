"""Adapters of random weights for a base, in PEFT's format, without peft. The tests use them too."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from adapters.base import TINY
from adapters.manifest import CONFIG, WEIGHTS


def random_adapter(
    folder: Path,
    seed: int,
    rank: int = 16,
    strength: float = 0.15,
    note: str = "",
    *,
    base: Path = TINY,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """A folder with an adapter on all linear layers of `base`; its effect on greedy text is large.

    Another `note` gives other bytes, so another version, with the same effect.
    """
    config = json.loads((base / "config.json").read_text())
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes = {
        "self_attn.q_proj": (hidden, queries),
        "self_attn.k_proj": (hidden, keys),
        "self_attn.v_proj": (hidden, keys),
        "self_attn.o_proj": (queries, hidden),
        "mlp.gate_proj": (hidden, inner),
        "mlp.up_proj": (hidden, inner),
        "mlp.down_proj": (inner, hidden),
    }
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for name, (inputs, outputs) in shapes.items():
            stem = f"base_model.model.model.layers.{layer}.{name}"
            a = torch.randn(rank, inputs, generator=generator) / inputs**0.5
            b = torch.randn(outputs, rank, generator=generator) * strength
            tensors[f"{stem}.lora_A.weight"], tensors[f"{stem}.lora_B.weight"] = a.to(dtype), b.to(dtype)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt", "note": note})
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "tiny" if base == TINY else str(base),
        "r": rank,
        "lora_alpha": rank,
        "target_modules": sorted({name.rsplit(".", 1)[1] for name in shapes}),
        "bias": "none",
    }
    (folder / CONFIG).write_text(json.dumps(described))
    return folder
