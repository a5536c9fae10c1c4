"""Which tensors, of which shapes, an adapter for this base must have: those, all of them, and no others.

Read from the base's own weight files, not computed from its configuration: no table of model families, and
layers that differ from each other are right. vLLM 0.32 checks neither: of a smaller hidden size it fills a
part, missing layers answer as the base does. Called by check.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from safetensors import SafetensorError, safe_open

from adapters.base import Base
from adapters.lora_config import LoraConfig, ends
from adapters.modules import SERVED_LINEARS
from adapters.refused import Code, Refused, shown
from adapters.safetensors_header import Tensor

PREFIX = "base_model.model."
DENSE = ("F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")  # other types are packed: their shape is not the layer's
# vLLM applies adapters to the text layers only; experts have another layout.
UNSERVED_PARTS = {"experts", "vision_tower", "vision_model", "visual", "audio_tower"}


@dataclass(frozen=True)
class Pair:
    """One adapted layer: A is [rank, inputs], B is [outputs, rank]; the layer gains scaling * B @ A."""

    module: str
    rank: int
    scaling: float
    inputs: int
    outputs: int

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """The names and shapes of its two tensors."""
        return {self.a: (self.rank, self.inputs), self.b: (self.outputs, self.rank)}

    @property
    def a(self) -> str:
        return f"{PREFIX}{self.module}.lora_A.weight"

    @property
    def b(self) -> str:
        return f"{PREFIX}{self.module}.lora_B.weight"


@lru_cache(maxsize=4)
def linears(base: Base) -> Mapping[str, tuple[int, int]]:
    """(outputs, inputs) of each of the base's matrices by module name. Raises Refused when it has none."""
    found: dict[str, tuple[int, int]] = {}
    try:
        for file in sorted(base.path.glob("*.safetensors")):
            with safe_open(file, framework="np") as weights:
                for name in weights.keys():  # noqa: SIM118 (no mapping)
                    part = weights.get_slice(name)
                    shape = part.get_shape()
                    if name.endswith(".weight") and len(shape) == 2 and part.get_dtype() in DENSE:
                        found[_as_loaded(name.removesuffix(".weight"))] = (shape[0], shape[1])
    except (OSError, SafetensorError) as error:
        raise Refused(Code.BASE_UNREADABLE, f"The base's weights cannot be read ({error})") from None
    if not any(is_served(module) for module in found):
        raise Refused(Code.BASE_UNREADABLE, f"The weights of base {base.slug!r} show no layer to adapt")
    return found


def expected(config: LoraConfig, base: Base) -> list[Pair]:
    """The layers that `config` says are adapted. Raises Refused when the engine does not serve one."""
    pairs = []
    for module, (outputs, inputs) in linears(base).items():
        if config.adapts(module):
            if not is_served(module):
                what = Code.VOCABULARY if _of_vocabulary(module) else Code.UNSERVED_MODULE
                raise Refused(what, f"It adapts {shown(module)}, to which the engine applies no adapter")
            rank, scaling = config.rank_of(module), config.scaling_of(module)
            pairs.append(Pair(module, rank, scaling, inputs, outputs))
    if not pairs:
        names = shown(", ".join(config.target_modules))
        raise Refused(Code.UNSERVED_MODULE, f"target_modules ({names}) names no layer of base {base.slug!r}")
    return pairs


def unknown_targets(config: LoraConfig, pairs: Sequence[Pair]) -> list[str]:
    """Names in target_modules that mean no adapted layer: PEFT allows them."""
    meant = set().union(*(ends(pair.module) for pair in pairs))
    return sorted(set(config.target_modules) - meant)


def compare(tensors: Sequence[Tensor], pairs: Sequence[Pair]) -> None:
    """Raises Refused unless `tensors` are exactly those of `pairs`."""
    wanted = {name: shape for pair in pairs for name, shape in pair.shapes.items()}
    for tensor in tensors:
        if tensor.name not in wanted:
            raise _unexpected(tensor.name, pairs)
    given = {tensor.name: tensor.shape for tensor in tensors}
    for name, shape in wanted.items():
        if name not in given:
            raise Refused(Code.MISSING_TENSOR, f"There is no {name}, {len(given)} of {len(wanted)} are there")
        if given[name] != shape:
            ranks = 0 if name.endswith("lora_A.weight") else 1
            same = len(given[name]) == 2 and given[name][1 - ranks] == shape[1 - ranks]
            code = Code.RANK_MISMATCH if same else Code.SHAPE
            raise Refused(code, f"{name} is {list(given[name])} where {list(shape)} fits the base and config")


def _unexpected(name: str, pairs: Sequence[Pair]) -> Refused:
    if "lora_magnitude_vector" in name:
        return Refused(Code.DORA, f"{shown(name)} belongs to DoRA")
    if name.endswith(".bias"):
        return Refused(Code.BIAS, f"{shown(name)} is a bias")
    if _of_vocabulary(name) or "lora_embedding_" in name or "trainable_tokens" in name:
        return Refused(Code.VOCABULARY, f"{shown(name)} changes the vocabulary's layers")
    if "modules_to_save" in name or ("lora_" not in name and name.endswith(".weight")):
        return Refused(Code.MODULES_TO_SAVE, f"{shown(name)} is a whole layer, no LoRA")
    tails = {tail for pair in pairs for full in pair.shapes for tail in [_from_layers(full)]}
    if _from_layers(name).replace(".default.weight", ".weight") in tails:
        return Refused(Code.PREFIX, f"{shown(name)} is a layer's name, but not as PEFT saves it")
    return Refused(Code.UNEXPECTED_TENSOR, f"{shown(name)} belongs to no layer that base and config have")


def _as_loaded(name: str) -> str:
    """Older multimodal checkpoints name the text otherwise than transformers (conversion_mapping.py)."""
    old = "language_model.model."
    return f"model.language_model.{name.removeprefix(old)}" if name.startswith(old) else name


def is_served(module: str) -> bool:
    parts = module.split(".")
    return parts[-1] in SERVED_LINEARS and UNSERVED_PARTS.isdisjoint(parts)


def _of_vocabulary(name: str) -> bool:
    return not {"embed_tokens", "lm_head"}.isdisjoint(name.split("."))


def _from_layers(name: str) -> str:
    return name[name.find("layers.") :] if "layers." in name else name
