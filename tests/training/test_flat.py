"""The flat row is exact: the same loss and gradients as one sequence at a time through the stock model."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM

from training import adapter, flat, loop
from training.mask import Encoded, Sequence

CPU = torch.device("cpu")


def batch(*lengths: int, seed: int = 0) -> list[Encoded]:
    """Random examples; the first token of one is marked as learnt, which nothing can predict."""
    torch.manual_seed(seed)
    made = []
    for line, length in enumerate(lengths):
        learnt = bytes([*(torch.rand(length) < 0.4).tolist()[:-1], True])
        ids = array("i", torch.randint(0, 500, (length,)).tolist())
        made.append(Encoded(line, (Sequence(ids, b"\1" + learnt[1:] if not line else learnt, length),)))
    return made


def one_by_one(model: Any, examples: list[Encoded]) -> tuple[torch.Tensor, int]:
    """(mean loss, learnt tokens) with the whole head and nothing flat about it."""
    total, count = torch.zeros(()), 0
    for sequence in (sequence for example in examples for sequence in example.sequences):
        ids = torch.tensor([list(sequence.ids)])
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
        wanted = torch.tensor([bool(flag) for flag in sequence.learnt[1:]])
        total = total + functional.cross_entropy(logits[wanted], ids[0, 1:][wanted], reduction="sum")
        count += int(wanted.sum())
    return total / count, count


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def test_loss_and_gradients_equal_those_of_single_sequences(model: Any) -> None:
    examples = batch(5, 31, 17, 2, 40)
    score = loop.backward(model, examples, CPU)
    ours = gradients(model)
    model.set_attn_implementation("sdpa")
    loss, count = one_by_one(model, examples)
    loss.backward()
    theirs = gradients(model)
    assert score.count == count == flat.learnt_tokens(examples)
    assert score.mean_loss == pytest.approx(float(loss), rel=1e-5)
    assert ours.keys() == theirs.keys()
    assert len(ours) == 2 * 7 * 2  # A and B, seven layers a block, two blocks: nothing else is trained
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-4, atol=1e-6)


def test_a_batch_cut_into_several_rows_gives_the_same_gradients(model: Any) -> None:
    examples = batch(20, 30, 25, 10)
    loop.backward(model, examples, CPU)
    whole = gradients(model)
    cut = list(flat.rows(examples, CPU, limit=50))
    assert [row.segments for row in cut] == [(20, 30), (25, 10)]
    for row in cut:
        (flat.score(model, row)[0] / flat.learnt_tokens(examples)).backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, whole[name], rtol=1e-4, atol=1e-6)


def test_a_sequence_does_not_see_its_neighbours(model: Any) -> None:
    (first, second), (_, other) = batch(12, 15), batch(12, 15, seed=9)

    def logits(*examples: Encoded) -> torch.Tensor:
        (row,) = flat.rows(list(examples), CPU)
        out: torch.Tensor = model(
            input_ids=row.ids, position_ids=row.positions, use_cache=False, segments=row.segments
        ).logits[0]
        return out

    alone = logits(second)
    torch.testing.assert_close(logits(first, second)[12:], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits(first, other)[:12], logits(first, second)[:12], rtol=1e-4, atol=1e-5)


def test_a_sliding_window_is_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=500, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=6, max_position_embeddings=64,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(tmp_path)
    examples = batch(30, 4, 12)
    (row,) = flat.rows(examples, CPU)
    ours, score = flat.score(adapter.load_base(tmp_path, CPU), row)
    stock = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, attn_implementation="sdpa")
    loss, count = one_by_one(stock.eval(), examples)
    assert float(ours.detach()) / count == pytest.approx(float(loss.detach()), rel=1e-5)
    assert score.count == count
