"""Bad adapter_config.json and manifest.json: features that would be lost, patterns, numbers, other bases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adapters.manifest import CONFIG, FILE
from adapters.refused import Code
from tests.adapters.spoil import Bad, Spoil, config, flip

BOMB = "(a+)+$"


def _replace(old: str, new: str) -> Spoil:
    def change(folder: Path) -> None:
        text = (folder / CONFIG).read_text()
        assert old in text
        (folder / CONFIG).write_text(text.replace(old, new, 1))

    return change


def _raw(content: bytes) -> Spoil:
    return lambda folder: (folder / CONFIG).write_bytes(content)


def _utf16(folder: Path) -> None:
    (folder / CONFIG).write_bytes((folder / CONFIG).read_text().encode("utf-16"))


def _manifest(**changes: Any) -> Spoil:
    def change(folder: Path) -> None:
        (folder / FILE).write_text(json.dumps({**json.loads((folder / FILE).read_text()), **changes}))

    return change


CONFIGS = {
    "a key twice": Bad(Code.DUPLICATE_KEY, _replace('"r": 8', '"r": 8, "r": 8')),
    "a key twice, one written with an escape": Bad(
        Code.DUPLICATE_KEY, _replace('"r": 8', '"r": 8, "\\u0072": 1024')
    ),
    "configuration in UTF-16": Bad(Code.BAD_JSON, _utf16),
    "configuration that is a list": Bad(Code.BAD_JSON, _raw(b"[]")),
    "configuration 100,000 levels deep": Bad(Code.BAD_JSON, _raw(b'{"r":' + b"[" * 100_000)),
    "a number of 100,000 digits": Bad(Code.BAD_JSON, _replace('"r": 8', '"r": 1' + "0" * 100_000)),
    "a number of 4,000 digits": Bad(Code.RANK, _replace('"r": 8', '"r": 1' + "0" * 4000)),
    "alpha of 4,000 digits": Bad(
        Code.BAD_CONFIG, _replace('"lora_alpha": 8', '"lora_alpha": 1' + "0" * 4000)
    ),
    "alpha NaN": Bad(Code.BAD_JSON, config(lora_alpha=float("nan"))),
    "alpha beyond a float": Bad(Code.BAD_CONFIG, _replace('"lora_alpha": 8', '"lora_alpha": 1e999')),
    "alpha of 1e30": Bad(Code.SCALING, config(lora_alpha=1e30)),
    "alpha zero": Bad(Code.SCALING, config(lora_alpha=0)),
    "alpha below zero": Bad(Code.SCALING, config(lora_alpha=-8)),
    "alpha_pattern below zero": Bad(Code.SCALING, config(alpha_pattern={"q_proj": -1})),
    "rank as text": Bad(Code.BAD_CONFIG, config(r="8")),
    "rank true": Bad(Code.BAD_CONFIG, config(r=True)),
    "rank zero": Bad(Code.RANK, config(r=0)),
    "rank below zero": Bad(Code.RANK, config(r=-8)),
    "rank 1024": Bad(Code.RANK, config(r=1024)),
    "rank above what is served": Bad(Code.RANK, config(r=64)),
    "rank 1024 in rank_pattern": Bad(Code.RANK, config(rank_pattern={"q_proj": 1024})),
    "no target_modules": Bad(Code.BAD_CONFIG, config(target_modules=None)),
    "empty target_modules": Bad(Code.UNSERVED_MODULE, config(target_modules=[])),
    "another architecture's target_modules": Bad(Code.UNSERVED_MODULE, config(target_modules=["c_attn"])),
    "a regex bomb in rank_pattern": Bad(Code.PATTERN, config(rank_pattern={BOMB: 8})),
    "a regex bomb in alpha_pattern": Bad(Code.PATTERN, config(alpha_pattern={"(.*)*x": 8})),
    "a harmless regex in rank_pattern": Bad(Code.PATTERN, config(rank_pattern={"^q_proj": 8})),
    "a thousand patterns": Bad(Code.PATTERN, config(rank_pattern={f"m{n}": 8 for n in range(1000)})),
    "target_modules as a regex": Bad(Code.PATTERN, config(target_modules=BOMB)),
    "exclude_modules as a regex": Bad(Code.PATTERN, config(exclude_modules=BOMB)),
    "target_modules with a regex": Bad(Code.PATTERN, config(target_modules=["q_proj", ".*"])),
    "target_modules with ..": Bad(Code.PATTERN, config(target_modules=["../q_proj"])),
    "target_modules with an absolute path": Bad(Code.PATTERN, config(target_modules=["/etc/passwd"])),
    "target_modules with NUL": Bad(Code.PATTERN, config(target_modules=["q_proj\0"])),
    "target_modules with a letter that looks alike": Bad(
        Code.PATTERN, config(target_modules=["q_pr\u043ej"])
    ),
    "target_modules with a line end": Bad(Code.PATTERN, config(target_modules=["q_proj\n"])),
    "layers_pattern": Bad(Code.PATTERN, config(layers_pattern=BOMB)),
    "target_modules with the LM head": Bad(
        Code.VOCABULARY, config(target_modules=["q_proj", "embed_tokens"])
    ),
    "DoRA": Bad(Code.DORA, config(use_dora=True)),
    "bias": Bad(Code.BIAS, config(bias="all")),
    "lora_bias": Bad(Code.BIAS, config(lora_bias=True)),
    "modules_to_save": Bad(Code.MODULES_TO_SAVE, config(modules_to_save=["lm_head"])),
    "new tokens": Bad(Code.VOCABULARY, config(trainable_token_indices=[1, 2])),
    "PiSSA": Bad(Code.CHANGED_BASE, config(init_lora_weights="pissa_niter_16")),
    "OLoRA": Bad(Code.CHANGED_BASE, config(init_lora_weights="olora")),
    "LoftQ": Bad(Code.CHANGED_BASE, config(init_lora_weights="LoftQ")),
    "an init that is no name": Bad(Code.CHANGED_BASE, config(init_lora_weights=[1])),
    "aLoRA": Bad(Code.UNSUPPORTED_FEATURE, config(alora_invocation_tokens=[1, 2])),
    "BD-LoRA": Bad(Code.UNSUPPORTED_FEATURE, config(use_bdlora={"nblocks": 2})),
    "QALoRA": Bad(Code.UNSUPPORTED_FEATURE, config(use_qalora=True)),
    "layer_replication": Bad(Code.UNSUPPORTED_FEATURE, config(layer_replication=[[0, 2]])),
    "target_parameters": Bad(Code.UNSUPPORTED_FEATURE, config(target_parameters=["experts.down_proj"])),
    "fan_in_fan_out": Bad(Code.UNSUPPORTED_FEATURE, config(fan_in_fan_out=True)),
    "a feature of a later PEFT": Bad(Code.UNSUPPORTED_FEATURE, config(use_more=True)),
    "LoHa": Bad(Code.NOT_LORA, config(peft_type="LOHA")),
    "a classifier": Bad(Code.NOT_LORA, config(task_type="SEQ_CLS")),
    "no peft_type": Bad(Code.NOT_LORA, _replace('"peft_type": "LORA", ', "")),
    "another base of the same shapes": Bad(
        Code.OTHER_BASE, _manifest(base_weights_sha256="0" * 64), own=True
    ),
    "another configuration of the base": Bad(
        Code.OTHER_BASE, _manifest(base_config_sha256="0" * 64), own=True
    ),
    "another chat template": Bad(Code.OTHER_BASE, _manifest(template_sha256="0" * 64), own=True),
    "a manifest of another rank": Bad(Code.BAD_MANIFEST, _manifest(rank=16), own=True),
    "a manifest with more than it has": Bad(Code.BAD_MANIFEST, _manifest(trusted=True), own=True),
    "a manifest that is not JSON": Bad(Code.BAD_MANIFEST, lambda folder: flip(folder, 0, 0, FILE), own=True),
    "no manifest among our own": Bad(Code.CONTENT_CHANGED, lambda folder: (folder / FILE).unlink(), own=True),
    "another seed in the manifest": Bad(Code.CONTENT_CHANGED, _manifest(seed=99), own=True),
    "white space in the configuration": Bad(
        Code.CONTENT_CHANGED, lambda folder: (folder / CONFIG).open("a").write(" "), own=True
    ),
}
