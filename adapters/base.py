"""The base model: where it lies, its slug, and the hashes that tie an adapter to it.

`tiny` ships with the project, a local path and a hub id go through the same code. No torch here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TINY = Path(__file__).parent / "tiny"
WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BaseNotFound(ValueError):
    """The base model cannot be read; the text says where it was looked for."""


@dataclass(frozen=True)
class Base:
    """`slug` is the name that clients use; it has neither `/` nor `:`."""

    slug: str
    source: str
    path: Path
    config_sha256: str
    weights_sha256: str
    template_sha256: str

    @property
    def reads_as(self) -> str:
        """Equal for bases that make the same tokens of a conversation, and cut it at the same length."""
        return f"{self.template_sha256[:16]}{self.config_sha256[:16]}"

    @property
    def hashes(self) -> dict[str, str]:
        """All that a version must have been trained on to be served with this base, by what it is."""
        return {
            "configuration": self.config_sha256,
            "weights": self.weights_sha256,
            "chat template": self.template_sha256,
        }

    def differs(self, hashes: Mapping[str, str]) -> str | None:
        """What of this base is other than `hashes` say, or None."""
        return next((what for what, its in self.hashes.items() if hashes[what] != its), None)

    def is_named(self, model: str) -> bool:
        """Whether a client's `model` means this base: its slug, or the id it was started with."""
        return model in (self.slug, self.source)


def resolve(source: str, home: Path) -> Base:
    """Find (or fetch) the base model and hash it; weight hashes are remembered under `home`.

    Raises BaseNotFound.
    """
    name, path = _locate(source)
    return _read_base(_slug(name), source, path, home)


def glance(source: str) -> Base:
    """As `resolve`, at once: nothing is fetched, and nothing hashed. Raises BaseNotFound."""
    name, path = _locate(source, fetch=False)
    _weights(source, path)
    return Base(_slug(name), source, path, "", "", "")


def on_disk(base: Base, home: Path) -> Base:
    """`base` as its folder holds it by now; nothing is fetched. Raises BaseNotFound."""
    return _read_base(base.slug, base.source, base.path, home)


def _read_base(slug: str, source: str, path: Path, home: Path) -> Base:
    weights = _weights(source, path)
    return Base(
        slug=slug,
        source=source,
        path=path,
        config_sha256=_digest([path / "config.json"]),
        weights_sha256=_remembered(weights, home / "base-hashes.json"),
        template_sha256=_digest(_template_files(path)),
    )


def _weights(source: str, path: Path) -> list[Path]:
    if not (path / "config.json").is_file():
        raise BaseNotFound(f"Base model {source!r}: there is no config.json in {path}.")
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        raise BaseNotFound(f"Base model {source!r}: there is no *.safetensors file in {path}.")
    return weights


def _locate(source: str, *, fetch: bool = True) -> tuple[str, Path]:
    """(name to make a slug of, folder)."""
    if source == "tiny":
        return "tiny", TINY
    local = Path(source).expanduser()
    if local.is_dir():
        return local.resolve().name, local.resolve()
    try:
        from huggingface_hub import snapshot_download  # here: 0.2 s, and most starts have no use for it

        found = snapshot_download(source, allow_patterns=WANTED, local_files_only=not fetch)
        return source, Path(found)
    except Exception as error:
        raise BaseNotFound(
            f"Base model {source!r} is neither `tiny`, nor a folder, nor a hub model in reach: {error}"
        ) from error


def _slug(name: str) -> str:
    """`Qwen/Qwen3-4B` -> `qwen3-4b`."""
    return re.sub(r"[^a-z0-9.-]+", "-", name.rsplit("/", 1)[-1].lower()).strip("-.") or "base"


def _template_files(path: Path) -> list[Path]:
    """All that decides how messages become tokens."""
    names = ("chat_template.jinja", "tokenizer.json", "tokenizer.model", "tokenizer_config.json")
    return [path / name for name in names if (path / name).is_file()]


def _digest(files: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            total.update(f"{file.name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _remembered(weights: list[Path], cache: Path) -> str:
    """`_digest`, kept by size and time of change: 8 GB take 20 s to read, and a start must not."""
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in weights]
    key = hashlib.sha256(json.dumps(stats).encode()).hexdigest()
    known = _read(cache).get(key)
    if known is None:
        known = _digest(weights)
        _write(cache, {key: known})
    return known


def _read(cache: Path) -> dict[str, str]:
    """What is remembered; nothing where the file is not there or a crash has left it empty or torn."""
    try:
        known = json.loads(cache.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {key: digest for key, digest in known.items() if _SHA256.fullmatch(str(digest))}


def _write(cache: Path, known: dict[str, str]) -> None:
    """Whole or not at all; a server and a worker that start at once have a draft each."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent, prefix=f"{cache.stem}-") as folder:
        draft = Path(folder) / cache.name
        with draft.open("w") as stream:
            json.dump(known, stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(cache)
