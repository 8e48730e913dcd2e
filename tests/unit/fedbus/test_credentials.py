"""Who a process is: its identity and its roster have to agree, and to name it in its role."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedbus.credentials import Credentials
from fedbus.errors import ConfigError
from fedbus.identity import Identity, Role


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The identity of a client, olga, and a roster that has it and a coordinator."""
    identity, roster = tmp_path / "olga.key", tmp_path / "roster.toml"
    members = {"olga": (Identity.create(identity), Role.CLIENT), "c": (Identity(b"c" * 32), Role.COORDINATOR)}
    lines = [own.introduction(name, role).line() for name, (own, role) in members.items()]
    roster.write_text("\n".join(["[members]", *lines]) + "\n")
    return identity, roster


def test_a_client_is_who_its_roster_says(files: tuple[Path, Path]) -> None:
    for user in ("olga", None):
        own = Credentials.of_client(*files, user)
        assert own is not None
        assert (own.name, own.role, own.roster.names) == ("olga", Role.CLIENT, ("c", "olga"))
        assert own.identity.public == own.roster.public("olga")


def test_a_client_names_both_files(files: tuple[Path, Path]) -> None:
    identity, roster = files
    with pytest.raises(ConfigError, match=r"--identity: missing; a client signs what it asks for"):
        Credentials.of_client(None, None, "olga")
    with pytest.raises(ConfigError, match=r"--roster: missing; .*FEDBUS_IDENTITY and FEDBUS_ROSTER"):
        Credentials.of_client(identity, None, "olga")
    with pytest.raises(ConfigError, match="--identity: missing"):
        Credentials.of_client(None, roster, "olga")


def test_who_the_broker_knows_as_another_is_refused(files: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match=r"roster.toml: members.c: is not the key in .*olga.key"):
        Credentials.of_client(*files, "c")
    with pytest.raises(ConfigError, match=r"roster.toml: members: has no otto with the key in .*olga.key"):
        Credentials.of_client(*files, "otto")


def test_a_key_that_the_roster_lacks_is_refused(files: tuple[Path, Path]) -> None:
    identity, roster = files
    identity.unlink()
    Identity.create(identity)
    with pytest.raises(ConfigError, match=r"members.olga: is not the key in"):
        Credentials.of_client(identity, roster, "olga")
    with pytest.raises(ConfigError, match="members: has no member with the key in"):
        Credentials.of_client(identity, roster, None)


def test_another_role_is_refused(files: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match=r"members.olga: is a client there, and a coordinator here"):
        Credentials.load(Role.COORDINATOR, *files, "olga")


def test_a_member_that_changes_its_key_is_who_it_is_by_the_newer(files: tuple[Path, Path]) -> None:
    identity, roster = files
    before = Identity.load(identity)
    newer = Identity.create(identity.with_name("newer.key"))
    lines = [newer.introduction("olga", Role.CLIENT).line(), before.introduction("olga", Role.CLIENT).line()]
    newest, older = (line.partition(" = ")[2] for line in lines)
    ends = older.replace("proof", "until = 2999-12-31, proof")
    roster.write_text(f"[members]\nolga = [{newest}, {ends}]\n")
    assert Credentials.load(Role.CLIENT, identity.with_name("newer.key"), roster, "olga").name == "olga"
    with pytest.raises(ConfigError, match=r"members.olga: is not the key in"):
        Credentials.load(Role.CLIENT, identity, roster, "olga")
