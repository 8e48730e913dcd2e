"""An audit log says what a party decided and what it sent, each record chained to the one before by its hash.

A record's hash is SHA-256 over the hash before it and the record's text, so that none can be changed, left out, added
or moved without every later hash being another. Records of kind "signature" hold the member's signature over the hash
before them. docs/adr/0014-an-audit-log-in-the-store.md says what that shows and what it cannot.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedbus import files
from fedbus.crypto import signing
from fedbus.errors import AuditBroken, ConfigError
from fedbus.identity import Identity
from fedbus.members.keys import read_public

START = bytes(32)
SIGNATURE = "signature"
_PURPOSE = "fedbus audit log"


@dataclass(frozen=True, slots=True)
class Record:
    """A record of an audit log.

    Attributes:
        number: its place, from 1.
        entry: what it says, a map as JSON; its hash is over this text.
    """

    number: int
    entry: str
    hash: bytes

    @property
    def fields(self) -> dict[str, Any]:
        """What the record says; empty where it is no map."""
        try:
            found = json.loads(self.entry)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Head:
    """Where an audit log ends: how many records it has, and the hash of the last one."""

    number: int = 0
    hash: bytes = START


@dataclass(slots=True)
class Verified:
    """What a sound log shows.

    Attributes:
        records: how many there are.
        signed: up to which of them a signature reaches; 0 for none.
        signatures: how many there are.
        unsigned_days: days with records that no signature reaches, today and the last day with any apart.
    """

    records: int = 0
    signed: int = 0
    signatures: int = 0
    unsigned_days: list[str] = field(default_factory=list)

    def to_map(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def chained(head: Head, entry: Mapping[str, Any]) -> Record:
    """The record that follows a head."""
    text = json.dumps({"number": head.number + 1, **entry}, ensure_ascii=False, separators=(",", ":"))
    return Record(head.number + 1, text, _hash(head.hash, text))


def signature(identity: Identity, name: str, head: Head) -> dict[str, Any]:
    """The fields of a record in which a member signs the log up to a head."""
    made = identity.sign(_PURPOSE, *_signed(name, head))
    return {"signer": name, "key": identity.public, "signature": base64.b64encode(made).decode()}


def verify(records: Iterable[Record], head: Head | None, name: str, keys: Iterable[str]) -> Verified:
    """Hold a log against its hashes, its head and the signatures in it.

    Args:
        head: where the log says that it ends; None where that is not known, of an export.
        name: whose log it is.
        keys: the public keys by which that member may have signed; none takes no signature for valid.

    Raises:
        AuditBroken: says which record is changed, missing, added or moved, or that the end is missing.
    """
    verdict, at, known, days = Verified(), Head(), set(keys), dict[str, int]()
    for record in records:
        if record.number != at.number + 1:
            raise AuditBroken(
                f"record {at.number + 1} is missing: record {record.number} follows {at.number or 'the beginning'}"
            )
        fields = record.fields
        if record.hash != _hash(at.hash, record.entry) or fields.get("number") != record.number:
            raise AuditBroken(f"record {record.number} is not what was written, or follows another than it followed")
        if fields.get("event") == SIGNATURE:
            _check_signature(record, fields, name, at, known)
            verdict.signed, verdict.signatures = record.number, verdict.signatures + 1
        days[str(fields.get("at", ""))[:10]] = record.number
        at = Head(record.number, record.hash)
    if head is not None and at != head:
        raise AuditBroken(
            f"the log ends with record {at.number}, and the store says that its last one is record {head.number}: the"
            " end is missing or another"
        )
    verdict.records = at.number
    verdict.unsigned_days = [day for day, last in sorted(days.items())[:-1] if last > verdict.signed]
    return verdict


def check_extends(records: Iterable[Record], export: Iterable[Record]) -> None:
    """AuditBroken where a log does not begin with what was exported of it earlier."""
    own = iter(records)
    for before in export:
        now = next(own, None)
        if now is None:
            raise AuditBroken(f"the export has record {before.number}, and the log ends before it")
        if now.hash != before.hash:
            raise AuditBroken(f"record {before.number} of the log is another than in the export")


def to_lines(records: Iterable[Record]) -> Iterator[str]:
    """Records as lines of JSON, as an export has them."""
    for record in records:
        yield json.dumps({"entry": record.entry, "hash": record.hash.hex()}, ensure_ascii=False)


def read_export(path: Path) -> Iterator[Record]:
    """The records of an export.

    Raises:
        ConfigError: it cannot be read, or a line is none of an export; names the file and the line.
    """
    try:
        file = path.open(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {files.reason(error, path)}") from None
    with file:
        for number, line in enumerate(file, 1):
            try:
                found = json.loads(line)
                record = Record(number, found["entry"], bytes.fromhex(found["hash"]))
                yield Record(int(record.fields["number"]), record.entry, record.hash)
            except (ValueError, KeyError, TypeError):
                raise ConfigError(f"{path}: line {number} is none that `fedbus audit export` wrote") from None


def now() -> str:
    """The time, UTC, as records have it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _check_signature(record: Record, fields: Mapping[str, Any], name: str, at: Head, keys: set[str]) -> None:
    key = read_public(str(fields.get("key")))
    if key is None or fields.get("key") not in keys:
        raise AuditBroken(f"record {record.number} is signed by a key that is none of {name}'s")
    try:
        found = base64.b64decode(str(fields.get("signature")), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not signing.is_signed(key, found, signing.statement(_PURPOSE, _signed(name, at))):
        raise AuditBroken(f"record {record.number} has a signature that is not {name}'s over the records before it")


def _signed(name: str, head: Head) -> tuple[bytes, ...]:
    return name.encode(), str(head.number).encode(), head.hash


def _hash(before: bytes, entry: str) -> bytes:
    return hashlib.sha256(before + entry.encode()).digest()
