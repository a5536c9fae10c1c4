"""The folder of a built base: written beside its place and moved there file by file, with the sha256 of each.

Called by __main__, by tests and by whoever wants to know that `adapters/tiny` is what was built.
"""

import hashlib
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from training.tiny.recipe import Recipe

FOLDER = Path(__file__).parents[2] / "adapters" / "tiny"
MANIFEST = "manifest.json"
LARGEST = 12_000_000
"""Bytes that the weights may take in the repository."""


class Spoilt(Exception):
    """The folder is not what its manifest says; the text names the file."""


def digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    recipe: Recipe,
    folder: Path,
    figures: dict[str, float],
) -> None:
    """Saves everything that from_pretrained needs, and the manifest last."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        files = sorted(Path(made).iterdir())
        manifest = {
            "made_by": "python -m training.tiny",
            "python": platform.python_version(),
            "recipe": recipe.model_dump(mode="json", exclude={"checkpoint", "checkpoint_steps"}),
            "figures": {key: round(value, 3) for key, value in figures.items()},
            "sha256": {path.name: digest(path) for path in files},
        }
        (Path(made) / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        for path in [*files, Path(made) / MANIFEST]:
            path.chmod(0o644)
            path.replace(folder / path.name)


def check(folder: Path) -> dict[str, Any]:
    """The manifest of a folder whose files all match it; raises Spoilt otherwise."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Spoilt(f"{folder} has no readable {MANIFEST}: build it again with `make tiny`") from error
    for name, wanted in manifest["sha256"].items():
        path = folder / name
        if not path.is_file():
            raise Spoilt(f"{path} is missing: restore it from git or build it again with `make tiny`")
        if digest(path) != wanted:
            raise Spoilt(f"{path} is not the file that was built: restore it from git or run `make tiny`")
    if (folder / "model.safetensors").stat().st_size > LARGEST:
        raise Spoilt(f"{folder}/model.safetensors is larger than {LARGEST} bytes")
    return manifest
