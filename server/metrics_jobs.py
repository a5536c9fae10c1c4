"""Jobs as metrics, read from the rows at scrape time: any server shows them, whichever worker trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from records.database import Database
from records.models import RUNNING, TERMINAL, UNFINISHED, Event, Job

MOST_JOBS = 32  # running jobs with series of their own
Data = Mapping[str, Any]
# metric name -> (help, its value from the data of a job's newest metrics event)
GAUGES: Mapping[str, tuple[str, Callable[[Data], float]]] = {
    "chorus_training_loss": ("Training loss of a running job.", lambda data: data["train_loss"]),
    "chorus_training_tokens_per_second": (
        "Tokens per second of a running job.",
        lambda data: data["tokens_per_second"],
    ),
    "chorus_training_progress_ratio": (
        "Share of a running job's steps that is done.",
        lambda data: data["step"] / data["total_steps"],
    ),
}


class JobCollector(Collector):
    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> list[Metric]:
        return []  # without it, registering would read rows

    def collect(self) -> Iterator[Metric]:
        with self._database.read() as session:
            counts = dict(session.execute(select(Job.status, func.count()).group_by(Job.status)).all())
            running = session.scalars(
                select(Job.id).where(Job.status == RUNNING).order_by(Job.seq).limit(MOST_JOBS)
            ).all()
            newest = (
                select(func.max(Event.seq))
                .where(Event.job_id.in_(running), Event.type == "metrics")
                .group_by(Event.job_id)
            )
            said = session.execute(select(Event.job_id, Event.data).where(Event.seq.in_(newest))).all()
        jobs = GaugeMetricFamily("chorus_jobs", "Fine-tuning jobs by status.", labels=["status"])
        for status in (*UNFINISHED, *TERMINAL):
            jobs.add_metric([status], counts.get(status, 0))
        yield jobs
        for name, (text, value) in GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=["job"])
            for job_id, data in said:
                with suppress(KeyError, TypeError, ZeroDivisionError):  # an event that does not tell it
                    gauge.add_metric([job_id], float(value(data)))
            yield gauge
