"""adapter_config.json, as far as it decides what the engine computes; all else in it must be off or inert.

vLLM 0.32 reads the fields of vllm/lora/peft_helper.py and ignores the rest: a feature that it does not know
would be lost in silence. So a key that is neither read here nor known to be inert must be empty. Called by
check.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from adapters.json_object import read_object
from adapters.manifest import CONFIG
from adapters.refused import Code, Refused, shown

# Keys become regular expressions inside the engine's step: `(a+)+$` would hang it for every tenant, and each
# is tried on each layer, with a cache of 500 compiled ones.
LITERAL = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*", re.ASCII)
MOST_PATTERNS = 64
MAX_SCALING = 1024  # lora_alpha 1024 at rank 1; usual are 0.5 to 32

# Inits that leave the base alone (the list of peft_helper.py); PiSSA, OLoRA, CorDA and LoftQ change it.
PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
REFUSED = {
    "use_dora": Code.DORA,
    "lora_bias": Code.BIAS,
    "modules_to_save": Code.MODULES_TO_SAVE,
    "trainable_token_indices": Code.VOCABULARY,
}
# Notes about the training; none changes what the saved weights compute.
INERT = {
    "auto_mapping", "peft_version", "revision", "inference_mode", "lora_dropout", "megatron_core",
    "loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size",
    "ensure_weight_tying",
}  # fmt: skip
Value = TypeVar("Value")


class LoraConfig(BaseModel):
    """What is read. Names are literal; a name means every module that it is the dotted end of, as in PEFT."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)

    peft_type: Literal["LORA"]
    task_type: Literal["CAUSAL_LM"] | None = None
    base_model_name_or_path: str | None = None
    r: int
    lora_alpha: float
    use_rslora: bool = False
    target_modules: list[str]
    exclude_modules: list[str] | None = None
    layers_to_transform: list[int] | int | None = None
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None

    def rank_of(self, module: str) -> int:
        return first_match(self.rank_pattern, module, self.r)

    def scaling_of(self, module: str) -> float:
        """What the engine multiplies lora_B with."""
        alpha, rank = first_match(self.alpha_pattern, module, self.lora_alpha), self.rank_of(module)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)

    def adapts(self, module: str) -> bool:
        """PEFT's rule (check_target_module_exists), for literal names."""
        names = ends(module)
        if self._targets.isdisjoint(names) or not self._excluded.isdisjoint(names):
            return False
        layer = re.search(r"\.(\d+)\.", module)
        return not self._layers or (layer is not None and int(layer[1]) in self._layers)

    # Sets, made once: the lists may have 60,000 names, the base 20,000 modules.
    @cached_property
    def _targets(self) -> frozenset[str]:
        return frozenset(self.target_modules)

    @cached_property
    def _excluded(self) -> frozenset[str]:
        return frozenset(self.exclude_modules or ())

    @cached_property
    def _layers(self) -> frozenset[int]:
        given = self.layers_to_transform
        return frozenset([given] if isinstance(given, int) else given or ())


def read(raw: bytes, max_rank: int) -> LoraConfig:
    """Parse and judge the file's bytes; `max_rank` is the largest that the engine serves. Raises Refused."""
    values = read_object(raw, CONFIG, Code.BAD_JSON)
    if values.get("peft_type") != "LORA" or values.get("task_type") not in (None, "CAUSAL_LM"):
        kind = f"peft_type {values.get('peft_type')}, task_type {values.get('task_type')}"
        raise Refused(Code.NOT_LORA, f"It is an adapter of another kind ({shown(kind)})")
    _refuse_features(values)
    _refuse_patterns(values)
    try:
        config = LoraConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(Code.BAD_CONFIG, f"{shown(where)} in {CONFIG} is wrong ({first['msg']})") from None
    for rank in (config.r, *(config.rank_pattern or {}).values()):
        if not 1 <= rank <= max_rank:
            raise Refused(Code.RANK, f"Its rank is {_brief(rank)}, served are 1 to {max_rank}")
    for alpha in (config.lora_alpha, *(config.alpha_pattern or {}).values()):
        if not 0 < alpha <= MAX_SCALING * max_rank:
            raise Refused(Code.SCALING, f"Its lora_alpha is {alpha:g}")
    return config


def ends(module: str) -> set[str]:
    """All names that mean the module: `a.b.c`, `b.c` and `c`."""
    parts = module.split(".")
    return {".".join(parts[start:]) for start in range(len(parts))}


def first_match(pattern: Mapping[str, Value] | None, module: str, otherwise: Value) -> Value:
    """The value of the first key that means the module."""
    names = ends(module) if pattern else set()
    return next((value for key, value in (pattern or {}).items() if key in names), otherwise)


def _refuse_features(values: Mapping[str, Any]) -> None:
    if values.get("bias") not in (None, "none"):
        raise Refused(Code.BIAS, f"bias is {shown(str(values['bias']))}")
    init = values.get("init_lora_weights")
    if not (
        init is None or isinstance(init, bool) or (isinstance(init, str) and init.lower() in PLAIN_INITS)
    ):
        raise Refused(Code.CHANGED_BASE, f"Its init {shown(str(init))} changes the base's own weights")
    known = {*LoraConfig.model_fields, *INERT, "bias", "init_lora_weights", "layers_pattern"}
    for name, value in values.items():
        if value and name in REFUSED:
            raise Refused(REFUSED[name], f"{name} is set")
        if value and name not in known:
            raise Refused(Code.UNSUPPORTED_FEATURE, f"{shown(name)} is set")


def _refuse_patterns(values: Mapping[str, Any]) -> None:
    if values.get("layers_pattern") not in (None, "", [], "layers", ["layers"]):
        raise Refused(Code.PATTERN, "layers_pattern is set")
    for field in ("target_modules", "exclude_modules"):
        if isinstance(values.get(field), str):
            raise Refused(Code.PATTERN, f"{field} is one text, which PEFT reads as a regular expression")
    for field in ("target_modules", "exclude_modules", "rank_pattern", "alpha_pattern"):
        names = values.get(field)
        if not isinstance(names, Sequence | Mapping):
            continue
        for name in names:
            if not isinstance(name, str) or not LITERAL.fullmatch(name):
                raise Refused(Code.PATTERN, f"{field} holds {shown(str(name))}")
        if field.endswith("_pattern") and len(names) > MOST_PATTERNS:
            raise Refused(Code.PATTERN, f"{field} has {len(names)} keys")


def _brief(number: int) -> str:
    return str(number) if abs(number) < 10**9 else "beyond all measure"
