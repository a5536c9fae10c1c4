"""Gradient checkpointing saves memory and changes nothing else: loss and gradients stay, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from adapters import base as bases
from adapters.base import TINY
from records import jobs
from tests.training.breaks import At, break_off, killed
from tests.training.place import Place, chats
from tests.training.test_flat import batch, gradients
from tests.training.test_resume import outcome
from training import adapter, bounds, flat, loop, material, recompute
from training.chat import Renderer
from training.data import load

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {
    "vocab_size": 500, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GEMMA = SIZES | {"head_dim": 8, "attention_dropout": 0.5}
FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, attention_dropout=0.5)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=8)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**GEMMA)),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**GEMMA, sliding_window=6)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=6)),
    "phi": lambda: PhiForCausalLM(PhiConfig(**SIZES, resid_pdrop=0.5)),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**SIZES, resid_pdrop=0.5)),
}


def prepared(family: str, folder: Path) -> Any:
    """A model of the family with a LoRA that has an effect."""
    if family != "tiny":
        torch.manual_seed(0)
        FAMILIES[family]().save_pretrained(folder)
    model = adapter.attach(adapter.load_base(TINY if family == "tiny" else folder, CPU), 8, seed=3)
    torch.manual_seed(4)
    for parameter in adapter.trained(model):
        parameter.data.normal_(std=0.05)
    return model


def saved_bytes(model: Any, examples: list[Any]) -> int:
    """Of what autograd holds between forward and backward, weights left out."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    held: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(count, lambda tensor: tensor):
        (row,) = flat.rows(examples, CPU)
        loss, _ = flat.score(model, row)
    del loss
    return sum(held.values())


@pytest.mark.parametrize("family", ["tiny", *FAMILIES])
def test_loss_and_gradients_are_equal_to_the_last_bit_and_less_is_kept(family: str, tmp_path: Path) -> None:
    model, examples = prepared(family, tmp_path), batch(31, 17, 40)
    whole, kept = loop.backward(model, examples, CPU), saved_bytes(model, examples)
    expected = gradients(model)
    layers = recompute.wrap(model)
    assert layers == model.config.num_hidden_layers
    for _ in range(2):
        assert loop.backward(model, examples, CPU).loss == whole.loss
        found = gradients(model)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())
    # What a layer keeps is its input, which it holds itself, unseen by autograd.
    inputs = layers * 88 * model.config.hidden_size * 4
    assert saved_bytes(model, examples) + inputs < kept / 2


def test_a_layer_whose_own_forward_drops_out_in_training_does_not() -> None:
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=500, hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, word_embed_proj_dim=32, dropout=0.5, layerdrop=0.5,
    )  # fmt: skip
    model = OPTForCausalLM(config).eval()
    ids = torch.randint(0, 500, (1, 20))

    def loss_and_gradients() -> tuple[float, dict[str, torch.Tensor]]:
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        return loss.item(), gradients(model)

    loss, expected = loss_and_gradients()
    assert recompute.wrap(model) == 2
    again, found = loss_and_gradients()
    assert again == loss
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())


def test_a_job_learns_the_same_with_and_without_it(tmp_path: Path, small_base: Path) -> None:
    found = []
    for wanted in (None, True, False):
        place = Place(tmp_path / str(wanted), small_base, gradient_checkpointing=wanted)
        job_id = place.submit(place.upload(chats(20)), n_epochs=2, batch_size=4)
        place.work()
        found.append(outcome(place, job_id))
        place.close()
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("first", [True, False])
def test_a_job_goes_on_in_mid_epoch_though_the_setting_has_changed(
    place: Place, at: At, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    file = place.upload(chats(20))
    whole, broken = (place.submit(file, n_epochs=2, batch_size=4) for _ in range(2))
    place.work()
    expected = outcome(place, whole)
    monkeypatch.setattr(bounds.Clock, "is_due", lambda _: True)
    settings = place.settings
    place.settings = settings.model_copy(update={"gradient_checkpointing": first})
    at(8, killed)
    break_off(place, broken, MemoryError)
    place.settings = settings.model_copy(update={"gradient_checkpointing": not first})
    place.work()
    assert "Fine-tuning job taken up again after step 7" in place.messages(broken)
    assert outcome(place, broken) == expected


@pytest.mark.parametrize(
    ("device", "setting", "wrapped"),
    [("cpu", None, False), ("cpu", True, True), ("cuda", None, True), ("cuda", False, False)],
)
def test_it_is_on_by_default_where_a_gpu_trains(
    place: Place, monkeypatch: pytest.MonkeyPatch, device: str, setting: bool | None, wrapped: bool
) -> None:
    base = bases.resolve(place.settings.base, place.settings.home)
    file = place.settings.home / "x.jsonl"
    file.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in chats(12)))
    (example, *_) = load(file, Renderer(adapter.load_tokenizer(base.path)), 512, param="x").examples
    asked: list[Any] = []
    monkeypatch.setattr(recompute, "wrap", lambda model: asked.append(model) or 1)
    monkeypatch.setattr(adapter, "device", lambda: torch.device(device))
    load_base = adapter.load_base
    monkeypatch.setattr(adapter, "load_base", lambda path, _, **how: load_base(path, CPU, **how))
    monkeypatch.setattr(flat, "try_out", lambda *_: None)
    means = place.settings.model_copy(update={"gradient_checkpointing": setting})
    material.build(base, None, means, 1, example)
    assert bool(asked) is wrapped


def test_a_base_without_such_layers_is_refused_where_the_operator_asks_for_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recompute, "wrap", lambda _: 0)
    place.settings = place.settings.model_copy(update={"gradient_checkpointing": True})
    job_id = place.submit(place.upload(chats(12)))
    place.work()
    job = place.job(job_id)
    assert (job.status, job.error is not None) == (jobs.FAILED, True)
    assert "CHORUS_GRADIENT_CHECKPOINTING=false" in (job.error or {})["message"]
