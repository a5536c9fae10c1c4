"""What other tools write is repaired to the last bit, and said; what is not lossless stays refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from adapters import base as bases
from adapters.base import Base
from adapters.check import Admitted, admit
from adapters.manifest import CONFIG, FILE, WEIGHTS
from adapters.refused import Code, Refused
from adapters.repair import repair
from tests.adapters.bad_adapters import BAD, MODULES, RANK, describe, good, make
from tests.adapters.spoil import LAYER, A, B, Spoil, config, renamed, tensors
from tests.adapters.test_check_fuzz import Edit, base_of, edited, edits, place

__all__ = ["place"]  # a fixture

LAYERS = "base_model.model.model.layers."
HEAD, EMBEDDING = "base_model.model.lm_head.weight", "base_model.model.model.embed_tokens.weight"
UNSLOTH = (
    r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?"
    r"(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\."
    r"(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\."
    r"(?:(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)))"
)
SWIFT = r"^(model\.language_model(?=\.).*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj))$"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return bases.resolve("tiny", tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return good(tmp_path_factory.mktemp("good") / "adapter")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return good(tmp_path / "adapter")


def repaired(folder: Path, base: Base, max_rank: int = 8) -> tuple[Path, list[str], Admitted]:
    """What a repair makes of it, what it says, and what the check finds in that."""
    draft = folder.parent / f"{folder.name}-draft"
    said = repair(folder, draft, base, max_rank=max_rank)
    return draft, said, admit(draft, base, max_rank=max_rank)


def code_of(work: Callable[[], object]) -> Code | None:
    try:
        work()
    except Refused as refused:
        return refused.code
    return None


def same(folder: Path, other: Path) -> bool:
    ours, theirs = load_file(folder / WEIGHTS), load_file(other / WEIGHTS)
    return set(ours) == set(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


def both(*spoils: Spoil) -> Spoil:
    return lambda folder: [spoil(folder) for spoil in spoils]


def head(new: str) -> Spoil:
    return renamed(lambda name: name.replace(LAYERS, new))


def put(**given: torch.Tensor) -> Spoil:
    return tensors(lambda found: found.update(given))


def from_base(name: str) -> torch.Tensor:
    return load_file(bases.TINY / "model.safetensors")[name]


NAMES = {
    "no prefix": (head("model.layers."), "70 tensor names had another beginning"),
    "no prefix at all": (head("layers."), "another beginning"),
    "the prefix twice": (head(f"base_model.model.{LAYERS}"), "another beginning"),
    "model once more": (head("base_model.model.model.model.layers."), "another beginning"),
    "model once less": (head("base_model.model.layers."), "another beginning"),
    "a multimodal class": (head("base_model.model.model.language_model.layers."), "another beginning"),
    "an older multimodal class": (head("base_model.model.language_model.model.layers."), "another beginning"),
    "DDP": (head(f"module.{LAYERS}"), "another beginning"),
    "torch.compile": (head(f"_orig_mod.{LAYERS}"), "70 tensor names held the name of a wrapper (_orig_mod)"),
    "FSDP": (
        renamed(lambda name: re.sub(r"(layers\.\d+)", r"\1._fsdp_wrapped_module", name)),
        "_fsdp_wrapped_module",
    ),
    "activation checkpointing": (
        renamed(lambda name: name.replace(".mlp.", "._checkpoint_wrapped_module.mlp.")),
        "30 tensor names held the name of a wrapper (_checkpoint_wrapped_module)",
    ),
    "the adapter's own name": (
        renamed(lambda name: name.replace(".weight", ".default.weight")),
        "70 tensor names held the adapter's own name 'default'",
    ),
    "another adapter's name": (
        renamed(lambda name: name.replace(".weight", ".policy.weight")),
        "the adapter's own name 'policy'",
    ),
    "a name for one factor": (
        renamed(lambda name: name.replace("lora_B.weight", "lora_B.default.weight")),
        "35 tensor names held the adapter's own name 'default'",
    ),
}  # fmt: skip
CONFIGS = {
    "all-linear": (config(target_modules="all-linear"), "where there was a pattern: 'all-linear'"),
    "Unsloth's pattern": (
        config(target_modules=UNSLOTH),
        "down_proj, gate_proj, k_proj, o_proj, q_proj, up_",
    ),
    "a pattern of what is left out": (config(exclude_modules=r".*vision.*"), "a pattern: '.*vision.*'"),
    "a multimodal pattern and its names": (
        both(config(target_modules=SWIFT), head("base_model.model.model.language_model.layers.")),
        "where there was a pattern",
    ),
    "a pattern that would never end": (config(target_modules="(a+)+$"), "where there was a pattern"),
}


@pytest.mark.parametrize("name", NAMES | CONFIGS)
def test_what_other_tools_write_is_repaired_to_the_last_bit_and_said(
    name: str, adapter: Path, template: Path, base: Base
) -> None:
    spoil, expected = (NAMES | CONFIGS)[name]
    spoil(adapter)
    assert code_of(lambda: admit(adapter, base, max_rank=8)) in (
        Code.PREFIX,
        Code.PATTERN,
        Code.UNEXPECTED_TENSOR,
    )
    draft, said, admitted = repaired(adapter, base)
    assert expected in " | ".join(said)
    assert all(sentence.isascii() and sentence.isprintable() and len(sentence) < 400 for sentence in said)
    assert same(draft, template)
    assert (admitted.rank, admitted.target_modules, admitted.warnings) == (RANK, tuple(MODULES), ())
    described = json.loads((draft / CONFIG).read_text())
    assert described == json.loads((template / CONFIG).read_text()) | (
        {"exclude_modules": None} if "exclude_modules" in described else {}
    )


def test_nothing_is_changed_where_nothing_is_wrong(adapter: Path, base: Base) -> None:
    later = {"a_key_of_2031": None, "another": [], "modules_to_save": [], "layers_pattern": "", "off": False}
    config(**later)(adapter)
    (adapter / "README.md").write_text("# A model card")
    draft, said, _ = repaired(adapter, base)
    assert said == []
    for name in (CONFIG, WEIGHTS):
        assert (draft / name).read_bytes() == (adapter / name).read_bytes()
    assert {path.name for path in draft.iterdir()} == {CONFIG, WEIGHTS}


def test_a_repaired_adapter_needs_no_repair(adapter: Path, base: Base) -> None:
    both(NAMES["the prefix twice"][0], NAMES["the adapter's own name"][0], CONFIGS["all-linear"][0])(adapter)
    draft, said, first = repaired(adapter, base)
    assert len(said) == 3
    again, said, second = repaired(draft, base)
    assert said == []
    assert second == first
    assert (again / WEIGHTS).read_bytes() == (draft / WEIGHTS).read_bytes()


def test_whole_names_in_the_configuration_follow_the_tensors_names(
    adapter: Path, template: Path, base: Base
) -> None:
    class_of = "model.language_model.layers"
    names = [f"{class_of}.{k}.{part}" for k in range(5) for part in ("self_attn.q_proj", "mlp.up_proj")]
    keep = tensors(
        lambda found: [found.pop(n) for n in list(found) if "q_proj" not in n and "up_proj" not in n]
    )
    both(keep, head(f"base_model.model.{class_of}."), config(target_modules=[*names, class_of]))(adapter)
    draft, said, admitted = repaired(adapter, base)
    assert "target_modules names layers as this base does" in said[1]
    assert admitted.target_modules == ("q_proj", "up_proj")
    kept, whole = load_file(draft / WEIGHTS), load_file(template / WEIGHTS)
    assert len(kept) == 2 * 2 * 5
    assert all(torch.equal(tensor, whole[name]) for name, tensor in kept.items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_whole_layers_that_are_the_bases_own_are_left_out(
    adapter: Path, template: Path, base: Base, dtype: torch.dtype
) -> None:
    own = from_base("model.embed_tokens.weight")
    put(**{HEAD: own.to(dtype), EMBEDDING: own.clone().to(dtype)})(adapter)
    config(modules_to_save=["embed_tokens", "lm_head"])(adapter)
    draft, said, _ = repaired(adapter, base)
    assert said == [
        f"2 whole layers are those of the base and are left out: '{HEAD}' first",
        "modules_to_save named layers that are those of the base; it is null now",
    ]
    assert same(draft, template)
    assert json.loads((draft / CONFIG).read_text())["modules_to_save"] is None


def one_bit(tensor: torch.Tensor) -> torch.Tensor:
    changed = tensor.clone()
    changed[7, 7] = torch.nextafter(changed[7, 7], torch.tensor(9.0, dtype=tensor.dtype))
    return changed


OWN = from_base("model.embed_tokens.weight")
KEPT: dict[str, Spoil] = {
    "an LM head that was trained": put(**{HEAD: one_bit(OWN)}),
    "a trained one among others": put(**{HEAD: OWN, EMBEDDING: one_bit(OWN)}),
    "an LM head in half the bits": put(**{HEAD: OWN.to(torch.float16)}),
    "a larger vocabulary": put(**{EMBEDDING: torch.cat([OWN, OWN[:8]])}),
    "a smaller vocabulary": put(**{EMBEDDING: OWN[:100].clone()}),
    "a whole layer of another base": put(**{"base_model.model.model.norm.weight": torch.ones(191)}),
    "modules_to_save that are not in the file": config(modules_to_save=["lm_head"]),
    "modules_to_save of which one is not in the file": both(
        config(modules_to_save=["lm_head", "norm"]), put(**{HEAD: OWN})
    ),
    "two adapters": both(
        renamed(lambda name: name.replace(".weight", ".default.weight")),
        put(**{A.replace(".weight", ".reference.weight"): torch.ones(8, 192)}),
    ),
    "two adapters in turns": renamed(
        lambda name: name.replace("lora_A.", "lora_A.one.").replace("lora_B.", "lora_B.two.")
    ),
    "a tensor under two names": put(**{A.removeprefix("base_model.model."): torch.ones(8, 192)}),
    "layers of an encoder": head("base_model.model.encoder.layers."),
    "layers of a tower": head("base_model.model.vision_tower.layers."),
    "layers of a draft model": renamed(lambda name: name.replace(LAYERS, "base_model.model.mtp.layers.")),
    "a pattern and a layer without tensors": both(
        config(target_modules="all-linear"),
        tensors(lambda found: [found.pop(name) for name in list(found) if "layers.4.mlp.up_proj" in name]),
    ),
    "a pattern and half a layer": both(
        config(target_modules="all-linear"), tensors(lambda found: found.pop(B))
    ),
    "a pattern and layers_to_transform": config(target_modules="all-linear", layers_to_transform=[0]),
    "a pattern and a bias": both(
        config(target_modules="all-linear"), put(**{f"{LAYER}.lora_B.bias": torch.ones(192)})
    ),
    "a scaling that another name would lose": both(
        head("base_model.model.model.language_model.layers."),
        config(alpha_pattern={"language_model.layers.0.self_attn.q_proj": 2}),
    ),
    "a scaling that another name would gain": both(
        head("base_model.model.layers."), config(alpha_pattern={"model.layers.0.self_attn.q_proj": 2})
    ),
    "a scaling by too many names": both(
        head("layers."), config(alpha_pattern={f"x{k}": 2 for k in range(65)})
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_what_would_lose_something_is_refused_as_the_check_does(name: str, adapter: Path, base: Base) -> None:
    KEPT[name](adapter)
    expected = code_of(lambda: admit(adapter, base, max_rank=8))
    assert expected is not None
    assert code_of(lambda: repaired(adapter, base)) == expected
    assert not (adapter.parent / "adapter-draft").exists()


def test_a_scaling_by_name_that_holds_for_both_names_is_no_hindrance(adapter: Path, base: Base) -> None:
    head("base_model.model.model.language_model.layers.")(adapter)
    config(alpha_pattern={"layers.0.self_attn.q_proj": 2, "v_proj": 4})(adapter)
    draft, _, _ = repaired(adapter, base)
    assert "alpha_pattern" in (draft / CONFIG).read_text()


MENDED = {
    "names without PEFT's prefix", "names with the prefix twice", "names of a multimodal wrapper",
    "names with the adapter's own name", "target_modules as a regex", "exclude_modules as a regex",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in BAD if not BAD[name].own])
def test_of_the_bad_adapters_only_those_are_mended_that_lose_nothing(
    name: str, template: Path, tmp_path: Path, base: Base
) -> None:
    made = make(name, template, tmp_path / "adapter", base)
    expected = None if name in MENDED else BAD[name].code
    assert code_of(lambda: repaired(made.folder, base, max_rank=32)) == expected
    if name in MENDED:
        assert same(tmp_path / "adapter-draft", template)


def test_a_pattern_on_a_multimodal_base_becomes_the_names_of_its_text_layers(
    adapter: Path, base: Base, tmp_path: Path
) -> None:
    other = replace(base, path=tmp_path / "multimodal")
    other.path.mkdir()
    text, vision = "model.language_model.layers.0.self_attn.q_proj", "model.visual.layers.0.self_attn.q_proj"
    save_file({f"{n}.weight": torch.ones(192, 192) for n in (text, vision)}, other.path / "model.safetensors")
    keep = tensors(lambda found: [found.pop(n) for n in list(found) if "layers.0.self_attn.q_proj" not in n])
    both(keep, config(target_modules=SWIFT))(adapter)
    draft, said, admitted = repaired(adapter, other)
    assert json.loads((draft / CONFIG).read_text())["target_modules"] == [text]
    assert (len(said), admitted.tensors) == (2, 2)


def test_a_manifest_from_elsewhere_is_not_kept(adapter: Path, base: Base) -> None:
    describe(adapter, base)
    draft, said, _ = repaired(adapter, base)
    assert not (draft / FILE).exists()
    assert said == ["manifest.json is left out: of an import the training is not known"]


def test_the_file_at_fault_is_named(adapter: Path, base: Base) -> None:
    for spoil, file in ((config(r=16), WEIGHTS), (config(use_dora=True), CONFIG), (config(r=64), CONFIG)):
        spoil(adapter)
        with pytest.raises(Refused) as caught:
            repaired(adapter, base, max_rank=16)
        assert caught.value.file == file


parts = st.sampled_from(["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
heads = st.lists(parts | st.sampled_from(["base_model", "model", "module", "language_model"]), max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=heads, within=st.lists(parts, max_size=2), own=st.none() | st.sampled_from(["default", "x", "0"])
)
def test_whatever_stands_around_the_layers_they_are_found(
    template: Path, base: Base, tmp_path: Path, before: list[str], within: list[str], own: str | None
) -> None:
    folder = tmp_path / "-".join(["n", *before, *within, str(own)])[:200]
    draft = tmp_path / "draft"
    for path in (folder, draft):
        if path.exists():
            [file.unlink() for file in path.iterdir()]
            path.rmdir()
    folder.mkdir()
    (folder / CONFIG).write_bytes((template / CONFIG).read_bytes())
    (folder / WEIGHTS).write_bytes((template / WEIGHTS).read_bytes())

    def rename(name: str) -> str:
        _, _, _, layers, number, *rest, _ = name.split(".")
        return ".".join([*before, layers, number, *within, *rest, *([own] if own else []), "weight"])

    renamed(rename)(folder)
    repair(folder, draft, base, max_rank=8)
    assert same(draft, template)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(weights=edits(900), described=st.just([]) | edits(300))
def test_spoiled_bytes_are_refused_or_repaired_and_nothing_else(
    place: Path, tmp_path: Path, weights: list[Edit], described: list[Edit]
) -> None:
    folder, draft = tmp_path / "spoiled", tmp_path / "spoiled-draft"
    for path in (folder, draft):
        if path.exists():
            [file.unlink() for file in path.iterdir()]
            path.rmdir()
    folder.mkdir()
    for name, changes in ((WEIGHTS, weights), (CONFIG, described)):
        (folder / name).write_bytes(edited((place / "adapter" / name).read_bytes(), changes))
    code_of(lambda: repaired(folder, base_of(place)))


def test_what_peft_holds_in_memory_is_served_as_peft_computes_it(tmp_path: Path, base: Base) -> None:
    """One adapter saved raw, as sharded runs leave it, and one with the base's own layers in its file."""
    torch.manual_seed(0)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32),
        LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", use_rslora=True, task_type="CAUSAL_LM"),
    )
    assert isinstance(model, PeftModel)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(std=0.02)
    model.save_pretrained(tmp_path / "peft", save_embedding_layers=True)
    raw = {f"_orig_mod.{name}": t.contiguous() for name, t in model.state_dict().items() if "lora_" in name}
    assert any(".lora_A.default.weight" in name for name in raw)
    (tmp_path / "raw").mkdir()
    save_file(raw, tmp_path / "raw" / WEIGHTS)
    (tmp_path / "raw" / CONFIG).write_bytes((tmp_path / "peft" / CONFIG).read_bytes())
    config(target_modules="all-linear")(tmp_path / "raw")
    ids = torch.arange(5, 45)[None]
    with torch.no_grad():
        wanted = model.eval()(ids).logits
    for name, repairs in (("peft", 1), ("raw", 3)):
        draft, said, _ = repaired(tmp_path / name, base)
        assert len(said) == repairs
        loaded: Any = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32), draft
        ).eval()
        with torch.no_grad():
            assert torch.equal(loaded(ids).logits, wanted)
