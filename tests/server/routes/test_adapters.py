"""Imports through HTTP: a PEFT adapter that is sent becomes a version; what is wrong with it has a code."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from adapters import imported, publish
from adapters.base import TINY, Base
from adapters.manifest import CONFIG, WEIGHTS
from adapters.refused import Code
from bench.adapters import random_adapter
from records.models import Audit, Version
from server.engine.base import AdapterRefused
from server.engine.base import Version as Loaded
from server.engine.fake import FakeEngine
from tests.adapters.bad_adapters import BAD, good, make
from tests.adapters.spoil import config, renamed
from tests.server.conftest import Running, Stage, a_base, until
from tests.server.proofs import Bare

HELLO: Any = [{"role": "user", "content": "hello there"}]
ROUTE = "/v1/adapters"


def with_layers(folder: Path) -> Base:
    """A base whose layers can be read, which the fake engine runs."""
    return replace(a_base(folder), path=TINY)


@pytest.fixture
def server(serve: Stage, tmp_path: Path) -> Running:
    return serve(base=with_layers(tmp_path))


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory, prepared: Any) -> Any:
    """One server for all that is refused."""
    folder = tmp_path_factory.mktemp("refusing")
    stage = Stage(folder, prepared)
    yield stage(base=with_layers(folder), max_file_bytes=4_000_000)
    stage.stop()


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return good(tmp_path / "adapter")


def send(server: Running, folder: Path, tenant: str = "acme", **fields: str) -> httpx.Response:
    files = {
        "config": (CONFIG, (folder / CONFIG).read_bytes()),
        "weights": (WEIGHTS, (folder / WEIGHTS).read_bytes()),
    }
    return server.http(tenant).post(ROUTE, files=files, data={"brand": "luxe", **fields})


def taken_in(server: Running, folder: Path, tenant: str = "acme", **fields: str) -> dict[str, Any]:
    answer = send(server, folder, tenant, **fields)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def error(answer: httpx.Response, status: int = 400) -> tuple[Any, Any]:
    """(param, code) of an error in OpenAI's shape."""
    assert answer.status_code == status, answer.text
    said = answer.json()["error"]
    assert said["type"] == "invalid_request_error"
    assert said["message"].isascii()
    return said["param"], said["code"]


def answering(server: Running, model: str = "luxe", tenant: str = "acme") -> str:
    return server.client(tenant).chat.completions.create(model=model, messages=HELLO).model


def test_an_adapter_that_is_sent_answers_under_its_own_name_and_its_brands(
    server: Running, adapter: Path
) -> None:
    shown = taken_in(server, adapter)
    assert shown.pop("created_at") > 0
    name = shown.pop("id")
    assert name.startswith("ft:tiny:acme:luxe:")
    assert shown == {
        "object": "adapter", "brand": "luxe", "base": "tiny", "rank": 8, "live": True, "pending": False,
        "repairs": [], "warnings": [],
    }  # fmt: skip
    assert answering(server, name) == answering(server) == name
    assert name in {model.id for model in server.client().models.list()}
    assert server.http().get("/v1/brands/luxe").json()["live"] == name


def test_what_was_repaired_and_what_is_doubtful_is_said(server: Running, adapter: Path) -> None:
    renamed(lambda name: name.removeprefix("base_model.model."))(adapter)
    config(target_modules="all-linear", base_model_name_or_path="elsewhere/other-7b")(adapter)
    shown = taken_in(server, adapter)
    names, pattern = shown["repairs"]
    assert "70 tensor names" in names
    assert "'all-linear'" in pattern
    assert "elsewhere/other-7b" in shown["warnings"][0]
    assert answering(server, shown["id"]) == shown["id"]


def test_what_is_live_stays_live_unless_a_promotion_is_asked_for(
    server: Running, adapter: Path, tmp_path: Path
) -> None:
    first = taken_in(server, adapter)["id"]
    other = random_adapter(tmp_path / "other", seed=2, rank=8)
    second = taken_in(server, other)
    assert second["live"] is False
    assert answering(server) == first
    assert answering(server, second["id"]) == second["id"]
    promoted = taken_in(server, other, promote="true")
    assert (promoted["id"], promoted["live"]) == (second["id"], True)
    assert answering(server) == second["id"], "a promotion is in force on return"
    assert server.http().post("/v1/brands/luxe", json={"action": "rollback"}).json()["live"] == first
    assert answering(server) == first


