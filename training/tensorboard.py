"""A job's steps as an event file for TensorBoard.

tensorboardX's SummaryWriter is not used: it writes from a thread, and when that has died of a full disk the
training waits for it for ever.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from training.point import Point

FLUSH_SECONDS = 5.0  # as often as TensorBoard looks; each is an fsync


class EventFile:
    """The file of one attempt, in place of those of the attempts before. `fence` keeps two names apart."""

    def __init__(self, folder: Path, fence: int) -> None:
        """Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self.before = list(folder.glob("events.out.tfevents.*"))
        self.writer = EventsWriter(str(folder / "events"), f".{fence}")
        self.flushed = 0.0
        # A TensorBoard that has read an earlier file drops what it has from there.
        self.writer.write_event(
            Event(wall_time=time.time(), step=0, session_log=SessionLog(status=SessionLog.START))
        )

    def log(self, points: Sequence[Point]) -> None:
        """Raises OSError."""
        for point in points:
            values = [Summary.Value(tag=tag, simple_value=value) for tag, value in point.figures.items()]
            self.writer.write_event(Event(wall_time=point.at, step=point.step, summary=Summary(value=values)))
        if time.monotonic() - self.flushed >= FLUSH_SECONDS:
            self._flush()

    def close(self, *, completed: bool) -> None:
        """Raises OSError."""
        self._flush()
        self.writer.close()

    def _flush(self) -> None:
        self.writer.flush()
        self.flushed = time.monotonic()
        while self.before:
            # Not removed: a TensorBoard that is reading there would wait for it.
            self.before.pop().write_bytes(b"")
