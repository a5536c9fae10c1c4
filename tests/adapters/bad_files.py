"""Bad folders: what is there, what is missing, and what is not what it seems."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import torch

from adapters.manifest import CONFIG, WEIGHTS
from adapters.refused import Code
from tests.adapters.spoil import Bad, Spoil


def _beside(name: str, content: bytes = b"{}") -> Spoil:
    return lambda folder: (folder / name).write_bytes(content)


def _empty(folder: Path) -> None:
    for name in (CONFIG, WEIGHTS):
        (folder / name).unlink()


def _cut(keep: float, name: str = WEIGHTS) -> Spoil:
    """Keep this share of the file; a whole number is a count of bytes, negative from the end."""

    def cut(folder: Path) -> None:
        size = (folder / name).stat().st_size
        os.truncate(
            folder / name, keep + (size if keep < 0 else 0) if isinstance(keep, int) else int(size * keep)
        )

    return cut


def _symlink(name: str) -> Spoil:
    def link(folder: Path) -> None:
        (folder / name).rename(folder.parent / f"{folder.name}-{name}")
        (folder / name).symlink_to(folder.parent / f"{folder.name}-{name}")

    return link


def _outward(target: str) -> Spoil:
    def link(folder: Path) -> None:
        (folder / CONFIG).unlink()
        (folder / CONFIG).symlink_to(target)

    return link


def _folder_is_a_link(folder: Path) -> None:
    folder.rename(folder.with_name(f"{folder.name}-real"))
    folder.symlink_to(f"{folder.name}-real")


def _replaced(name: str, make: Spoil) -> Spoil:
    def replace(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return replace


def _renamed(old: str, new: str) -> Spoil:
    return lambda folder: (folder / old).rename(folder / new)


def _many(folder: Path) -> None:
    for number in range(1000):
        (folder / f"{number:04}").touch()


def _folder_is_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


def _readme_of_a_gigabyte(folder: Path) -> None:
    (folder / "README.md").touch()
    os.truncate(folder / "README.md", 1 << 30)


FILES = {
    "no folder": Bad(Code.FOLDER_MISSING, shutil.rmtree),
    "a file in place of the folder": Bad(Code.FOLDER_MISSING, _folder_is_a_file),
    "an empty folder": Bad(Code.FILE_MISSING, _empty),
    "no weights": Bad(Code.FILE_MISSING, lambda folder: (folder / WEIGHTS).unlink()),
    "no configuration": Bad(Code.FILE_MISSING, lambda folder: (folder / CONFIG).unlink()),
    "weights of no byte": Bad(Code.TRUNCATED, _cut(0)),
    "half written weights": Bad(Code.TRUNCATED, _cut(0.5)),
    "the last byte is missing": Bad(Code.TRUNCATED, _cut(-1)),
    "cut within the header": Bad(Code.TRUNCATED, _cut(100)),
    "cut within the length": Bad(Code.TRUNCATED, _cut(7)),
    "half written configuration": Bad(Code.BAD_JSON, _cut(0.5, CONFIG)),
    "configuration of no byte": Bad(Code.BAD_JSON, _cut(0, CONFIG)),
    "a draft's name is left": Bad(Code.EXTRA_FILE, _renamed(WEIGHTS, f"{WEIGHTS}.tmp")),
    "adapter_model.bin only": Bad(Code.PICKLE, _renamed(WEIGHTS, "adapter_model.bin")),
    "adapter_model.bin beside": Bad(Code.PICKLE, _beside("adapter_model.bin", pickle.dumps({}))),
    "adapter_model.pt beside": Bad(Code.PICKLE, _beside("adapter_model.pt")),
    "training_args.bin beside": Bad(Code.PICKLE, _beside("training_args.bin", pickle.dumps({}))),
    "OPTIMIZER.PT beside": Bad(Code.PICKLE, _beside("OPTIMIZER.PT")),
    "a pickle under the right name": Bad(
        Code.HEADER_TOO_LARGE, _beside(WEIGHTS, pickle.dumps(list(range(99))))
    ),
    "a torch archive under the right name": Bad(
        Code.HEADER_TOO_LARGE, lambda folder: torch.save({"x": torch.ones(9)}, folder / WEIGHTS)
    ),
    "weights by symlink": Bad(Code.LINK, _symlink(WEIGHTS)),
    "configuration by symlink": Bad(Code.LINK, _symlink(CONFIG)),
    "an absolute symlink out of the folder": Bad(Code.LINK, _outward("/etc/passwd")),
    "a symlink with ..": Bad(Code.LINK, _outward("../../../etc/passwd")),
    "a symlink to nothing": Bad(Code.LINK, _outward("nothing")),
    "the folder is a symlink": Bad(Code.LINK, _folder_is_a_link),
    "weights by hard link": Bad(
        Code.LINK, lambda folder: os.link(folder / WEIGHTS, folder.parent / f"{folder.name}-{WEIGHTS}")
    ),
    "a folder in place of the weights": Bad(Code.NOT_A_FILE, _replaced(WEIGHTS, lambda path: path.mkdir())),
    "a FIFO in place of the weights": Bad(Code.NOT_A_FILE, _replaced(WEIGHTS, os.mkfifo)),
    "a device's link in place of the weights": Bad(
        Code.LINK, _replaced(WEIGHTS, lambda path: path.symlink_to("/dev/zero"))
    ),
    "a folder beside": Bad(Code.EXTRA_FILE, lambda folder: (folder / "tokenizer").mkdir()),
    "code beside": Bad(Code.EXTRA_FILE, _beside("modeling.py")),
    "a tokenizer beside": Bad(Code.EXTRA_FILE, _beside("tokenizer.json")),
    "a name that looks alike": Bad(Code.EXTRA_FILE, _beside("\u0430dapter_config.json")),
    "a name written from right to left": Bad(Code.EXTRA_FILE, _beside("adapter_config\u202enosj.json")),
    "a name in another case": Bad(Code.EXTRA_FILE, _beside("Adapter_Config.json")),
    "a name of dots": Bad(Code.EXTRA_FILE, _beside("..adapter_config.json")),
    "a name that is no text": Bad(Code.EXTRA_FILE, _beside("adapter\udcff.json")),
    "a thousand files beside": Bad(Code.EXTRA_FILE, _many),
    "a configuration of a gigabyte": Bad(Code.FILE_TOO_LARGE, _cut(1 << 30, CONFIG)),
    "a README of a gigabyte": Bad(Code.FILE_TOO_LARGE, _readme_of_a_gigabyte),
}
