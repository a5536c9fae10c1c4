"""The files under deploy/ against the programs that read them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import yaml

from records.settings import PREFIX, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_promtool_accepts_the_scrape_configuration() -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: run deploy/test-tools.sh"
    config = DEPLOY / "prometheus" / "prometheus.yml"
    done = subprocess.run([promtool, "check", "config", config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_builds_a_target_that_the_dockerfile_has_and_sets_settings_that_exist() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    targets = set(re.findall(r"^FROM .* AS (\w+)$", dockerfile, re.MULTILINE))
    assert {"cpu", "cuda"} <= targets
    service = compose["services"]["chorus"]
    assert service["build"]["target"].split(":-")[1].rstrip("}") in targets
    named = set(service["environment"]) | set(re.findall(rf"{PREFIX}\w+", dockerfile))
    assert {name.removeprefix(PREFIX).lower() for name in named} <= set(Settings.model_fields)


def test_prometheus_scrapes_the_service_and_port_that_compose_starts() -> None:
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"][0]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    (target,) = scrape["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert host in compose["services"]
    assert f"{port}:{port}" in compose["services"][host]["ports"]
    mounts = [volume.split(":")[0] for volume in compose["services"]["prometheus"]["volumes"]]
    assert all((DEPLOY / mount).exists() for mount in mounts)


def test_the_images_install_nothing_that_is_not_pinned() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    installs = re.findall(r"pip install ([^&\\\n]+)", dockerfile)
    assert len(installs) == 5
    for words in map(str.split, installs):
        assert "--no-deps" in words
        assert words[-1] in {".", "/wheels/*.whl"} or words[-2] == "-r"
    (chosen,) = re.findall(r'grep -E "\^\((.*)\)=="', dockerfile)
    pinned = re.findall(
        r"^([\w.-]+)==", (DEPLOY.parent / "requirements" / "cpu.txt").read_text(), re.MULTILINE
    )
    assert set(chosen.split("|")) <= set(pinned)


def test_the_dockerfile_copies_only_what_is_there() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for line in copied:
        for name in line.split()[:-1]:
            assert (DEPLOY.parent / name).exists(), name
