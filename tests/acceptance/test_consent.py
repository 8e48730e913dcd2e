"""A whole job under rules of consent that remember, and what its parties' audit logs have of it afterwards."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator.service import Service
from fedbus import audit
from fedbus.broker.base import Broker
from fedbus.cli import simulation
from fedbus.crypto.engine import Engine
from fedbus.messages.control import Alive, Event, Notice, Ping, Resend, ResendAfter
from fedbus.session.post import Post
from fedbus.settings import PartySettings
from fedbus.store.reader import Reader
from fedbus.store.records import StoredMessage
from fedbus.store.sqlite import SqliteStore
from federation import ROLES, Federation, synthetic
from parties.approval import Approvals
from parties.worker import Worker
from rows import synthetic as synthetic_rows
from rows import write_party

SIGNS = {kind.kind for kind in (Alive, Notice, Ping, Resend, ResendAfter)}

Make = Callable[[PartySettings, SqliteStore], PartySettings]


def roles(make: Make) -> simulation.Roles:
    """The usual roles with parties of other settings, or in whose stores is something already."""

    def party(config: PartySettings, broker: Broker, store: SqliteStore, engine: Engine, url: str) -> Worker:
        return Worker(make(config, store), broker, store, engine, url)

    return simulation.Roles(coordinator=Service, party=party, compare=ROLES.compare)


def log_of(place: Path, party: str) -> list[audit.Record]:
    """A party's log, which is verified with the key that it was signed by."""
    with Reader(place / f"{party}.db") as reader:
        records, head = reader.audit()
    keys = {str(record.fields["key"]) for record in records if record.fields["event"] == audit.SIGNATURE}
    verdict = audit.verify(records, head, party, keys)
    # The process signed when it stopped.
    assert (len(keys), verdict.signed) == (1, len(records))
    return records


def with_policy(federation: Federation, party: str, *rules: str) -> None:
    file = federation.folder / f"{party}.toml"
    file.write_text(file.read_text() + "[policy]\n" + "\n".join(rules) + "\n")


def test_everything_that_a_party_sends_is_in_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, lock, publish = Counter[tuple[str, str, str, str]](), threading.Lock(), Post._publish

    def spy(self: Post, *messages: StoredMessage, wait: bool = True) -> None:
        for stored in messages:
            if stored.kind not in SIGNS:
                digest = hashlib.sha256(stored.body).hexdigest()
                with lock:
                    # A message that was asked for again is released once.
                    sent[(self._party, stored.peer, stored.kind, digest)] = 1
        publish(self, *messages, wait=wait)

    monkeypatch.setattr(Post, "_publish", spy)
    federation = synthetic(tmp_path, max_epochs=3)
    report = federation.run()
    assert report["state"] == "succeeded", report
    entered = Counter[tuple[str, str, str, str]]()
    for party in ("shop", "bank"):
        events = [record.fields for record in log_of(federation.place, party)]
        (accepted,) = [fields for fields in events if fields["event"] == "accepted"]
        assert (accepted["job"], accepted["algorithm"], accepted["dataset"]) == (
            report["job"],
            "vertical-linear",
            "rows",
        )
        assert accepted["submitter"]
        releases = [fields for fields in events if fields["event"] == "release"]
        assert all(fields["shape"] and fields["bytes"] for fields in releases)
        # Nothing is sent before this party consents.
        assert releases[0]["kind"] == "accepted"
        assert releases[0]["number"] > accepted["number"]
        entered.update((party, fields["to"], fields["kind"], fields["digest"]) for fields in releases)
    assert entered == Counter({key: count for key, count in sent.items() if key[0] != "coordinator"})
    assert {kind for _, _, kind, _ in entered} >= {"accepted", "aligned", "masked_gradient", "finished"}


def test_a_refusal_is_in_the_log_in_the_words_that_all_were_told(tmp_path: Path) -> None:
    federation = synthetic(tmp_path)
    with_policy(federation, "bank", "max_rounds = 5")
    report = federation.run()
    assert report["state"] == "failed"
    assert "`max_rounds`" in report["reason"]
    (refused,) = [record.fields for record in log_of(federation.place, "bank") if record.fields["event"] == "refused"]
    assert report["reason"] == f"bank: {refused['reason']}"
    with SqliteStore(federation.place / "bank.db") as store:
        assert store.past.uses("rows") == []


