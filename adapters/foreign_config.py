"""What adapter_config.json says in other words than the check reads, put in those words.

A pattern is never run (it comes from whoever sends the adapter): the tensors say which layers it meant, and
only when they are all the layers of that kind, as nothing else would tell that some are missing. Called by
repair.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.foreign_names import Layers
from adapters.lora_config import ends
from adapters.refused import shown
from adapters.safetensors_header import Tensor
from adapters.shapes import PREFIX, is_served

LISTS = ("target_modules", "exclude_modules")


@dataclass
class Changes:
    """New values by key, and what is to be said of each."""

    values: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


def changes(
    config: Mapping[str, Any],
    tensors: Sequence[Tensor],
    dropped: Sequence[Tensor],
    modules: Collection[str],
    layers: Layers,
    moved: bool,
) -> Changes:
    """`tensors` have their new names, `dropped` are whole layers that equal the base's; `modules` are all the
    matrices of the base; `moved`: tensors were renamed."""
    made = Changes()
    _whole_layers(config, dropped, made)
    if any(isinstance(config.get(name), str) for name in LISTS):
        _literal(config, tensors, modules, made)
    elif moved:
        _renamed(config, layers, made)
    return made


def _whole_layers(config: Mapping[str, Any], dropped: Sequence[Tensor], made: Changes) -> None:
    """modules_to_save: each layer that it names is in the file and equals the base's."""
    names = config.get("modules_to_save")
    if not isinstance(names, list) or not names:
        return
    there = set().union(*(ends(tensor.name.removesuffix(".weight")) for tensor in dropped))
    if all(isinstance(name, str) and name in there for name in names):
        made.values["modules_to_save"] = None
        made.said.append("modules_to_save named layers that are those of the base; it is null now")


def _literal(
    config: Mapping[str, Any], tensors: Sequence[Tensor], modules: Collection[str], made: Changes
) -> None:
    """A pattern in target_modules or exclude_modules; with layers_to_transform PEFT takes none."""
    found = _all_of_a_kind({tensor.name for tensor in tensors}, modules)
    if not found or config.get("layers_to_transform") is not None:
        return
    was = next(config[name] for name in LISTS if isinstance(config.get(name), str))
    made.values["target_modules"] = found
    if config.get("exclude_modules"):
        made.values["exclude_modules"] = None
    made.said.append(
        f"target_modules names the layers that have tensors, {shown(', '.join(found))}, "
        f"where there was a pattern: {shown(was)}"
    )


def _all_of_a_kind(names: Collection[str], modules: Collection[str]) -> list[str] | None:
    """Literal target_modules that mean the layers of these tensors, when the file has both factors of each,
    nothing else, and every layer of the base that is of such a kind; else None."""
    adapted = {
        name.removeprefix(PREFIX).removesuffix(".lora_A.weight") for name in names if ".lora_A." in name
    }
    wanted = {f"{PREFIX}{module}.{factor}.weight" for module in adapted for factor in ("lora_A", "lora_B")}
    kinds = {module.rsplit(".", 1)[-1] for module in adapted}
    alike = {module for module in modules if module.rsplit(".", 1)[-1] in kinds}
    if wanted != set(names) or adapted != {module for module in alike if is_served(module)}:
        return None
    return sorted(kinds if alike == adapted else adapted)


def _renamed(config: Mapping[str, Any], layers: Layers, made: Changes) -> None:
    """Whole names in the lists follow the tensors' names."""
    for key in LISTS:
        names = config.get(key)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            continue
        new = [layers.find(name) or name for name in names]
        if new != names:
            made.values[key] = new
            changed = next(name for name, other in zip(names, new, strict=True) if name != other)
            made.said.append(f"{key} names layers as this base does, {shown(changed)} no longer")
