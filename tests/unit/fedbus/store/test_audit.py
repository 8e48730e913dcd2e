"""The audit log of a store: what is entered, when it is durable, and what verification finds of what was done to it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from fedbus import audit
from fedbus.audit import Head, Record, Verified, chained
from fedbus.crypto import signing
from fedbus.errors import AuditBroken, ConfigError
from fedbus.identity import Identity
from fedbus.job import JobState
from fedbus.store.reader import Reader
from fedbus.store.records import Checkpoint, StoredMessage
from fedbus.store.sqlite import SqliteStore

OWN = Identity(signing.generate())


def message(number: int, shape: str | None = "data bytes[4]") -> StoredMessage:
    return StoredMessage(f"m{number}", "job-1", "shop", "masked_update", number, 0, 0, b"body", shape)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store whose log has five records, the fourth of them a signature."""
    made = tmp_path / "bank.db"
    with SqliteStore(made) as store:
        store.add_job("job-1", b"spec", JobState.RUNNING)
        store.audit.enter("accepted", "job-1", rows=12)
        assert store.write("job-1", posted=[message(1), message(2)]) == [True, True]
        assert store.audit.sign(OWN, "bank") is not None
        store.audit.enter("failed", "job-1", reason="why")
    return made


def read(path: Path) -> tuple[list[Record], Head]:
    with Reader(path) as reader:
        return reader.audit()


def verified(path: Path) -> Verified:
    return audit.verify(*read(path), "bank", [OWN.public])


def test_a_log_says_what_was_decided_and_what_was_sent(path: Path) -> None:
    fields = [record.fields for record in read(path)[0]]
    assert [each["event"] for each in fields] == ["accepted", "release", "release", "signature", "failed"]
    assert [each["number"] for each in fields] == [1, 2, 3, 4, 5]
    release = fields[1]
    told = {name: release[name] for name in ("job", "kind", "to", "round", "shape", "bytes")}
    assert told == {
        "job": "job-1",
        "kind": "masked_update",
        "to": "shop",
        "round": 1,
        "shape": "data bytes[4]",
        "bytes": 4,
    }
    assert release["digest"] == hashlib.sha256(b"body").hexdigest()
    assert verified(path).to_map() == {"records": 5, "signed": 4, "signatures": 1, "unsigned_days": []}


def test_what_is_sent_again_or_is_no_party_s_is_not_entered_again(path: Path) -> None:
    with SqliteStore(path) as store:
        assert store.write("job-1", posted=[message(1), message(3, shape=None)]) == [False, True]
    assert verified(path).records == 5


def test_a_release_and_its_message_are_written_together_or_not_at_all(path: Path) -> None:
    with SqliteStore(path) as store:
        # SQLite has no number so large, which it says after the message and its record were put.
        with pytest.raises(OverflowError):
            store.write("job-1", posted=[message(7)], checkpoint=Checkpoint(2**70, b""))
        assert store.posted("job-1", "m7") is None
        assert [record.number for record in store.audit.records()] == [1, 2, 3, 4, 5]
        # And the chain goes on from what is there.
        store.audit.enter("accepted", "job-2")
    assert verified(path).records == 6


def test_the_log_outlives_the_job(path: Path) -> None:
    with SqliteStore(path) as store:
        store.purge("job-1")
    assert verified(path).records == 5


def test_nothing_is_signed_twice(path: Path) -> None:
    with SqliteStore(path) as store:
        assert store.audit.sign(OWN, "bank") is not None
        assert store.audit.sign(OWN, "bank") is None
    assert verified(path).signatures == 2