def test_the_same_files_twice_are_one_version(server: Running, adapter: Path) -> None:
    first, again = taken_in(server, adapter), taken_in(server, adapter)
    assert first == again
    assert sum(model.id == first["id"] for model in server.client().models.list()) == 1
    assert list((server.house.settings.home / "imports").iterdir()) == []


def test_another_tenant_neither_sees_nor_changes_it(server: Running, adapter: Path) -> None:
    ours = taken_in(server, adapter)["id"]
    with pytest.raises(openai.NotFoundError):
        answering(server, ours, "rival")
    assert ours not in {model.id for model in server.client("rival").models.list()}
    theirs = taken_in(server, adapter, "rival", promote="true")
    assert theirs["id"] == ours.replace("acme", "rival")
    assert answering(server) == ours
    assert answering(server, tenant="rival") == theirs["id"]


def test_who_imported_it_is_kept(server: Running, adapter: Path) -> None:
    renamed(lambda name: name.replace(".weight", ".default.weight"))(adapter)
    shown = taken_in(server, adapter)
    with server.house.database.read() as session:
        row = session.query(Audit).filter(Audit.action == "import").one()
    assert row.object == f"version:{shown['id']}"
    assert row.actor in server.keys["acme"]
    assert row.request_id
    assert row.after is not None
    assert row.after["repairs"] == shown["repairs"]


def test_a_deleted_import_comes_back_when_it_is_sent_again(
    server: Running, adapter: Path, tmp_path: Path
) -> None:
    name = taken_in(server, adapter)["id"]
    taken_in(server, random_adapter(tmp_path / "other", seed=2, rank=8), promote="true")
    server.http().post("/v1/brands/luxe", json={"action": "promote", "version": name})
    other = server.http().get("/v1/brands/luxe").json()["previous"]
    server.http().post("/v1/brands/luxe", json={"action": "promote", "version": other})
    assert server.client().models.delete(name).deleted
    with pytest.raises(openai.NotFoundError):
        answering(server, name)
    assert taken_in(server, adapter)["id"] == name
    assert answering(server, name) == name
    assert answering(server) == other


def corpus(name: str) -> bool:
    """Whether what is bad about it can be sent as two files."""
    return not BAD[name].own and BAD[name].code not in {
        Code.FOLDER_MISSING, Code.FILE_MISSING, Code.EXTRA_FILE, Code.PICKLE, Code.LINK, Code.NOT_A_FILE,
        Code.PREFIX, Code.FILE_TOO_LARGE, Code.HEADER_TOO_LARGE,
    } and "_modules as a regex" not in name  # fmt: skip


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return good(tmp_path_factory.mktemp("good") / "adapter")


@pytest.mark.parametrize("name", [name for name in BAD if corpus(name)])
def test_a_bad_adapter_is_a_400_with_the_code_of_the_check(
    name: str, refusing: Running, template: Path, tmp_path: Path
) -> None:
    made = make(name, template, tmp_path / "bad", refusing.house.base)
    param, code = error(send(refusing, made.folder))
    assert code == BAD[name].code
    assert param in ("config", "weights")


def test_a_refusal_names_the_file_at_fault_and_leaves_nothing(refusing: Running, adapter: Path) -> None:
    for spoil, param in ((config(r=4), "weights"), (config(use_dora=True), "config")):
        spoil(adapter)
        assert error(send(refusing, adapter))[0] == param
    home = refusing.house.settings.home
    assert list((home / "imports").iterdir()) == []
    assert not (home / "adapters").exists()
    assert refusing.client().models.list().data[1:] == []


