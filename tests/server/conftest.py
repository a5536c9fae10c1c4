"""A whole server on the fake engine, behind a real socket, with the real `openai` client in front of it."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from openai import OpenAI
from safetensors.numpy import save as as_bytes

from adapters import publish, rollout
from adapters.base import Base, resolve
from adapters.manifest import CONFIG, WEIGHTS, Manifest
from adapters.proof import Proof
from adapters.reference import Reference
from records import jobs, tenants
from records.audit import By
from records.database import Database
from records.models import SUCCEEDED, Job, new_id
from records.settings import Settings
from server.app import create_app
from server.engine.fake import FakeEngine
from server.house import House
from tests.patience import PATIENCE

EXAMPLE = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Good day."}]}
TRAINING = b"".join(json.dumps(EXAMPLE).encode() + b"\n" for _ in range(12))


@dataclass
class Running:
    """A server in a thread of this process; `keys` by tenant."""

    app: FastAPI
    root: str
    keys: dict[str, str]
    _clients: dict[str, OpenAI] = field(default_factory=dict)
    _https: dict[str | None, httpx.Client] = field(default_factory=dict)

    @property
    def house(self) -> House:
        found: House = self.app.state.house
        return found

    @property
    def engine(self) -> FakeEngine:
        engine = self.house.engine.engine
        assert isinstance(engine, FakeEngine)
        return engine

    def client(self, tenant: str = "acme") -> OpenAI:
        if tenant not in self._clients:
            self._clients[tenant] = OpenAI(
                base_url=f"{self.root}/v1", api_key=self.keys[tenant], timeout=PATIENCE, max_retries=0
            )
        return self._clients[tenant]

    def http(self, tenant: str | None = "acme") -> httpx.Client:
        if tenant not in self._https:
            headers = {"Authorization": f"Bearer {self.keys[tenant]}"} if tenant else {}
            self._https[tenant] = httpx.Client(
                base_url=self.root, headers=headers, timeout=PATIENCE, verify=False
            )
        return self._https[tenant]

    def upload(self, tenant: str = "acme", content: bytes = TRAINING, purpose: Any = "fine-tune") -> str:
        return self.client(tenant).files.create(file=("train.jsonl", content), purpose=purpose).id

    def job(self, brand: str = "", tenant: str = "acme", status: str = SUCCEEDED, **values: Any) -> str:
        """A job's row as if a worker had brought it to `status`; gives back its id."""
        values = {
            "metadata_": None,
            "result_files": [],
            "hyperparameters": {},
            "model": self.house.base.slug,
            **values,
        }
        row = Job(
            id=new_id("ftjob-"),
            tenant=tenant,
            brand=brand,
            status=status,
            created_at=int(time.time()),
            training_file="file-gone",
            seed=1,
            requested={},
            request_sha256="0" * 64,
            **values,
        )
        with self.house.database.write() as session:
            jobs.add(session, row)
            return row.id

    def publish(
        self,
        brand: str,
        tenant: str = "acme",
        seed: int = 0,
        step: int | None = None,
        proof: Callable[[str], Proof | None] | None = None,
        **manifest: Any,
    ) -> str:
        """A version as the worker would publish it: folder first, then its row; gives back its name.

        It goes live at once, as if it had been proven; with `proof`, which makes the trainer's figures of a
        name, only when a server has proven it.
        """
        job_id = self.job(brand, tenant)
        given = {**manifest_of(self.house.base), "job_id": job_id, "seed": seed, **manifest}
        made = Manifest(**given, step=10 if step is None else step)
        home = self.house.settings.home
        draft = home / f"draft-{job_id}"
        draft.mkdir()
        (draft / CONFIG).write_text("{}")
        (draft / WEIGHTS).write_bytes(brand.encode())
        sha256 = publish.store(home, draft, made)
        kept = proof(str(Reference(made.base, tenant, brand, sha256, step))) if proof else None
        with self.house.database.write() as session:
            row = publish.record(
                session, made, sha256, tenant=tenant, brand=brand, checkpoint=step is not None,
                proof=kept.model_dump() if kept else None,
            )  # fmt: skip
            row.proved_at = None if proof else 1
            if step is None:
                rollout.arrived(session, row, By(f"job:{job_id}"))
            return row.name