def test_the_rows_in_common_are_compared_with_those_of_earlier_jobs(tmp_path: Path) -> None:
    federation = synthetic(tmp_path, max_epochs=2)
    with_policy(federation, "bank", "max_similar_jobs = 1")
    assert federation.run()["state"] == "succeeded"
    with SqliteStore(federation.place / "bank.db") as store:
        (used,) = store.past.uses("rows")
    assert used.sketch is not None
    assert used.sketch.rows == 36
    ids = [line.split(",")[0] for line in (tmp_path / "bank.csv").read_text().splitlines()[1:]]
    own = {line.split(",")[0] for line in (tmp_path / "shop.csv").read_text().splitlines()[1:]}
    common = [each for each in ids if each in own]

    def before(rows: list[str]) -> Make:
        def make(config: PartySettings, store: SqliteStore) -> PartySettings:
            if config.name == "bank":
                store.past.begin("earlier", "rows", None)
                store.past.enter_rows("earlier", store.past.sketch(rows))
            return config

        return make

    report = federation.run(roles=roles(before(common[1:])))
    assert report["state"] == "failed"
    assert "1 job here had nearly the same 36 rows" in report["reason"]
    # Nothing that follows from cells left the party.
    kinds = [fields.get("kind") for record in log_of(federation.place, "bank") if (fields := record.fields)]
    assert "aligned" not in kinds
    assert federation.run(roles=roles(before(common[:18])))["state"] == "succeeded"


@pytest.mark.parametrize("approved", [True, False])
def test_a_job_waits_for_the_operator_of_one_party(tmp_path: Path, approved: bool) -> None:
    federation, asked = synthetic(tmp_path, max_epochs=2), list[Approvals]()
    with_policy(federation, "bank", "ask = true")

    def make(config: PartySettings, _: SqliteStore) -> PartySettings:
        if config.name == "bank":
            config = msgspec.structs.replace(config, simulation=False)
            asked.append(Approvals.of(config))
        return config

    class Operator(list[Event]):
        """Answers when watchers are told that the job waits for that."""

        def append(self, event: Event) -> None:
            if isinstance(event, Notice) and "operator" in event.text:
                (question,) = asked[-1].pending()
                assert question["dataset"] == "rows"
                asked[-1].answer(question["job"], approved=approved, why="not agreed")
            super().append(event)

    federation.events = Operator()
    report = federation.run(roles=roles(make))
    assert report["state"] == ("succeeded" if approved else "failed"), report
    events = [record.fields for record in log_of(federation.place, "bank")]
    (decided,) = [fields for fields in events if fields["event"] in ("approved", "rejected")]
    assert (decided["event"], decided["why"]) == ("approved" if approved else "rejected", "not agreed")
    if not approved:
        assert "bank: this party's operator does not approve the job" in report["reason"]
        assert "not agreed" in report["reason"]
        assert [fields["event"] for fields in events] == ["rejected", "refused", "signature"]
    # Question and answer are gone with the job.
    assert list(asked[-1].folder.iterdir()) == []


def test_a_job_that_nobody_approves_ends_with_its_limit(tmp_path: Path) -> None:
    federation = synthetic(tmp_path, max_epochs=2)
    federation.limits = {"join": 1.0}
    with_policy(federation, "bank", "ask = true")
    report = federation.run(roles=roles(lambda config, _: msgspec.structs.replace(config, simulation=False)))
    assert report["state"] == "failed"
    assert "bank did not join within 1 s (limits.join)" in report["reason"]
    assert "approve" in report["reason"]
    with SqliteStore(federation.place / "bank.db") as store:
        assert store.past.uses("rows") == []


def test_a_private_job_is_charged_with_its_budget_and_then_with_what_it_spent(tmp_path: Path) -> None:
    rows = synthetic_rows(tmp_path, rounds=2, tested=False)
    rows.more = "[privacy]\nnoise_multiplier = 4.0\nepsilon = 6.0\ndelta = 1e-3\n"
    for name in rows.parties:
        write_party(tmp_path, name, extra="[policy]\nepsilon = { rows = 10.0 }\n")
    report = rows.run()
    assert report["state"] == "succeeded", report
    for name in rows.parties:
        with SqliteStore(rows.place / f"{name}.db") as store:
            (used,) = store.past.uses("rows")
        assert used.charged == 6.0
        assert used.spent is not None
        assert 0 < used.spent <= report["epsilon"][-1]
        assert used.sketch is not None

    def spent(config: PartySettings, store: SqliteStore) -> PartySettings:
        store.past.begin("earlier", "rows", 5.0)
        return config

    report = rows.run(roles=roles(spent))
    assert report["state"] == "failed"
    assert "epsilon of 6 on this party's data set 'rows', whose budget is 10" in report["reason"]


def test_a_private_job_that_ends_before_it_trains_spends_nothing(tmp_path: Path) -> None:
    rows = synthetic_rows(tmp_path, rounds=2, tested=False)
    rows.more = "[privacy]\nnoise_multiplier = 4.0\nepsilon = 6.0\ndelta = 1e-3\n"
    write_party(tmp_path, "carol", extra="[policy]\nmin_rows_per_column = 1000\n")
    report: dict[str, Any] = rows.run()
    assert "`min_rows_per_column`" in report["reason"]
    for name in rows.parties:
        with SqliteStore(rows.place / f"{name}.db") as store:
            assert [used.spent for used in store.past.uses("rows")] == [0.0]
