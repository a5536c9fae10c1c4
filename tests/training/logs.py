"""Reads back what trackers have written, by the formats of TensorBoard and of Weights & Biases."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

if TYPE_CHECKING:
    from wandb.proto.wandb_internal_pb2 import Record

Steps = dict[int, dict[str, float]]
BLOCK, HEADER = 32 * 1024, 7


def tensorboard(folder: Path) -> Steps:
    """Figures by step. Fails on a step that is there twice, in whatever file."""
    found: Steps = {}
    for path in sorted(folder.glob("*tfevents*")):
        for record in _tf_records(path.read_bytes()):
            event = Event.FromString(record)
            if event.HasField("summary"):
                assert event.step not in found, "no step is there twice"
                found[event.step] = {value.tag: value.simple_value for value in event.summary.value}
    return found


def _tf_records(content: bytes) -> Iterator[bytes]:
    """Length, the length's checksum, record, its checksum (tensorflow/core/lib/io/record_writer.h)."""
    at = 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        record = content[at + 12 : at + 12 + length]
        checksums = struct.unpack_from("<I", content, at + 8) + struct.unpack_from(
            "<I", content, at + 12 + length
        )
        assert checksums == (masked_crc32c(content[at : at + 8]), masked_crc32c(record))
        yield record
        at += 16 + length


def wandb_offline(folder: Path) -> list[Record]:
    """The records of the one offline run in a folder."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    return [Record.FromString(record) for record in _log_records(path.read_bytes())]


def history(records: list[Record]) -> Steps:
    """Figures by step, without what W&B adds. Fails on a step that is there twice."""
    found: Steps = {}
    for record in records:
        if record.HasField("history"):
            row = {
                item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item
            }
            step = record.history.step.num
            assert step not in found, "no step is there twice"
            found[step] = {name: value for name, value in row.items() if not name.startswith("_")}
    return found


def _log_records(content: bytes) -> Iterator[bytes]:
    """LevelDB's log format behind a head of seven bytes: blocks of 32 KiB with records or pieces of them."""
    assert content[:4] == b":W&B"
    at, pieces = HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        pieces += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # whole, or the last piece
            yield pieces
            pieces = b""