FIELDS: dict[str, tuple[dict[str, str], tuple[str, str]]] = {
    "another field": ({"owner": "rival"}, ("owner", "unknown_parameter")),
    "a suffix": ({"suffix": "luxe"}, ("suffix", "unknown_parameter")),
    "a brand with a blank": ({"brand": "a b"}, ("brand", "invalid_value")),
    "a brand without a name": ({"brand": ""}, ("brand", "invalid_value")),
    "a brand with the name of the base": ({"brand": "tiny"}, ("brand", "invalid_value")),
    "a brand that is a version": ({"brand": "ft:tiny:acme:x:00000000"}, ("brand", "invalid_value")),
    "promote that is no word for yes": ({"promote": "1"}, ("promote", "invalid_value")),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_bad_field_is_named(name: str, refusing: Running, adapter: Path) -> None:
    fields, expected = FIELDS[name]
    assert error(send(refusing, adapter, **fields)) == expected


@pytest.mark.parametrize("missing", ["brand", "config", "weights"])
def test_a_missing_field_is_named(missing: str, refusing: Running, adapter: Path) -> None:
    files = {"config": (CONFIG, b"{}"), "weights": (WEIGHTS, b"x")}
    files.pop(missing, None)
    answer = refusing.http().post(ROUTE, files=files, data={} if missing == "brand" else {"brand": "luxe"})
    assert error(answer) == (missing, "missing_required_parameter")


def test_a_file_sent_twice_and_another_file_are_refused_by_name(refusing: Running) -> None:
    twice = [("config", (CONFIG, b"{}")), ("config", (CONFIG, b"{}"))]
    assert error(refusing.http().post(ROUTE, files=twice)) == ("config", "invalid_value")
    other = [("config", (CONFIG, b"{}")), ("weights", (WEIGHTS, b"x")), ("pickle", ("a.bin", b"x"))]
    answer = refusing.http().post(ROUTE, files=other, data={"brand": "luxe"})
    assert error(answer) == ("pickle", "unknown_parameter")
    assert error(refusing.http().post(ROUTE, json={"brand": "luxe"}))[0] == "config"


def test_a_form_that_is_cut_off_is_no_whole_adapter(refusing: Running, adapter: Path) -> None:
    files = {
        "config": (CONFIG, (adapter / CONFIG).read_bytes()),
        "weights": (WEIGHTS, (adapter / WEIGHTS).read_bytes()),
    }
    client = refusing.http()
    request = client.build_request("POST", ROUTE, data={"brand": "luxe"}, files=files)
    kind = {"content-type": request.headers["content-type"]}
    answer = client.post(ROUTE, content=request.read()[:-100], headers=kind)
    assert answer.status_code == 400
    assert "cut off" in answer.json()["error"]["message"]


def test_what_is_too_large_is_a_413_before_it_is_read(refusing: Running, adapter: Path) -> None:
    with (adapter / WEIGHTS).open("ab") as file:
        file.truncate(5_000_000)
    assert error(send(refusing, adapter), 413)[1] == "request_too_large"
    config(note="x" * 300_000)(adapter)
    (adapter / WEIGHTS).write_bytes(b"x")
    assert error(send(refusing, adapter)) == ("config", "file_too_large")


def test_without_a_key_nothing_is_read(refusing: Running, adapter: Path) -> None:
    answer = httpx.post(f"{refusing.root}{ROUTE}", files={"weights": (WEIGHTS, b"x" * 1_000_000)})
    assert answer.status_code == 401


def test_a_base_whose_layers_cannot_be_read_is_said(server: Running, serve: Stage, adapter: Path) -> None:
    blind = a_base(serve.folder)
    weights = blind.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b"q_proj", b"conv_1"))
    assert error(send(serve(base=blind), adapter))[1] == "base_unreadable"


class Choosy(FakeEngine):
    """Refuses what the check could not see."""

    async def load(self, version: Loaded, path: Path) -> None:
        raise AdapterRefused("it does not like it")


def test_a_promotion_that_the_engine_cannot_serve_changes_nothing(
    serve: Stage, tmp_path: Path, adapter: Path
) -> None:
    server = serve(Choosy(), base=with_layers(tmp_path))
    answer = send(server, adapter, promote="true")
    assert answer.status_code == 410
    assert answer.json()["error"]["code"] == "version_unusable"
    assert list((server.house.settings.home / "adapters").iterdir()) == []
    assert server.http().get("/v1/brands/luxe").status_code == 404
    assert server.client().models.list().data[1:] == []


