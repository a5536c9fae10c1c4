"""Nothing in the server grows with names, keys, paths or methods that clients make up."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.conftest import Running, until

OURS = ("server.", "adapters.", "records.", "prometheus_client.")
METHODS = ("PATCH", "PROPFIND", "LOCK", "REPORT")
HELLO: Any = [{"role": "user", "content": "hello"}]


def sizes(root: Any) -> dict[str, int]:
    """{path: entries} of each container within reach of an object's attributes, in our modules and in those
    of the metrics; the database's own are none of ours."""
    found, seen, todo = dict[str, int](), set[int](), [("house", root)]
    while todo:
        path, thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, dict | list | set | tuple):
            found[path] = len(thing)
            values = thing.values() if isinstance(thing, dict) else thing
            todo += [(f"{path}[{number}]", value) for number, value in enumerate(values)]
        elif type(thing).__module__.startswith(OURS) and hasattr(thing, "__dict__"):
            todo += [(f"{path}.{name}", value) for name, value in vars(thing).items()]
    return found


def flood(server: Running, numbers: range) -> None:
    """Requests of everything that a client may make up, each once."""
    client, post = server.http(), server.http().post
    for n in numbers:
        for model in (f"none-{n}", f"ft:tiny:acme:none:{n:08x}", f"ft:tiny:rival:luxe:{n:08x}"):
            body = {"model": model, "messages": HELLO, "user": f"user-{n}", "prompt_cache_key": f"key-{n}"}
            assert post("/v1/chat/completions", json=body).status_code == 404
        good = {"model": "luxe", "messages": HELLO, "user": f"user-{n}"}
        assert post("/v1/chat/completions", json=good, headers={"x-request-id": f"r-{n}"}).status_code == 200
        refused = post("/v1/completions", json=good, headers={"Authorization": f"Bearer ck-{n:08x}-secret"})
        assert refused.status_code == 401
        assert client.get(f"/v1/brands/none-{n}").status_code == 404
        assert client.get(f"/v1/models/none-{n}").status_code == 404
        assert client.get(f"/v1/files/file-{n}/report").status_code == 404
        assert client.get(f"/nowhere/{n}").status_code == 404
        assert client.request(METHODS[n % 4], "/v1/models").status_code == 405
        assert post(f"/v1/brands/none-{n}", json={"action": "rollback"}).status_code == 404


def test_the_sizes_of_all_that_the_server_keeps_stay_as_they_are(server: Running) -> None:
    server.publish("luxe")
    flood(server, range(20))
    assert server.http().get("/metrics").text  # its own series
    before, shown = sizes(server.house), len(server.http().get("/metrics").text.splitlines())
    flood(server, range(20, 220))
    after = sizes(server.house)
    assert len(before) > 50, "it has to see something"
    grown = {
        path: (before.get(path, 0), size) for path, size in after.items() if size > before.get(path, 0) + 5
    }
    assert not grown
    assert len(server.http().get("/metrics").text.splitlines()) == shown


def test_names_and_keys_are_remembered_up_to_a_bound(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.names.REMEMBERED_NAMES", 3)
    monkeypatch.setattr("server.auth.REMEMBERED_KEYS", 1)
    for tenant in ("acme", "rival"):
        for n in range(6):
            name = server.publish(f"b{n}", tenant=tenant, seed=n)
            until(lambda name=name: name in server.engine.resident)  # type: ignore[misc]
            assert server.client(tenant).chat.completions.create(model=f"b{n}", messages=HELLO).model == name
    assert len(server.house.names._known) <= 3
    assert len(server.house.doorkeeper._known) == 1
