"""The audit log of a store. A release is entered in the transaction that puts the message into the outbox.

So a record is durable before its message leaves, and none is written of a message that was never to leave.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedbus.audit import SIGNATURE, Head, Record, chained, now, signature
from fedbus.identity import Identity
from fedbus.store import tables as t
from fedbus.store.checks import opened, sealed
from fedbus.store.database import Database
from fedbus.store.records import StoredMessage

_WHERE = "the audit log"


class SqliteAuditLog:
    """The audit log of a store in SQLite; what each method does is said in `base.AuditLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def enter(self, event: str, job: str, **fields: Any) -> None:
        with self._database.writing() as cursor:
            self._append(cursor, [{"at": now(), "event": event, "job": job, **fields}])

    def release(self, cursor: sqlite3.Cursor, messages: Sequence[StoredMessage]) -> None:
        """Enter the messages of a transaction that release information: those whose shape is known."""
        at = now()
        entries = [
            {
                "at": at,
                "event": "release",
                "job": message.job,
                "kind": message.kind,
                "to": message.peer,
                "round": message.round,
                "shape": message.shape,
                "bytes": len(message.body),
                "digest": hashlib.sha256(message.body).hexdigest(),
            }
            for message in messages
            if message.shape is not None
        ]
        if entries:
            self._append(cursor, entries)

    def sign(self, identity: Identity, name: str) -> Head | None:
        with self._database.writing() as cursor:
            last = cursor.execute(t.LAST_AUDIT).fetchone()
            head = self._head(cursor)
            if last is None or Record(*last[:3]).fields.get("event") == SIGNATURE:
                return None
            self._append(cursor, [{"at": now(), "event": SIGNATURE, **signature(identity, name, head)}])
        return head

    def records(self) -> Iterator[Record]:
        for row in self._database.rows(t.audit, t.AUDIT, job=_WHERE):
            yield Record(*row)

    def _head(self, cursor: sqlite3.Cursor) -> Head:
        found = cursor.execute(t.AUDIT_HEAD).fetchone()
        if found is None:
            return Head()
        _, number, digest = opened(self._database.path, t.audit_head.name, found, _WHERE)
        return Head(number, digest)

    def _append(self, cursor: sqlite3.Cursor, entries: Sequence[Mapping[str, Any]]) -> None:
        # Read from the store, in the transaction: after one that failed memory would be ahead of it.
        head = self._head(cursor)
        for entry in entries:
            record = chained(head, entry)
            cursor.execute(t.ADD_AUDIT, sealed(t.audit.name, (record.number, record.entry, record.hash)))
            head = Head(record.number, record.hash)
        cursor.execute(t.PUT_AUDIT_HEAD, sealed(t.audit_head.name, (1, head.number, head.hash)))
