"""Gradient checkpointing: between forward and backward a layer keeps its input alone, and the backward pass
computes the rest once more. One more forward buys the memory; loss and gradients stay, to the last bit.

Called by material.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


def wrap(model: Any) -> int:
    """Make each layer of the model do so, for as long as it lives; the number of layers."""
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for layer in layers:
        # Not gradient_checkpointing_enable: it has no effect in eval(), and a layer in train() may drop out
        # (OPT's own forward does). Without dropout there is no random state to put back either.
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
    return len(layers)
