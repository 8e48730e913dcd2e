"""Who is who in a federation: the key that a party signs with, and the roster of the keys of all parties.

The keys reach the parties' operators outside fedbus, as host keys of ssh do: the coordinator, which passes messages
on, could otherwise name keys of its own.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from fedbus.crypto import signing
from fedbus.errors import ConfigError, ProtocolError
from fedbus.files import reason
from fedbus.names import NAME
from fedbus.schema import convert, read_toml

_PRIVATE = "ed25519-private:"
_PUBLIC = "ed25519:"
_MODE = 0o600
_OTHERS = 0o077
# A key file has 61 bytes; nothing longer needs to be read to refuse it.
_MAX_FILE_BYTES = 1024


class Identity:
    """A party's own key.

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
        line = f"{_PRIVATE}{base64.b64encode(private).decode()}\n"
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
        private = _key(text.decode("ascii", "replace").strip(), _PRIVATE, signing.PRIVATE_BYTES)
        if private is None:
            raise ConfigError(
                f"{path}: no private key; expected one line {_PRIVATE}… as written when an identity is created"
            )
        return cls(private)

    @property
    def public(self) -> str:
        """The public key as the roster has it: "ed25519:" and base64."""
        return _PUBLIC + base64.b64encode(signing.public_key(self._private)).decode()

    def sign(self, purpose: str, *parts: bytes) -> bytes:
        """The signature, 64 bytes, of parts for a purpose; it is valid for no other purpose and no other parts."""
        return signing.sign(self._private, signing.statement(purpose, parts))

    def __repr__(self) -> str:
        return f"Identity({self.public})"


class _RosterFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    parties: dict[str, Any]


class Roster:
    """The parties of a federation and their public keys; `of` and `load` make one."""

    __slots__ = ("_keys",)

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._keys = keys

    @classmethod
    def of(cls, mapping: Mapping[str, str]) -> Roster:
        """The roster of a map from party to public key ("ed25519:" and base64).

        Raises:
            ConfigError: not a party's name, not a public key, or one key for two parties; names the party.
        """
        return cls(_keys(mapping, "roster"))

    @classmethod
    def load(cls, path: Path) -> Roster:
        """The roster in a TOML file: the table [parties], a line `alice = "ed25519:…"` for each party.

        Raises:
            ConfigError: as `of`, or the file is missing or something else; names the file and the key.
        """
        fields = read_toml(path)
        stray = [name for name, value in fields.items() if isinstance(value, str) and name != "parties"]
        if stray:
            raise ConfigError(f"{path}: {stray[0]}: the keys of parties go under [parties]; write that line above them")
        return cls(_keys(convert(fields, _RosterFile, str(path)).parties, str(path)))

    @property
    def names(self) -> tuple[str, ...]:
        """The parties, in the order of their names."""
        return tuple(sorted(self._keys))

    def public(self, name: str) -> str:
        """A party's public key as the file has it; raises KeyError where it is not on the roster."""
        return _PUBLIC + base64.b64encode(self._keys[name]).decode()

    def verify(self, name: str, signature: bytes, purpose: str, *parts: bytes) -> None:
        """Make sure that a party signed these parts for this purpose.

        Raises:
            ProtocolError: the party is not on the roster, or it is not a signature by the key that the roster has.
        """
        key = self._keys.get(name)
        if key is None:
            raise ProtocolError(f"{name!r} is not on the roster; its operator's public key has to be put there first")
        if not signing.is_signed(key, signature, signing.statement(purpose, parts)):
            raise ProtocolError(
                f"the {purpose} of {name} is not signed by the key that the roster has for it: it was changed, "
                f"or {name} has another key by now"
            )


def _keys(mapping: Mapping[str, Any], where: str) -> dict[str, bytes]:
    if not mapping:
        raise ConfigError(f'{where}: parties: there are none; each has a line name = "{_PUBLIC}…"')
    owners: dict[bytes, str] = {}
    for name, text in mapping.items():
        place = f"{where}: parties.{name}"
        if not NAME.fullmatch(name):
            raise ConfigError(f"{place}: not a name; one has small letters, digits, _ and -, 64 at most")
        if isinstance(text, str) and text.startswith(_PRIVATE):
            raise ConfigError(f"{place}: a private key, which belongs in no roster; make a new one, this one is known")
        key = _key(text, _PUBLIC, signing.PUBLIC_BYTES) if isinstance(text, str) else None
        if key is None or signing.is_weak(key):
            raise ConfigError(f'{place}: not a public key; expected "{_PUBLIC}" and 44 characters of base64')
        if key in owners:
            # Either of the two could sign as the other.
            raise ConfigError(f"{place}: the same key as parties.{owners[key]}; every party makes its own")
        owners[key] = name
    return {name: key for key, name in owners.items()}


def _key(text: str, prefix: str, size: int) -> bytes | None:
    if not text.startswith(prefix):
        return None
    try:
        key = base64.b64decode(text.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == size else None
