"""Tensor names as other tools write them, and which layer of this base each one means.

Seen in the wild: no prefix (transformers' own mixin), the prefix twice (a wrapped wrapper), `model.` once too
often, `language_model.` of a multimodal class (vllm#34186), the adapter's own name (`lora_A.default.weight`),
and the attribute of a wrapper (torch.compile, FSDP, activation checkpointing). Called by repair.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from adapters.lora_config import MOST_PATTERNS, first_match
from adapters.refused import shown
from adapters.shapes import PREFIX

WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# What may stand before `layers`: all this is the text model in another class. An encoder or a tower is not.
HEADS = {"base_model", "model", "module", "language_model"}


class Layers:
    """The base's text layers, found by what follows `layers`."""

    def __init__(self, modules: Iterable[str]) -> None:
        self._known: dict[tuple[str, ...], list[str]] = {}
        for module in modules:
            tail = _tail(module.split("."))
            if tail is not None:
                self._known.setdefault(tail, []).append(module)

    def find(self, name: str) -> str | None:
        """The one module of the base that `name` means, whatever class it was trained in; else None."""
        tail = _tail([part for part in name.split(".") if part not in WRAPPERS])
        found = self._known.get(tail, []) if tail else []
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class Factor:
    """The parts of a LoRA tensor's name: `module` is all before the factor, as it was written."""

    module: str
    factor: str
    adapter: str | None

    @classmethod
    def parse(cls, name: str) -> Factor | None:
        match name.split("."):
            case [*module, ("lora_A" | "lora_B") as factor, "weight"]:
                return cls(".".join(module), factor, None)
            case [*module, ("lora_A" | "lora_B") as factor, adapter, "weight"]:
                return cls(".".join(module), factor, adapter)
        return None

    @property
    def wrappers(self) -> set[str]:
        return WRAPPERS.intersection(self.module.split("."))

    @property
    def unwrapped(self) -> str:
        return ".".join(part for part in self.module.split(".") if part not in WRAPPERS)


@dataclass(frozen=True)
class Renamed:
    """New names by old ones, of those that change, and what is to be said of it."""

    names: Mapping[str, str]
    said: tuple[str, ...] = ()


def renamed(names: Sequence[str], layers: Layers, patterns: Sequence[object]) -> Renamed:
    """`names` as PEFT would save them for this base; nothing changes where that is not beyond doubt.

    `patterns` are the configuration's rank_pattern and alpha_pattern: a layer must not leave or enter one.
    """
    new, of = {}, {}
    for name in names:
        factor = Factor.parse(name)
        module = layers.find(factor.module) if factor else None
        if factor is None or module is None:
            continue
        if f"{PREFIX}{module}.{factor.factor}.weight" != name:
            new[name], of[name] = f"{PREFIX}{module}.{factor.factor}.weight", factor
            trained = factor.unwrapped.removeprefix(PREFIX)  # the name that PEFT held against the patterns
            if not all(_means_the_same(pattern, trained, module) for pattern in patterns):
                return Renamed({})
    one_each = len({new.get(name, name) for name in names}) == len(names)
    one_adapter = len({factor.adapter for factor in of.values()} - {None}) <= 1
    return Renamed(new, tuple(_said(new, of))) if one_each and one_adapter else Renamed({})


def _tail(parts: Sequence[str]) -> tuple[str, ...] | None:
    """From `layers` on, when only HEADS stand before it."""
    if "layers" not in parts:
        return None
    start = parts.index("layers")
    return tuple(parts[start:]) if HEADS.issuperset(parts[:start]) else None


def _means_the_same(pattern: object, before: str, after: str) -> bool:
    if not isinstance(pattern, dict) or before == after:
        return True
    # With more keys than that it is refused anyway, and need not be searched for each tensor.
    return len(pattern) <= MOST_PATTERNS and first_match(pattern, before, None) == first_match(
        pattern, after, None
    )


def _said(new: Mapping[str, str], of: Mapping[str, Factor]) -> Iterable[str]:
    named = [factor.adapter for factor in of.values() if factor.adapter is not None]
    if named:
        yield f"{len(named)} tensor names held the adapter's own name {shown(named[0])}; it is left out"
    wrapped = [factor for factor in of.values() if factor.wrappers]
    if wrapped:
        which = ", ".join(sorted(set().union(*(factor.wrappers for factor in wrapped))))
        yield f"{len(wrapped)} tensor names held the name of a wrapper ({which}); it is left out"
    moved = [name for name, factor in of.items() if not new[name].startswith(f"{factor.unwrapped}.lora_")]
    if moved:
        first = moved[0]
        yield (
            f"{len(moved)} tensor names had another beginning than this base's layers have: "
            f"{shown(first)} became {shown(new[first])}"
        )
