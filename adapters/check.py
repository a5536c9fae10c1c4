"""The admission check: what must hold before an adapter may reach the engine, also one of our own training.

One bad file can end the engine for every tenant, and vLLM checks neither names, nor base, nor values. What
cannot be seen here: a damaged number that is still a plausible one. Our own versions are named by their
content, so `expected_sha256` finds that; of an import it is found only when the sender gives the digest.
Called by the cli, by imports and by training before it publishes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from adapters import lora_config, members, shapes, values
from adapters.base import Base
from adapters.content import combined
from adapters.json_object import read_object
from adapters.lora_config import LoraConfig
from adapters.manifest import CONFIG, FILE, WEIGHTS, Manifest
from adapters.refused import Code, Refused, shown
from adapters.safetensors_header import read_header


@dataclass(frozen=True)
class Admitted:
    """What was found. `sha256` is of each file by name, `content_sha256` the address of all (content.py)."""

    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    tensors: int
    bytes: int
    sha256: Mapping[str, str]
    content_sha256: str
    warnings: tuple[str, ...]


def admit(
    folder: Path,
    base: Base,
    *,
    max_rank: int,
    expected_sha256: str | None = None,
) -> Admitted:
    """Read `folder` and say what it holds, or raise Refused; nothing else is raised, nothing is changed.

    A manifest that is there must fit `base`; without one, as in an import, an adapter of another model with
    layers of the same sizes cannot be told from one of this base.
    """
    try:
        return _admit(folder, base, max_rank, expected_sha256)
    except OSError as error:
        raise Refused(Code.UNREADABLE, f"The files cannot be read ({error.strerror})") from error


def _admit(folder: Path, base: Base, max_rank: int, expected: str | None) -> Admitted:
    with members.opened(folder) as files:
        small = {name: file.read(members.SMALL + 1) for name, file in files.items() if name != WEIGHTS}
        config = lora_config.read(small[CONFIG], max_rank)
        if FILE in small:
            _check_manifest(small[FILE], config, base)
        pairs = shapes.expected(config, base)
        header = read_header(files[WEIGHTS])
        shapes.compare(header.tensors, pairs)
        found = values.measure(files[WEIGHTS], header)
    sha256 = {name: hashlib.sha256(raw).hexdigest() for name, raw in small.items()} | {WEIGHTS: found.sha256}
    content = combined(sha256)
    if expected is not None and content != expected:
        raise Refused(Code.CONTENT_CHANGED, f"Its content is {content[:8]}, not {shown(expected[:8])}")
    return Admitted(
        rank=max(pair.rank for pair in pairs),
        alpha=config.lora_alpha,
        target_modules=tuple(sorted({pair.module.rsplit(".", 1)[-1] for pair in pairs})),
        tensors=len(header.tensors),
        bytes=header.size + sum(map(len, small.values())),
        sha256=sha256,
        content_sha256=content,
        warnings=(*values.judge(found.peaks, pairs), *_doubts(config, base, pairs)),
    )


def _check_manifest(raw: bytes, config: LoraConfig, base: Base) -> None:
    try:
        manifest = Manifest.model_validate(read_object(raw, FILE, Code.BAD_MANIFEST))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(Code.BAD_MANIFEST, f"{shown(where)} in {FILE} is wrong ({first['msg']})") from None
    problem = manifest.fits(base)
    if problem is not None:
        raise Refused(Code.OTHER_BASE, problem.rstrip("."))
    said = (manifest.rank, manifest.alpha, sorted(manifest.target_modules))
    if said != (config.r, config.lora_alpha, sorted(config.target_modules)):
        raise Refused(Code.BAD_MANIFEST, f"{FILE} and {CONFIG} differ in rank, alpha or target_modules")


def _doubts(config: LoraConfig, base: Base, pairs: list[shapes.Pair]) -> list[str]:
    made_for, found = config.base_model_name_or_path, []
    if made_for and not base.is_named(made_for) and made_for.rsplit("/", 1)[-1].lower() != base.slug:
        found.append(f"It says that it was trained on {shown(made_for)}, not on {base.slug!r}")
    unknown = shapes.unknown_targets(config, pairs)
    if unknown:
        found.append(f"target_modules names what this base does not have: {shown(', '.join(unknown))}")
    return found
