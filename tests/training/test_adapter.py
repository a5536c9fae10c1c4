"""The adapter is what PEFT and the engine load, and says what training computed."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from adapters import cpu
from adapters.base import resolve
from adapters.check import admit
from adapters.manifest import CONFIG, WEIGHTS
from adapters.modules import rank_for
from training import adapter, flat
from training.mask import Encoded, Sequence

IDS = torch.arange(5, 45)[None]
CPU = torch.device("cpu")


def test_the_saved_adapter_gives_the_same_logits_in_peft(
    model: Any, small_base: Path, tmp_path: Path
) -> None:
    adapter.save(model, tmp_path / "adapter", "small")
    loaded = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(small_base, dtype=torch.float32), tmp_path / "adapter"
    ).eval()
    # What is saved is bf16: round what was trained alike, and nothing may differ.
    adapter.restore(model, {name: t.bfloat16().float() for name, t in adapter.weights(model).items()})
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        base = AutoModelForCausalLM.from_pretrained(small_base, dtype=torch.float32)(IDS).logits
        ours, theirs = model(input_ids=IDS, use_cache=False).logits, loaded(IDS).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert (ours - base).abs().max() > 0.01


def test_the_files_hold_what_the_engine_takes_and_no_path_of_this_machine(
    model: Any, small_base: Path, tmp_path: Path
) -> None:
    adapter.save(model, tmp_path / "adapter", "small")
    text = (tmp_path / "adapter" / CONFIG).read_text()
    config = json.loads(text)
    assert str(small_base) not in text
    assert config["base_model_name_or_path"] == "small"
    assert (config["r"], config["lora_alpha"], config["bias"], config["use_dora"]) == (8, 16, "none", False)
    assert config["modules_to_save"] is None
    assert config["init_lora_weights"] is True
    tensors = load_file(tmp_path / "adapter" / WEIGHTS)
    layer = "base_model.model.model.layers.1.self_attn.q_proj"
    assert tensors[f"{layer}.lora_A.weight"].shape == (8, 32)
    assert tensors[f"{layer}.lora_B.weight"].shape == (32, 8)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert len(tensors) == 2 * 7 * 2
    assert not any("lm_head" in name or "embed" in name for name in tensors)


def test_the_same_adapter_is_saved_as_the_same_bytes(model: Any, tmp_path: Path) -> None:
    for name in "ab":
        adapter.save(model, tmp_path / name, "small")
    for member in (CONFIG, WEIGHTS):
        assert (tmp_path / "a" / member).read_bytes() == (tmp_path / "b" / member).read_bytes()


def test_an_untrained_adapter_changes_nothing(small_base: Path) -> None:
    base = adapter.load_base(small_base, torch.device("cpu"))
    with torch.no_grad():
        before = base(input_ids=IDS, use_cache=False, segments=(40,)).logits
        after = adapter.attach(base, 16, seed=1)(input_ids=IDS, use_cache=False, segments=(40,)).logits
    assert torch.equal(before, after)


def test_what_training_saves_passes_the_admission_check(model: Any, small_base: Path, tmp_path: Path) -> None:
    adapter.save(model, tmp_path / "adapter", "small")
    admitted = admit(tmp_path / "adapter", resolve(str(small_base), tmp_path), max_rank=8)
    assert (admitted.rank, admitted.tensors, admitted.warnings) == (8, 2 * 7 * 2, ())


@pytest.mark.parametrize(("largest", "rank"), [(8, 8), (16, 16), (17, 16), (64, 16), (1, 1), (12, 8)])
def test_the_rank_is_one_that_the_engine_serves(largest: int, rank: int) -> None:
    assert rank_for(largest) == rank


def test_training_goes_on_from_any_adapter_that_is_served(small_base: Path, tmp_path: Path) -> None:
    """Of an import: ranks, scalings and layers of its own, which the version made of it keeps."""
    given = LoraConfig(
        r=8,
        lora_alpha=12,
        target_modules=["q_proj", "v_proj", "up_proj"],
        exclude_modules=["layers.0.mlp.up_proj"],
        rank_pattern={"q_proj": 4},
        alpha_pattern={"v_proj": 24},
        use_rslora=True,
        lora_dropout=0.5,
        task_type="CAUSAL_LM",
    )
    theirs = get_peft_model(adapter.load_base(small_base, CPU), given).eval()
    for parameter in adapter.trained(theirs):
        parameter.data.normal_(std=0.05).copy_(parameter.data.bfloat16())
    adapter.save(theirs, tmp_path / "theirs", "small")
    ours = adapter.attach_version(adapter.load_base(small_base, CPU), tmp_path / "theirs", seed=9)
    assert all(torch.equal(a, b) for a, b in zip(adapter.trained(ours), adapter.trained(theirs), strict=True))
    (row,) = flat.rows([Encoded(1, (Sequence(array("i", range(5, 45)), b"\1" * 40, 40),))], CPU)
    torch.testing.assert_close(flat.logprobs(ours, row), flat.logprobs(theirs, row))
    adapter.save(ours, tmp_path / "ours", "small")
    admit(tmp_path / "ours", resolve(str(small_base), tmp_path), max_rank=16)
    for member in (CONFIG, WEIGHTS):
        assert (tmp_path / "ours" / member).read_bytes() == (tmp_path / "theirs" / member).read_bytes()


@pytest.mark.parametrize(
    ("hidden", "able", "dtype"),
    [
        (4096, True, torch.bfloat16),
        (384, True, torch.bfloat16),
        (256, True, torch.float32),
        (4096, False, torch.float32),
    ],
)
def test_a_cpu_trains_over_bf16_where_it_multiplies_in_it_and_the_model_is_large_enough(
    monkeypatch: pytest.MonkeyPatch, hidden: int, able: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(cpu, "multiplies_bf16", lambda: able)
    assert adapter.dtype_for(hidden, CPU) is dtype
    assert adapter.dtype_for(hidden, torch.device("cuda")) is torch.bfloat16
