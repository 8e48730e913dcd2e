"""A member's own key, by which it signs and agrees on secrets; the others know it by their rosters.

The keys reach the members' operators outside fedbus, as host keys of ssh do: the coordinator, which passes messages
on, could otherwise name keys of its own.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fedbus.crypto import edwards, sealing, signing
from fedbus.errors import ConfigError, ProtocolError
from fedbus.files import reason
from fedbus.members.entries import Key, Member, Role, statement
from fedbus.members.keys import PRIVATE, private_text, public_text, read_private, read_public
from fedbus.members.roster import Roster

__all__ = ["Identity", "Role", "Roster"]

_MODE = 0o600
_OTHERS = 0o077
# A key file has 61 bytes; nothing longer needs to be read to refuse it.
_MAX_FILE_BYTES = 1024


class Identity:
    """A member's own key.

    Args:
        private: an Ed25519 private key, 32 bytes.
    """

    __slots__ = ("_private",)

    def __init__(self, private: bytes) -> None:
        signing.public_key(private)
        self._private = private

    @classmethod
    def create(cls, path: Path) -> Identity:
        """A new identity, written to a new file that only its owner may read.

        Raises:
            ConfigError: there is a file already, or none can be written; names the file.
        """
        private = signing.generate()
        line = private_text(private) + "\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be written: {path.parent} cannot be made: {reason(error, path)}"
            ) from error
        try:
            # Exclusive: a private key that is overwritten is lost to everybody.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        except FileExistsError:
            raise ConfigError(f"{path}: there is a file already; load it, or move it away for a new identity") from None
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {reason(error, path)}") from error
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            path.unlink(missing_ok=True)
            raise ConfigError(f"{path}: cannot be written: {reason(error, path)}") from error
        return cls(private)

    @classmethod
    def load(cls, path: Path) -> Identity:
        """The identity in a file that `create` wrote.

        Raises:
            ConfigError: no such file, a file that others may read, or one that holds no key; names the file and the
                remedy, never what is in it.
        """
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                # As ssh does: what others could read before, they may have kept.
                if mode & _OTHERS:
                    raise ConfigError(f"{path}: a private key that others may read (mode {mode:04o}); chmod 600 {path}")
                text = file.read(_MAX_FILE_BYTES)
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such file; create an identity there first") from None
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {reason(error, path)}") from error
        private = read_private(text.decode("ascii", "replace").strip())
        if private is None:
            raise ConfigError(
                f"{path}: no private key; expected one line {PRIVATE}… as written when an identity is created"
            )
        return cls(private)

    @property
    def public(self) -> str:
        """The public key as the roster has it: "ed25519:" and base64."""
        return public_text(signing.public_key(self._private))

    def sign(self, purpose: str, *parts: bytes) -> bytes:
        """The signature, 64 bytes, of parts for a purpose; it is valid for no other purpose and no other parts."""
        return signing.sign(self._private, signing.statement(purpose, parts))

    def introduction(self, name: str, role: Role) -> Member:
        """This identity as a member of a federation: what other members enter into their rosters, with its proof."""
        public = signing.public_key(self._private)
        return Member(name, role, (Key(public, proof=signing.sign(self._private, statement(name, role, public))),))

    def agree(self, roster: Roster, name: str, public: str = "") -> bytes:
        """The secret, 32 bytes, that this identity and a member have in common, and nobody else knows.

        It is the same for ever. Keys are derived from it, with both names, by `sealing.derive`.

        Args:
            public: which of the member's keys, where it has two; the one that it signs by where empty.

        Raises:
            ProtocolError: the member is not on the roster, or the key is none of its valid ones.
        """
        keys = roster.keys(name)
        key = read_public(public) if public else keys[0]
        if key is None or key not in keys:
            raise ProtocolError(f"{name} agrees on secrets by a key that the roster does not have for it")
        return sealing.agree(edwards.private_to_x25519(self._private), edwards.public_to_x25519(key))

    def __repr__(self) -> str:
        return f"Identity({self.public})"
