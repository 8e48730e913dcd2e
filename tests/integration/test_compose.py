"""The containers' files fit together: what they name exists, what is scraped is served, secrets reach one role each."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedbus import environment, settings
from fedbus.algorithms import registry
from fedbus.credentials import Credentials
from fedbus.identity import Role
from places import ROOT

DOCKER = ROOT / "ops" / "docker"
COMPOSE = Path(sys.executable).with_name("docker-compose")
ROLES = ("coordinator", "shop", "bank")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """compose.yaml as Compose itself reads it, all profiles included; needs no engine."""
    command = [str(COMPOSE), "--profile", "*", "--project-directory", str(ROOT), "config", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def binds(service: dict[str, Any]) -> dict[str, Path]:
    """Source by target of a service's bind mounts."""
    return {
        volume["target"]: Path(volume["source"]) for volume in service.get("volumes", []) if volume["type"] == "bind"
    }


def named(service: dict[str, Any]) -> set[str]:
    return {volume["source"] for volume in service.get("volumes", []) if volume["type"] == "volume"}


def config(role: str) -> settings.PartySettings | settings.CoordinatorSettings:
    file = DOCKER / f"{role}.toml"
    return settings.load_coordinator(file, {}) if role == "coordinator" else settings.load_party(file, {})


def test_compose_accepts_the_file_without_a_warning() -> None:
    done = subprocess.run([str(COMPOSE), "config", "-q"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_file_that_is_mounted_or_copied_exists(compose: dict[str, Any]) -> None:
    mounted = [source for service in compose["services"].values() for source in binds(service).values()]
    dockerfile = (DOCKER / "Dockerfile").read_text("utf-8")
    copied = [
        ROOT / source
        for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert len(mounted) >= 11
    assert len(copied) >= 7
    assert [str(file) for file in (*mounted, *copied) if not file.exists()] == []
    allowed = (DOCKER / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert [str(file) for file in copied if f"!{file.relative_to(ROOT)}" not in allowed] == []


def test_images_are_pinned_to_a_version(compose: dict[str, Any]) -> None:
    images = {service["image"] for service in compose["services"].values()}
    images |= set(re.findall(r"^FROM (\S+)", (DOCKER / "Dockerfile").read_text("utf-8"), re.MULTILINE))
    assert len(images) == 4
    assert all(re.search(r":v?\d+\.\d+\.\d+", image) for image in images)


def test_prometheus_scrapes_the_ports_that_the_roles_serve_and_check() -> None:
    text = (ROOT / "ops" / "prometheus" / "prometheus.yml").read_text("utf-8")
    scraped = dict(target.split(":") for target in re.findall(r'"([a-z]+:\d+)"', text))
    assert scraped.pop("rabbitmq") == "15692"
    assert scraped == {role: config(role).metrics.address.rpartition(":")[2] for role in ROLES}
    assert set(scraped.values()) == {"9464"}


def test_every_long_running_service_has_a_health_check(compose: dict[str, Any]) -> None:
    running = {name: service for name, service in compose["services"].items() if name not in ("setup", "client")}
    assert set(running) == {*ROLES, "rabbitmq", "prometheus"}
    assert all("test" in service["healthcheck"] for service in running.values())
    assert all("127.0.0.1:9464/metrics" in running[role]["healthcheck"]["test"][-1] for role in ROLES)


def test_each_role_finds_its_own_file_and_data_and_state_in_its_container(compose: dict[str, Any]) -> None:
    for role in ROLES:
        service, own = compose["services"][role], config(role)
        mounts = binds(service)
        assert mounts[service["command"][-1]] == DOCKER / f"{role}.toml"
        assert own.name == role
        assert Path(own.state).parent == Path("/var/lib/fedbus")
        assert f"{role}-state" in named(service)
        if isinstance(own, settings.PartySettings):
            assert {dataset.source for dataset in own.datasets.values()} == set(mounts) - {service["command"][-1]}
    coordinator = config("coordinator")
    assert isinstance(coordinator, settings.CoordinatorSettings)
    assert set(coordinator.parties) == {"shop", "bank"}


def test_a_secret_is_mounted_by_its_own_role_only(compose: dict[str, Any]) -> None:
    for role in (*ROLES, "client"):
        readers = {name for name, service in compose["services"].items() if f"{role}-secret" in named(service)}
        assert readers == {"setup", role}


def test_the_sample_job_is_sound_and_asks_for_what_the_parties_offer() -> None:
    spec = registry.load(DOCKER / "house-prices.toml")
    assert set(spec.parties) == {"shop", "bank"}
    for side in (spec.guest, *spec.hosts):
        own = config(side.party)
        assert isinstance(own, settings.PartySettings)
        assert {side.dataset, side.test} <= set(own.datasets)


USERS = {"coordinator": "coordinator", "shop": "party", "bank": "party", "client": "client"}


def set_up(folder: Path) -> None:
    words = [f"{user}={role}" for user, role in USERS.items()]
    subprocess.run([sys.executable, str(DOCKER / "setup.py"), str(folder), *words], check=True, capture_output=True)


def test_setup_introduces_all_to_all_and_changes_nothing_later(tmp_path: Path) -> None:
    set_up(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    for user, role in USERS.items():
        key, roster = tmp_path / user / "identity.key", tmp_path / user / "roster.toml"
        own = Credentials.load(Role(role), key, roster, user)
        assert {name: own.roster.role(name) for name in own.roster.names} == USERS
        assert stat.S_IMODE(key.stat().st_mode) == 0o400
    set_up(tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    # As after a start that was interrupted: they agree again.
    (tmp_path / "bank" / "roster.toml").unlink()
    set_up(tmp_path)
    for user, role in USERS.items():
        Credentials.load(Role(role), tmp_path / user / "identity.key", tmp_path / user / "roster.toml", user)


def test_each_role_finds_its_identity_and_roster_where_setup_put_them(compose: dict[str, Any]) -> None:
    for role in (*ROLES, "client"):
        service = compose["services"][role]
        assert service["environment"]["FEDBUS_IDENTITY"] == "/run/fedbus/identity.key"
        assert service["environment"]["FEDBUS_ROSTER"] == "/run/fedbus/roster.toml"
        (mounted,) = [each for each in service["volumes"] if each["target"] == "/run/fedbus"]
        assert mounted["source"] == f"{role}-secret"
    words = compose["services"]["setup"]["command"]
    assert dict(word.split("=") for word in words if "=" in word) == USERS


def test_setup_gives_each_user_a_url_that_the_definitions_know_and_changes_nothing_later(tmp_path: Path) -> None:
    set_up(tmp_path)
    made = json.loads((tmp_path / "broker" / "definitions.json").read_text("utf-8"))
    hashes = {user["name"]: base64.b64decode(user["password_hash"]) for user in made["users"]}
    urls = {user: tmp_path / user / "amqp_url" for user in hashes}
    assert set(hashes) == {"coordinator", "shop", "bank", "client"}
    before = {user: file.read_text("utf-8") for user, file in urls.items()}
    for user, url in before.items():
        password = url.split("@")[0].split(":")[2]
        assert hashes[user][4:] == hashlib.sha256(hashes[user][:4] + password.encode()).digest()
        assert environment.check_url(url, user) == f"amqp://{user}:{password}@rabbitmq:5672/%2F"
        assert stat.S_IMODE(urls[user].stat().st_mode) == 0o400
    set_up(tmp_path)
    assert {user: file.read_text("utf-8") for user, file in urls.items()} == before
