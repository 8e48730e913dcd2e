"""A party believes only those whose keys it knows, by its own identity and the roster of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedbus.credentials import Credentials
from fedbus.errors import ConfigError, ProtocolError
from fedbus.identity import Identity, Role, Roster
from fedbus.names import listed

_MASK_KEYS = "fedbus mask keys"


@dataclass(frozen=True, slots=True)
class Trust:
    """A party's identity and the public keys of all others."""

    name: str
    identity: Identity
    roster: Roster

    @classmethod
    def of(cls, known: Credentials, file: Path, parties: Sequence[str]) -> Trust:
        """Hold a party's credentials against a job.

        Args:
            file: of the roster, for errors.

        Raises:
            ConfigError: a party of the job is not on the roster.
        """
        missing = [party for party in parties if party not in known.roster.names]
        if missing:
            take = "takes" if len(missing) == 1 else "take"
            raise ConfigError(f"{file}: members: has no key of {listed(missing)}, which {take} part in the job")
        return cls(known.name, known.identity, known.roster)

    def sign(self, job: str, window: int, channel: bytes, keys: bytes) -> bytes:
        """Sign this party's word that these keys are its own in this window of this job."""
        return self.identity.sign(_MASK_KEYS, job.encode(), str(window).encode(), self.name.encode(), channel, keys)

    def verify(self, party: str, signature: bytes, job: str, window: int, channel: bytes, keys: bytes) -> None:
        """Raise ProtocolError where these keys are not the party's own, or it is not on the roster."""
        parts = (job.encode(), str(window).encode(), party.encode(), channel, keys)
        try:
            self.roster.verify(party, signature, _MASK_KEYS, *parts, role=Role.PARTY)
        except ProtocolError as error:
            raise ProtocolError(f"the mask keys that came as {party}'s are not its own: {error}") from error
