"""Identities of a simulation: everybody knows everybody, and parties that have their own keep them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedbus.cli.introductions import Introduced, KeyFiles, client_of, introduce
from fedbus.credentials import Credentials
from fedbus.identity import Identity, Role, Roster
from fedbus.settings import PartySettings

ROLES = {"bank": Role.PARTY, "client": Role.CLIENT, "coordinator": Role.COORDINATOR, "shop": Role.PARTY}


@dataclass
class Job:
    """What is asked of a job here."""

    needs_identities: bool = True
    coordinator: str = "coordinator"
    participants: tuple[str, ...] = ("shop", "bank", "coordinator")


def introduced(folder: Path, given: list[PartySettings], **job: bool) -> Introduced:
    return introduce(Job(**job), given, folder)  # type: ignore[arg-type]


def parties(folder: Path, **more: dict[str, str]) -> list[PartySettings]:
    return [PartySettings(name, "s.db", folder=str(folder), **more.get(name, {})) for name in ("shop", "bank")]


def credentials(role: Role, files: KeyFiles | PartySettings) -> Credentials:
    if isinstance(files, PartySettings):
        files = KeyFiles(files.path(files.identity), files.path(files.roster))
    return Credentials.load(role, files.identity, files.roster)


def test_all_are_introduced_to_all(tmp_path: Path) -> None:
    known = introduced(tmp_path, parties(tmp_path))
    every = [credentials(Role.PARTY, party) for party in known.parties]
    every += [credentials(Role.COORDINATOR, known.coordinator), credentials(Role.CLIENT, known.client)]
    assert [each.name for each in every] == ["shop", "bank", "coordinator", "client"]
    for each in every:
        assert {name: each.roster.role(name) for name in each.roster.names} == ROLES
        assert all(member.keys[0].proof for member in each.roster.members)
        for other in every:
            other.roster.verify(each.name, each.identity.sign("x"), "x", role=each.role)
            assert each.identity.agree(each.roster, other.name) == other.identity.agree(other.roster, each.name)
    assert known.client.environment() == {
        "FEDBUS_IDENTITY": str(known.client.identity),
        "FEDBUS_ROSTER": str(known.client.roster),
    }


def own_files(folder: Path) -> tuple[dict[str, Identity], dict[str, dict[str, str]]]:
    folder.mkdir()
    identities = {name: Identity.create(folder / f"{name}.key") for name in ("shop", "bank")}
    lines = [f'{name} = "{own.public}"' for name, own in identities.items()]
    real = Identity(b"r" * 32).introduction("coordinator", Role.COORDINATOR).line()
    (folder / "roster.toml").write_text("\n".join(["[members]", real, *lines]) + "\n")
    return identities, {name: {"identity": f"{name}.key", "roster": "roster.toml"} for name in identities}


def test_parties_keep_their_own_and_learn_of_the_simulations_coordinator_and_client(tmp_path: Path) -> None:
    own, place = tmp_path / "own", tmp_path / "place"
    identities, named = own_files(own)
    before = (own / "roster.toml").read_text()
    place.mkdir()
    known = introduced(place, parties(own, **named))
    coordinator = credentials(Role.COORDINATOR, known.coordinator)
    for party in known.parties:
        found = credentials(Role.PARTY, party)
        assert found.identity.public == identities[party.name].public
        assert {name: found.roster.role(name) for name in found.roster.names} == ROLES
        assert found.roster.public("coordinator") == coordinator.identity.public
        assert coordinator.roster.public(party.name) == found.identity.public
    assert (own / "roster.toml").read_text() == before
    assert sorted(file.name for file in own.iterdir()) == ["bank.key", "roster.toml", "shop.key"]


def test_own_ones_are_left_aside_where_they_are_not_asked_for_or_not_all_have_them(tmp_path: Path) -> None:
    identities, named = own_files(tmp_path / "own")
    for place, given, own in (("a", named, False), ("b", {"shop": named["shop"]}, True)):
        (tmp_path / place).mkdir()
        known = introduced(tmp_path / place, parties(tmp_path / "own", **given), needs_identities=own)
        for party in known.parties:
            assert credentials(Role.PARTY, party).identity.public != identities[party.name].public


def test_a_party_whose_files_are_wrong_is_left_to_say_so(tmp_path: Path) -> None:
    own, place = tmp_path / "own", tmp_path / "place"
    _, named = own_files(own)
    (own / "bank.key").chmod(0o644)
    place.mkdir()
    given = parties(own, **named)
    known = introduced(place, given)
    assert known.parties[1] == given[1]
    assert known.parties[0].roster == str(place / "shop.roster.toml")
    assert Roster.load(known.coordinator.roster).names == ("client", "coordinator", "shop")


def test_the_client_has_a_name_that_no_participant_has() -> None:
    assert client_of(Job()) == "client"  # type: ignore[arg-type]
    assert client_of(Job(participants=("client", "bank"))) == "client-"  # type: ignore[arg-type]