def test_while_the_engine_is_down_an_import_waits_for_its_proof_and_is_not_promoted(
    serve: Stage, tmp_path: Path, adapter: Path
) -> None:
    down = serve(FakeEngine(start_seconds=60), ready=False, base=with_layers(tmp_path))
    refused = send(down, adapter, promote="true")
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert down.client().models.list().data[1:] == [], "nothing was kept"
    shown = taken_in(down, adapter)
    assert (shown["live"], shown["pending"]) == (False, True)
    up = serve(base=with_layers(tmp_path))
    assert answering(up) == shown["id"]


@pytest.mark.parametrize("promote", ["true", "false"])
def test_an_import_that_the_engine_does_not_apply_is_refused_and_not_kept(
    serve: Stage, tmp_path: Path, adapter: Path, promote: str
) -> None:
    server = serve(Bare(), base=with_layers(tmp_path))
    answer = send(server, adapter, promote=promote)
    assert error(answer, 409)[1] == "version_refuted"
    assert "the engine answers as without it" in answer.json()["error"]["message"]
    assert server.client().models.list().data[1:] == []
    assert server.http().get("/v1/brands/luxe").status_code == 404
    until(lambda: server.house.catalog.held() == [] and not server.engine.resident)
    assert list((server.house.settings.home / "adapters").iterdir()) == [], "refusals do not fill the disk"


def test_the_proof_of_an_import_is_in_the_audit(server: Running, adapter: Path) -> None:
    name = taken_in(server, adapter)["id"]
    with server.house.database.read() as session:
        row = session.query(Audit).filter(Audit.action == "proved").one()
        proved_at = session.query(Version.proved_at).filter(Version.name == name).scalar()
    assert row.object == f"version:{name}"
    assert row.actor in server.keys["acme"]
    assert row.after is not None
    assert row.after["effect"] > 0
    assert proved_at is not None


def test_an_import_is_resident_before_anybody_asks(server: Running, adapter: Path) -> None:
    name = taken_in(server, adapter)["id"]
    until(lambda: name in server.engine.resident)


@pytest.mark.parametrize("work", ["prepare", "record"])
def test_a_stream_flows_on_while_an_adapter_is_taken_in(
    server: Running, adapter: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    begun, may_end, whole = threading.Event(), threading.Event(), getattr(imported, work)

    def wait(*given: Any, **named: Any) -> Any:
        begun.set()
        may_end.wait()
        return whole(*given, **named)

    monkeypatch.setattr(imported, work, wait)
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(send(server, adapter)))
    thread.start()
    begun.wait()
    words = list(server.client().completions.create(model="tiny", prompt="word " * 20, stream=True))
    assert len(words) > 20, "a whole answer, while the work stands still"
    assert not answers
    may_end.set()
    thread.join()
    assert [answer.status_code for answer in answers] == [200]


def test_the_stored_bytes_are_those_that_were_checked(server: Running, adapter: Path) -> None:
    shown = taken_in(server, adapter)
    with server.house.database.read() as session:
        row = session.query(Version).filter(Version.name == shown["id"]).one()
    folder = publish.folder(server.house.settings.home, row.sha256)
    assert (folder / WEIGHTS).read_bytes() == (adapter / WEIGHTS).read_bytes()
    assert json.loads((folder / CONFIG).read_text()) == json.loads((adapter / CONFIG).read_text())


def test_a_full_disk_is_a_507_that_leaves_nothing_and_nobody_else_notices(
    server: Running, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    live = taken_in(server, adapter)["id"]
    other = random_adapter(tmp_path / "other", seed=9, rank=8)
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        answer = send(server, other, promote="true")
        assert answer.status_code == 507, answer.text
        said = answer.json()["error"]
        assert (said["type"], said["code"], said["param"]) == ("server_error", "disk_full", None)
        assert "disk is full" in said["message"]
        assert "operator to make room" in said["message"]
        assert answer.headers["x-should-retry"] == "false"
        assert server.client().chat.completions.create(model="luxe", messages=HELLO).model == live
    home = server.house.settings.home
    assert list((home / "imports").iterdir()) == []
    assert len(list((home / "adapters").iterdir())) == 1
    assert taken_in(server, other, promote="true")["live"]
