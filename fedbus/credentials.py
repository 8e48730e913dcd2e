"""A process knows who it is and whom it knows: its identity and its roster have to agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedbus.errors import ConfigError
from fedbus.identity import Identity, Role, Roster
from fedbus.settings import CoordinatorSettings, PartySettings


@dataclass(frozen=True, slots=True)
class Credentials:
    """A member's own key and the public keys of all members, its own among them."""

    name: str
    role: Role
    identity: Identity
    roster: Roster

    @classmethod
    def load(cls, role: Role, identity_file: Path, roster_file: Path, name: str | None = None) -> Credentials:
        """Read a member's two files.

        Args:
            name: the member's; None takes the one that the roster has for the key.

        Raises:
            ConfigError: a file is missing or wrong, or the roster does not have this key for the member, in this role.
        """
        identity, roster = Identity.load(identity_file), Roster.load(roster_file)
        owner = roster.owner(identity.public)
        if name is not None and name in roster.names and owner != name:
            raise ConfigError(
                f"{roster_file}: members.{name}: is not the key in {identity_file}; enter what `fedbus identity` prints"
            )
        if owner is None or (name is not None and owner != name):
            raise ConfigError(
                f"{roster_file}: members: has no {name or 'member'} with the key in {identity_file}; enter what"
                " `fedbus identity` prints by `fedbus roster add`"
            )
        if roster.role(owner) != role:
            raise ConfigError(f"{roster_file}: members.{owner}: is a {roster.role(owner)} there, and a {role} here")
        return cls(owner, role, identity, roster)

    @classmethod
    def of_client(cls, identity_file: Path | None, roster_file: Path | None, user: str | None) -> Credentials:
        """Read a client's two files.

        Args:
            user: of the broker, who has to be the client; None where all share one.

        Raises:
            ConfigError: as `load`, a file is not named, or the broker knows this client as another.
        """
        if identity_file is None or roster_file is None:
            missing = "identity" if identity_file is None else "roster"
            raise ConfigError(
                f"--{missing}: missing; a client signs what it asks for, and knows the coordinator by its key: name"
                " its key file and its roster by --identity and --roster, or FEDBUS_IDENTITY and FEDBUS_ROSTER"
                " (`fedbus identity --client NAME` makes the one, `fedbus roster add` the other)"
            )
        return cls.load(Role.CLIENT, identity_file, roster_file, user)

    @classmethod
    def of_member(cls, settings: PartySettings | CoordinatorSettings, role: Role) -> Credentials:
        """Read the two files that a party's or coordinator's own file names.

        Raises:
            ConfigError: as `load`, or a file is not named.
        """
        for key in ("identity", "roster"):
            if not getattr(settings, key):
                raise ConfigError(
                    f"{settings.file}: {key}: missing; all that members tell each other is sealed under their keys:"
                    f" `fedbus identity {settings.file}` makes one, `fedbus roster add` enters those of the others"
                )
        return cls.load(role, settings.path(settings.identity), settings.path(settings.roster), settings.name)
