"""Nobody's prompt is found in the cache by another: neither by another tenant nor through another version."""

from __future__ import annotations

import re

import pytest
from openai import OpenAI

from tests.live import LiveServer

pytestmark = pytest.mark.engine

SECRET = "The merger with Alba closes in spring and nobody may know of it. " * 30


def hits(server: LiveServer) -> float:
    found = re.findall(r"^vllm:prefix_cache_hits_total\S* (\S+)$", server.metrics(), re.MULTILINE)
    assert found, "vLLM's counter of cache hits is gone from /metrics"
    return sum(map(float, found))


def hits_of(server: LiveServer, client: OpenAI, model: str, text: str) -> float:
    """Prompt tokens that were found in the cache for one request."""
    before = hits(server)
    client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], max_tokens=1, temperature=0
    )
    return hits(server) - before


def test_the_same_tenant_finds_its_own_prompt_again(live_server: LiveServer) -> None:
    """The positive control: without it the tests below would pass with the cache switched off."""
    client, text = live_server.client(), f"control {SECRET}"
    assert hits_of(live_server, client, "tiny", text) == 0
    assert hits_of(live_server, client, "tiny", text) > 100


def test_another_tenant_does_not_find_it(live_server: LiveServer) -> None:
    text = f"tenants {SECRET}"
    spy = live_server.client(live_server.new_key("spy"))
    assert hits_of(live_server, live_server.client(), "tiny", text) == 0
    assert hits_of(live_server, spy, "tiny", text) == 0


def test_another_version_of_the_same_tenant_does_not_find_it(live_server: LiveServer) -> None:
    client, text = live_server.client(), f"versions {SECRET}"
    versions = [live_server.publish("cached", seed) for seed in (1, 2)]
    assert hits_of(live_server, client, versions[0], text) == 0
    assert hits_of(live_server, client, versions[1], text) == 0
    assert hits_of(live_server, client, "tiny", text) == 0
    assert hits_of(live_server, client, versions[0], text) > 100
