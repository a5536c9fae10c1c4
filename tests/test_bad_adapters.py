"""The corpus of bad adapters thrown at a live server: each is refused by its code, nobody else notices."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import Stream
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from adapters import base as bases
from adapters import imported
from adapters.base import Base
from adapters.manifest import CONFIG, WEIGHTS
from adapters.refused import Refused
from records.audit import By
from records.database import Database
from records.settings import Settings, load
from tests.adapters.bad_adapters import BAD, good, make
from tests.live import LiveServer
from tests.patience import PATIENCE
from tests.rounding import STRENGTH, allowed_on, apart, assert_clear, question

pytestmark = pytest.mark.engine

LARGEST = Settings.model_fields["max_file_bytes"].default
FOREIGN = [name for name, bad in BAD.items() if not bad.own]  # a stranger sends no manifest


def can_be_sent(folder: Path) -> bool:
    """Whether the folder is two plain files that an upload may hold."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    found = {path.name: path.lstat() for path in folder.iterdir()}
    return found.keys() == {CONFIG, WEIGHTS} and all(
        stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_size <= LARGEST
        for status in found.values()
    )


def stream(server: LiveServer, model: str) -> dict[str, Any]:
    """A greedy answer, streamed to its end, to be compared with others; raises where it breaks off."""
    chunks = server.client().post(
        "/chat/completions",
        body={**question(), "model": model, "stream": True},
        cast_to=ChatCompletion,
        stream=True,
        stream_cls=Stream[ChatCompletionChunk],
    )
    choices = [chunk.choices[0] for chunk in chunks]
    assert choices[-1].finish_reason is not None
    steps = [step.model_dump() for choice in choices if choice.logprobs for step in choice.logprobs.content]
    assert steps
    return {"choices": [{"logprobs": {"content": steps}}]}


@contextmanager
def streaming(server: LiveServer, model: str) -> Iterator[list[dict[str, Any]]]:
    """One stream after the other in a thread, for as long as the block lasts; gives what they said."""
    said: list[dict[str, Any]] = []
    broken: list[Exception] = []
    over = threading.Event()

    def go_on() -> None:
        try:
            while not over.is_set():
                said.append(stream(server, model))
        except Exception as error:
            broken.append(error)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield said
    finally:
        over.set()
        thread.join()
    assert not broken, broken


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return bases.resolve("tiny", tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, base: Base) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("corpus")
    template = good(root / "good")
    return {name: make(name, template, root / str(at), base).folder for at, name in enumerate(FOREIGN)}


def test_no_bad_upload_harms_the_engine_or_a_stream_beside_it(
    live_server: LiveServer, corpus: dict[str, Path]
) -> None:
    """What is no loss to repair is repaired and said; such a version answers."""
    steady = live_server.publish("steady", 3, strength=STRENGTH)
    limit, expected = allowed_on(live_server), stream(live_server, steady)
    assert_clear([expected, stream(live_server, "tiny")], limit)
    headers = {"Authorization": f"Bearer {live_server.api_key}"}
    before = _engine_failures(live_server)
    refused = repaired = 0
    with streaming(live_server, steady) as said:
        for name, folder in corpus.items():
            if not can_be_sent(folder):
                continue  # nothing of that can be sent; the next test has it
            paths = {"config": folder / CONFIG, "weights": folder / WEIGHTS}
            with paths["config"].open("rb") as config, paths["weights"].open("rb") as weights:
                answer = httpx.post(
                    f"{live_server.base_url}/adapters", headers=headers, timeout=PATIENCE,
                    files={"config": config, "weights": weights}, data={"brand": "bad"},
                )  # fmt: skip
            if answer.status_code == 200:
                assert answer.json()["repairs"], name
                assert stream(live_server, answer.json()["id"])
                repaired += 1
                continue
            assert answer.status_code == 400, (name, answer.text)
            error = answer.json()["error"]
            assert error["code"] == BAD[name].code, (name, error)
            assert error["param"] in paths, (name, error)
            refused += 1
    print(f"{refused} refused, {repaired} repaired, {len(said)} streams beside them")
    assert refused >= 100
    assert said
    assert max(apart(one, expected) for one in said) < limit
    assert _engine_failures(live_server) == before


def test_no_bad_folder_on_the_servers_disk_becomes_a_version(
    live_server: LiveServer, corpus: dict[str, Path], base: Base
) -> None:
    """As `chorus adapters import` takes them in beside the running server: links, missing files and all."""
    steady = live_server.publish("steady", 3, strength=STRENGTH)
    limit, expected = allowed_on(live_server), stream(live_server, steady)
    database = Database(load(home=live_server.home).url)
    names = [name for name, folder in corpus.items() if not can_be_sent(folder)]
    assert names
    with streaming(live_server, steady) as said:
        for name in names:
            with pytest.raises(Refused) as caught:
                imported.take_in(
                    database, live_server.home, corpus[name], base,
                    tenant="acme", brand="bad", max_rank=32, promote=True, by=By("test"),
                )  # fmt: skip
            assert caught.value.code == BAD[name].code, name
    database.close()
    assert all(apart(one, expected) < limit for one in [*said, stream(live_server, steady)])


def _engine_failures(server: LiveServer) -> list[str]:
    found = [
        line for line in server.metrics().splitlines() if line.startswith("chorus_engine_failures_total")
    ]
    assert found
    return found