def tamper(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["UPDATE audit SET entry = replace(entry, '12', '13') WHERE number = 1"], "record 1 is not what was written"),
        (["UPDATE audit SET hash = zeroblob(32) WHERE number = 2"], "record 2 is not what was written"),
        (["DELETE FROM audit WHERE number = 3"], "record 3 is missing: record 4 follows 2"),
        (["DELETE FROM audit WHERE number = 1"], "record 1 is missing: record 2 follows the beginning"),
        (
            ["DELETE FROM audit WHERE number = 3", "UPDATE audit SET number = number - 1 WHERE number > 3"],
            "record 3 is not what was written",
        ),
        (
            [
                "UPDATE audit SET number = 30 WHERE number = 3",
                "UPDATE audit SET number = 3 WHERE number = 2",
                "UPDATE audit SET number = 2 WHERE number = 30",
            ],
            "record 2 is not what was written",
        ),
        (["INSERT INTO audit SELECT 6, entry, hash, digest FROM audit WHERE number = 5"], "record 6 is not what was"),
        (["DELETE FROM audit WHERE number = 5"], "ends with record 4.* record 5: the end is missing"),
        (["DELETE FROM audit"], "ends with record 0.* record 5"),
        (["DELETE FROM audit_head"], "does not say where its audit log ends"),
        (["UPDATE audit SET hash = 'text' WHERE number = 2"], "other types"),
    ],
)
def test_whatever_is_done_to_a_record_is_found(path: Path, statements: list[str], words: str) -> None:
    tamper(path, *statements)
    with pytest.raises(AuditBroken, match=words):
        verified(path)


def rewritten(records: list[Record], change: Callable[[dict[str, object]], object]) -> list[Record]:
    """A log written anew by somebody who knows how: every hash fits."""
    head, made = Head(), []
    for record in records:
        fields = record.fields
        change(fields)
        del fields["number"]
        made.append(chained(head, fields))
        head = Head(made[-1].number, made[-1].hash)
    return made


def test_a_log_that_was_written_anew_fails_at_its_first_signature(path: Path) -> None:
    records, _ = read(path)
    forged = rewritten(records, lambda fields: fields.update(rows=13) if fields["event"] == "accepted" else None)
    with pytest.raises(AuditBroken, match="record 4 has a signature that is not bank's"):
        audit.verify(forged, None, "bank", [OWN.public])


def test_a_signature_by_another_key_or_for_another_member_is_none(path: Path) -> None:
    records, head = read(path)
    with pytest.raises(AuditBroken, match="record 4 is signed by a key that is none of bank's"):
        audit.verify(records, head, "bank", [Identity(signing.generate()).public])
    with pytest.raises(AuditBroken, match="not shop's"):
        audit.verify(records, head, "shop", [OWN.public])


def test_what_was_cut_off_with_its_signatures_shows_against_an_earlier_export(path: Path, tmp_path: Path) -> None:
    export = tmp_path / "export.jsonl"
    records, _ = read(path)
    export.write_text("".join(f"{line}\n" for line in audit.to_lines(records)))
    audit.check_extends(records, audit.read_export(export))
    # This is what nothing in the store itself tells.
    assert audit.verify(records[:3], Head(3, records[2].hash), "bank", [OWN.public]).records == 3
    with pytest.raises(AuditBroken, match="the export has record 4, and the log ends before it"):
        audit.check_extends(records[:3], audit.read_export(export))
    forged = rewritten(records[:3], lambda fields: fields.update(at="2020-01-01"))
    with pytest.raises(AuditBroken, match="record 1 of the log is another than in the export"):
        audit.check_extends(forged, audit.read_export(export))


def test_days_that_no_signature_reaches_are_told() -> None:
    head, records = Head(), []
    for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
        records.append(chained(head, {"at": f"{day}T10:00", "event": "accepted", "job": "x"}))
        head = Head(records[-1].number, records[-1].hash)
    assert audit.verify(records, head, "bank", []).unsigned_days == ["2026-01-01", "2026-01-02"]


@pytest.mark.parametrize("line", ["", "[]", '{"entry": "{}", "hash": "zz"}', '{"entry": "[]", "hash": "00"}', "\x00"])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    export = tmp_path / "export.jsonl"
    export.write_text(line + "\n")
    with pytest.raises(ConfigError, match="line 1 is none that"):
        list(audit.read_export(export))


def test_entries_keep_any_text(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "bank.db") as store:
        store.audit.enter("refused", "job", reason='ünd "so" \n weiter')
        (record,) = store.audit.records()
    assert json.loads(record.entry)["reason"] == 'ünd "so" \n weiter'
