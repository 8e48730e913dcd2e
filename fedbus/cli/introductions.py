"""A simulation makes identities and rosters for its participants and its client, so that all know each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fedbus.credentials import Credentials
from fedbus.errors import ConfigError
from fedbus.identity import Identity, Role, Roster
from fedbus.job import JobSpec
from fedbus.members.entries import Member
from fedbus.settings import PartySettings


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Where a member's identity and its roster are."""

    identity: Path
    roster: Path

    def environment(self) -> dict[str, str]:
        """Return the variables that name them."""
        return {"FEDBUS_IDENTITY": str(self.identity), "FEDBUS_ROSTER": str(self.roster)}

    def credentials(self, role: Role) -> Credentials:
        """What is in them; raises ConfigError."""
        return Credentials.load(role, self.identity, self.roster)


@dataclass(frozen=True, slots=True)
class Introduced:
    """Who takes part in a simulation, each with an identity and a roster of all others."""

    parties: list[PartySettings]
    coordinator: KeyFiles
    client: KeyFiles


def client_of(spec: JobSpec) -> str:
    """Return the name of a simulation's client, which no participant has."""
    name = "client"
    while name in spec.participants:
        name += "-"
    return name


def introduce(spec: JobSpec, parties: Sequence[PartySettings], folder: Path) -> Introduced:
    """Make identities for a simulation's coordinator and client, and for its parties.

    Where a job needs identities, and all parties have their own, they keep these and their rosters. The coordinator's
    and the client's identities of the simulation are added to copies of the rosters. A party whose files are missing or
    wrong stays as it is: it says so itself when the job begins.

    Args:
        folder: gets the files.
    """
    coordinator, client = spec.coordinator, client_of(spec)
    made = [_make(folder, coordinator, Role.COORDINATOR), _make(folder, client, Role.CLIENT)]
    roster = folder / "roster.toml"
    if spec.needs_identities and all(party.identity and party.roster for party in parties):
        members, introduced = [], []
        for party in parties:
            try:
                members.append(Identity.load(party.path(party.identity)).introduction(party.name, Role.PARTY))
                introduced.append(_with_copy(party, folder, made))
            except ConfigError:
                introduced.append(party)
    else:
        members = [_make(folder, party.name, Role.PARTY) for party in parties]
        introduced = [
            msgspec.structs.replace(party, identity=str(_key(folder, party.name)), roster=str(roster))
            for party in parties
        ]
    _write(roster, [*made, *members])
    files = [KeyFiles(_key(folder, name), roster) for name in (coordinator, client)]
    return Introduced(introduced, *files)


def _make(folder: Path, name: str, role: Role) -> Member:
    return Identity.create(_key(folder, name)).introduction(name, role)


def _with_copy(party: PartySettings, folder: Path, made: Sequence[Member]) -> PartySettings:
    """Return a party with a roster that has the simulation's coordinator and client instead of any real ones."""
    replaced = {member.name for member in made}
    others = [member for member in Roster.load(party.path(party.roster)).members if member.name not in replaced]
    roster = folder / f"{party.name}.roster.toml"
    _write(roster, [*made, *others])
    return msgspec.structs.replace(
        party, identity=str(party.path(party.identity).absolute()), roster=str(roster.absolute())
    )


def _write(path: Path, members: Iterable[Member]) -> None:
    path.write_text("\n".join(["[members]", *(member.line() for member in members)]) + "\n", "utf-8")


def _key(folder: Path, name: str) -> Path:
    return folder / f"{name}.key"