def manifest_of(base: Base) -> dict[str, Any]:
    return {
        "base": base.slug,
        "base_config_sha256": base.config_sha256,
        "base_weights_sha256": base.weights_sha256,
        "template_sha256": base.template_sha256,
        "rank": 8,
        "alpha": 16.0,
        "target_modules": ["q_proj"],
        "seed": 1,
        "training_sha256": "0" * 64,
        "validation_sha256": None,
        "hyperparameters": {},
        "metrics": {},
        "code_version": "test",
    }


def until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for something that another thread does; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


@pytest.fixture(scope="module", autouse=True)
def _threads_of_lora(request: pytest.FixtureRequest) -> Iterator[None]:
    """The LoRA products are shared among threads, whatever `make test` says to OpenMP."""
    if not Path(request.module.__file__).name.startswith("test_lora"):
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A database with two tenants, to copy from: migrations run once; and the tenants' keys."""
    home = tmp_path_factory.mktemp("prepared")
    database = Database(Settings(home=home).url)
    database.prepare()
    with database.write() as session:
        keys = {name: tenants.create(session, name) for name in ("acme", "rival")}
    database.close()
    return home / "chorus.db", keys


class Stage:
    """Starts servers that share one home, and stops them."""

    def __init__(self, folder: Path, prepared: tuple[Path, dict[str, str]]) -> None:
        self.folder, self.prepared = folder, prepared
        self.started: list[tuple[uvicorn.Server, threading.Thread]] = []

    def __call__(
        self,
        engine: FakeEngine | None = None,
        *,
        ready: bool = True,
        base: Base | None = None,
        **given: Any,
    ) -> Running:
        """A server with these settings; with `ready`, it chats on return."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        database_file, keys = self.prepared
        if not (home / "chorus.db").exists():
            shutil.copy(database_file, home)
        config = Settings(home=home, **given)
        database = Database(config.url)
        app = create_app(config, engine or FakeEngine(), database, base or a_base(self.folder))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=3))

        def run() -> None:
            server.run()
            database.close()

        thread = threading.Thread(target=run)
        thread.start()
        self.started.append((server, thread))
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        running = Running(app, f"http://127.0.0.1:{port}", keys)
        if ready:
            until(lambda: running.house.keeper.ready)
        return running

    def ask_to_stop(self) -> list[threading.Thread]:
        for server, _ in self.started:
            server.should_exit = True
        return [thread for _, thread in self.started]

    def stop(self) -> None:
        for thread in self.ask_to_stop():
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the server did not stop"


@pytest.fixture(scope="session")
def stopping() -> Iterator[list[threading.Thread]]:
    """Servers on their way out: nobody waits for one, but by the end all must have stopped."""
    threads: list[threading.Thread] = []
    yield threads
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a server did not stop"


@pytest.fixture
def serve(
    tmp_path: Path, prepared: tuple[Path, dict[str, str]], stopping: list[threading.Thread]
) -> Iterator[Stage]:
    stage = Stage(tmp_path, prepared)
    yield stage
    stopping += stage.ask_to_stop()


@pytest.fixture
def server(serve: Stage) -> Running:
    return serve()


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, prepared: tuple[Path, dict[str, str]]
) -> Iterator[Running]:
    """One server for a module's tests of what is refused, which leave nothing behind."""
    stage = Stage(tmp_path_factory.mktemp("shared"), prepared)
    yield stage()
    stage.stop()


def a_base(folder: Path) -> Base:
    """A base model that only the fake engine can run: one layer, which an adapter may change."""
    path = folder / "base"
    if not path.exists():
        path.mkdir()
        (path / "config.json").write_text("{}")
        (path / "chat_template.jinja").write_text("{{ messages }}")
        layer = {"model.layers.0.self_attn.q_proj.weight": np.zeros((8, 8), np.float32)}
        (path / "model.safetensors").write_bytes(as_bytes(layer))
    return replace(resolve(str(path), folder), slug="tiny", source="tiny")
