"""The admission check: every adapter of the corpus is refused with its code, cheaply; good ones get in."""

from __future__ import annotations

import json
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from adapters import base as bases
from adapters import values
from adapters.base import Base
from adapters.check import admit
from adapters.content import content_digest
from adapters.manifest import CONFIG, WEIGHTS
from adapters.refused import Code, Refused
from adapters.safetensors_header import read_header
from tests.adapters import meter
from tests.adapters.bad_adapters import BAD, RANK, Made, describe, good, make
from tests.adapters.spoil import A, config, each, join, renamed, tensors

MOST_BYTES = 200_000_000


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return bases.resolve("tiny", tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return good(tmp_path_factory.mktemp("good") / "adapter")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, template: Path, base: Base) -> dict[str, Made]:
    root = tmp_path_factory.mktemp("corpus")
    return {name: make(name, template, root / str(number), base) for number, name in enumerate(BAD)}


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return good(tmp_path / "adapter")


def refusal(folder: Path, base: Base, **given: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        admit(folder, base, **{"max_rank": 32, **given})
    return caught.value


@pytest.mark.parametrize("name", BAD)
def test_a_bad_adapter_is_refused_with_its_code_and_a_sentence(
    name: str, corpus: dict[str, Made], base: Base
) -> None:
    made = corpus[name]
    refused = refusal(made.folder, base, expected_sha256=made.sha256)
    assert refused.code == BAD[name].code, refused.message
    assert refused.message.isascii()
    assert refused.message.isprintable()
    assert refused.message.endswith(f"; {refused.code.repair}.")
    assert len(refused.message) < 500


def test_each_code_has_an_adapter_that_is_refused_with_it() -> None:
    elsewhere = {Code.UNREADABLE, Code.BASE_UNREADABLE}  # the disk's or the base's fault: tests below
    assert {bad.code for bad in BAD.values()} == set(Code) - elsewhere


def test_a_refusal_takes_200_mb_at_most(corpus: dict[str, Made], template: Path, base: Base) -> None:
    """`python -m bench.admission` prints the seconds."""
    first, *measured = meter.measure(base.path, [Made(template, None), *corpus.values()])
    assert first.code == "admitted"
    assert [taken.code for taken in measured] == [BAD[name].code for name in corpus]
    assert 0 < measured[-1].peak_bytes - first.peak_bytes <= MOST_BYTES  # over all of them, so of each


def test_a_large_file_is_read_in_small_pieces(tmp_path: Path) -> None:
    size = 64_000_000
    entry = {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size]}
    join(tmp_path, json.dumps({"zeros": entry}).encode(), b"")
    os.truncate(tmp_path / WEIGHTS, (tmp_path / WEIGHTS).stat().st_size + size)
    tracemalloc.start()
    with (tmp_path / WEIGHTS).open("rb") as file:
        assert values.measure(file, read_header(file)).peaks == {"zeros": 0.0}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_good_adapter_is_admitted_and_described(adapter: Path, base: Base, dtype: torch.dtype) -> None:
    each(lambda tensor: tensor.to(dtype))(adapter)
    found = admit(adapter, base, max_rank=32)
    assert (found.rank, found.alpha, found.tensors, found.warnings) == (RANK, float(RANK), 5 * 7 * 2, ())
    assert found.bytes == sum(file.stat().st_size for file in adapter.iterdir())
    assert set(found.sha256) == {CONFIG, WEIGHTS}
    assert found.content_sha256 == content_digest(adapter)
    assert "q_proj" in found.target_modules


def test_our_own_version_is_admitted_under_its_own_address_only(adapter: Path, base: Base) -> None:
    describe(adapter, base)
    address = content_digest(adapter)
    admitted = admit(adapter, base, max_rank=8, expected_sha256=address)
    assert admitted.content_sha256 == address
    assert refusal(adapter, base, expected_sha256="0" * 64).code == Code.CONTENT_CHANGED
    assert refusal(adapter, replace(base, weights_sha256="0" * 64)).code == Code.OTHER_BASE


@pytest.mark.parametrize("trained", [True, False])
def test_what_peft_saves_is_admitted_once_it_is_trained(tmp_path: Path, base: Base, trained: bool) -> None:
    torch.manual_seed(0)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32),
        LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", use_rslora=True, task_type="CAUSAL_LM"),
    )
    assert isinstance(model, PeftModel)
    if trained:
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.normal_(std=0.02)
    model.save_pretrained(tmp_path / "adapter")
    assert (tmp_path / "adapter" / "README.md").exists()
    if trained:
        assert admit(tmp_path / "adapter", base, max_rank=8).rank == 4
    else:
        assert refusal(tmp_path / "adapter", base).code == Code.NO_EFFECT


