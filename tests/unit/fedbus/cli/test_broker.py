"""`fedbus broker-definitions`: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner, Result

from fedbus.broker.node.accounts import write_private
from fedbus.broker.node.definitions import definitions
from fedbus.cli import app
from fedbus.errors import ConfigError

NAMES = ("--coordinator", "lead", "--party", "north", "--party", "south", "--client", "olga")


def run(folder: Path, *options: str) -> Result:
    result = CliRunner().invoke(app, ["broker-definitions", "--urls", str(folder), *options])
    if result.exception is not None:
        raise result.exception
    return result


def printed(folder: Path, *options: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(run(folder, *options).stdout)
    return made


def passwords(folder: Path) -> dict[str, str]:
    urls = (urlsplit(file.read_text().strip()) for file in folder.iterdir())
    return {url.username or "": url.password or "" for url in urls}


def test_it_prints_what_a_private_node_loads(tmp_path: Path) -> None:
    made = printed(tmp_path / "urls", *NAMES)
    roles = {"lead": "coordinator", "north": "party", "south": "party", "olga": "client"}
    expected = definitions(roles, passwords(tmp_path / "urls"))
    for user in (*made["users"], *expected["users"]):
        user.pop("password_hash")
    assert made == expected


def test_passwords_are_in_the_private_files_only(tmp_path: Path) -> None:
    folder = tmp_path / "urls"
    result = run(folder, *NAMES, "--address", "amqps://broker.example:5671")
    own = passwords(folder)
    assert set(own) == {"lead", "north", "south", "olga"}
    assert len({*own.values()}) == 4
    assert min(map(len, own.values())) >= 24
    assert not any(password in result.output for password in own.values())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in folder.iterdir())
    assert (folder / "north.url").read_text() == f"amqps://north:{own['north']}@broker.example:5671/%2F\n"
    for user in json.loads(result.stdout)["users"]:
        raw = base64.b64decode(user["password_hash"])
        assert raw[4:] == hashlib.sha256(raw[:4] + own[user["name"]].encode()).digest()


def test_one_more_party_leaves_the_passwords_of_the_others(tmp_path: Path) -> None:
    printed(tmp_path, *NAMES)
    before = passwords(tmp_path)
    made = printed(tmp_path, *NAMES, "--party", "west")
    assert passwords(tmp_path) == {**before, "west": passwords(tmp_path)["west"]}
    assert "fedbus.party.west.control" in {queue["name"] for queue in made["queues"]}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ((), "name a user"),
        (("--party", "North"), "--party North: a name has small letters"),
        (("--party", "a.*"), "a name has small letters"),
        (("--party", "north", "--client", "north"), "--client north: is named already, as a party"),
        (("--party", "north", "--address", "broker:5672"), "--address: not a broker URL"),
        (("--party", "north", "--address", "amqp://me:secret@h:5672"), "--address: takes scheme, host and port only"),
    ],
)
def test_what_is_wrong_is_named_and_writes_nothing(tmp_path: Path, options: tuple[str, ...], error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(tmp_path, *options)
    assert str(caught.value).startswith(error) or error in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "mode", "error"),
    [
        ("amqp://north:known@h:5672/%2F", 0o644, "others may read it"),
        ("amqp://south:x@h:5672/%2F", 0o600, "is no URL of user north"),
    ],
)
def test_a_file_that_it_did_not_write_so_is_left(tmp_path: Path, text: str, mode: int, error: str) -> None:
    file = tmp_path / "north.url"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=error):
        run(tmp_path, "--party", "north")
    assert file.read_text() == text


def test_a_file_that_cannot_be_written_to_its_end_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "north.url"
    write_private(file, "first")
    with pytest.raises(UnicodeEncodeError):
        write_private(file, "second \udc80")
    assert file.read_text() == "first"
    write_private(file, "third")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("north.url", "third")]
    assert file.stat().st_mode & 0o777 == 0o600