def test_literal_patterns_give_layers_ranks_of_their_own(adapter: Path, base: Base) -> None:
    config(rank_pattern={"self_attn.q_proj": 4}, alpha_pattern={"q_proj": 2})(adapter)
    assert refusal(adapter, base).code == Code.RANK_MISMATCH

    def lower(found: dict[str, torch.Tensor]) -> None:
        for name in found:
            if "q_proj" in name:
                found[name] = found[name][:4] if "lora_A" in name else found[name][:, :4]

    tensors(lower)(adapter)
    assert admit(adapter, base, max_rank=8).rank == 8


def test_a_few_layers_are_enough_when_the_configuration_says_which(adapter: Path, base: Base) -> None:
    tensors(lambda found: [found.pop(name) for name in list(found) if "layers.3." not in name])(adapter)
    assert refusal(adapter, base).code == Code.MISSING_TENSOR
    config(layers_to_transform=[3])(adapter)
    assert admit(adapter, base, max_rank=8).tensors == 14
    config(layers_to_transform=2)(adapter)
    assert refusal(adapter, base).code == Code.UNEXPECTED_TENSOR


def test_excluded_modules_need_no_tensors(adapter: Path, base: Base) -> None:
    tensors(lambda found: [found.pop(name) for name in list(found) if "v_proj" in name])(adapter)
    config(exclude_modules=["v_proj"])(adapter)
    assert "v_proj" not in admit(adapter, base, max_rank=8).target_modules


def test_what_is_doubtful_but_harmless_is_a_warning(adapter: Path, base: Base) -> None:
    modules = json.loads((adapter / CONFIG).read_text())["target_modules"]
    config(base_model_name_or_path="elsewhere/other\n-7b", target_modules=[*modules, "c_attn"])(adapter)
    tensors(lambda found: found[A].zero_())(adapter)
    idle, elsewhere, unknown = admit(adapter, base, max_rank=8).warnings
    assert "1 of 35" in idle
    assert r"elsewhere/other\n-7b" in elsewhere
    assert "c_attn" in unknown


def test_an_unreadable_disk_is_a_refusal(adapter: Path, base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("adapters.values.measure", broken)
    assert refusal(adapter, base).code == Code.UNREADABLE


def test_a_base_whose_layers_cannot_be_seen_admits_nothing(adapter: Path, base: Base, tmp_path: Path) -> None:
    other = replace(base, path=tmp_path / "packed")
    other.path.mkdir()
    packed = {"model.layers.0.self_attn.q_proj.qweight": torch.ones(24, 192, dtype=torch.int32)}
    save_file(packed, other.path / "model.safetensors")
    assert refusal(adapter, other).code == Code.BASE_UNREADABLE
    (other.path / "model.safetensors").write_bytes(b"damaged")
    assert refusal(adapter, replace(other, slug="damaged")).code == Code.BASE_UNREADABLE


def test_experts_and_towers_get_no_adapter(adapter: Path, base: Base, tmp_path: Path) -> None:
    """The engine would leave these tensors out without a word."""
    for name in ("model.layers.0.mlp.experts.0.up_proj", "model.vision_tower.layers.0.self_attn.q_proj"):
        other = replace(base, path=tmp_path / name)
        other.path.mkdir()
        layer = {f"{name}.weight": torch.ones(8, 8), "model.layers.0.mlp.down_proj.weight": torch.ones(8, 8)}
        save_file(layer, other.path / "model.safetensors")
        assert refusal(adapter, other).code == Code.UNSERVED_MODULE


def test_an_older_checkpoint_of_a_multimodal_base_is_read_under_its_new_names(
    adapter: Path, base: Base, tmp_path: Path
) -> None:
    other = replace(base, path=tmp_path / "old")
    other.path.mkdir()
    layer = {"language_model.model.layers.0.self_attn.q_proj.weight": torch.ones(192, 192)}
    save_file(layer, other.path / "model.safetensors")
    config(target_modules=["q_proj"])(adapter)
    tensors(lambda found: [found.pop(n) for n in list(found) if "layers.0.self_attn.q_proj" not in n])(
        adapter
    )
    renamed(lambda name: name.replace("model.layers", "model.language_model.layers"))(adapter)
    assert admit(adapter, other, max_rank=8).tensors == 2
