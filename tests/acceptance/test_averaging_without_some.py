"""A party that says nothing at some step is left out or replaced, and takes part again as soon as it can."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.service import Service
from fedbus.algorithms.fedavg.messages import Assignment
from fedbus.algorithms.sums.messages import PeerKeys, PeerShares
from fedbus.broker.base import Broker, Delivery, Handler, Subscription
from fedbus.cli import simulation
from fedbus.crypto.engine import Engine
from fedbus.messages.control import Event, StateChanged
from fedbus.session.session import Session
from fedbus.settings import PartySettings
from fedbus.store.sqlite import SqliteStore
from federation import ROLES
from keyring import peek
from parties.fedavg.member import Follower
from parties.sums.homomorphic import Encryption
from parties.sums.masked import Masking
from parties.worker import Worker
from rows import synthetic


def test_another_party_makes_the_first_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, initialise = synthetic(tmp_path, deadline=0.5), Follower._initialise

    def silent(self: Follower) -> None:
        if self.session.party != "bob":
            initialise(self)

    monkeypatch.setattr(Follower, "_initialise", silent)
    report = rows.run()
    assert report["state"] == "succeeded", report
    assert "did not answer" in report["left_out"]["bob"]
    # The first weights follow from the seed, whoever makes them.
    np.testing.assert_array_equal(rows.model(report["job"], "alice").flat, rows.model(report["job"], "carol").flat)


def test_a_party_that_missed_the_shares_gets_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, keep = synthetic(tmp_path), Masking.keep

    def missed(self: Masking, order: PeerShares) -> None:
        if self._session.party != "carol" or self._opened().number:
            keep(self, order)

    monkeypatch.setattr(Masking, "keep", missed)
    report = rows.run()
    assert report["state"] == "succeeded", report
    # It abstains once, from the means of columns; then there is another window.
    assert report["left_out"] == {"carol": "has no part in the keys of this sum"}
    assert report["members"] == [3] * 4
    assert report["missing"] == [0] * 4


@pytest.mark.parametrize("aggregation", ["masked", "paillier"])
def test_a_sum_that_overtakes_the_last_message_of_the_keys_leaves_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aggregation: str
) -> None:
    key = {"key_bits": 512, "insecure_for_tests": True} if aggregation == "paillier" else {}
    rows = synthetic(tmp_path, aggregation=aggregation, **key)
    overtaken, held, at = [], dict[str, Callable[[], None]](), Session.at

    def past(session: Session[Any], round_: int) -> None:
        at(session, round_)
        if session.party in held:
            overtaken.append(session.party)
            held.pop(session.party)()

    def party(config: PartySettings, broker: Broker, store: SqliteStore, engine: Engine, url: str) -> Worker:
        """A party to which each last message of an exchange of keys comes once it follows a later order."""
        consume = broker.consume

        def consumed(queue: str, handler: Handler, *arguments: Any, **named: Any) -> Subscription:
            def received(delivery: Delivery) -> None:
                kind = peek(delivery.body).kind if ".job." in queue else ""
                if kind == PeerShares.kind:
                    held[config.name] = functools.partial(handler, delivery)
                else:
                    handler(delivery)

            return consume(queue, received, *arguments, **named)

        broker.consume = consumed  # type: ignore[method-assign]
        return Worker(config, broker, store, engine, url)

    monkeypatch.setattr(Session, "at", past)
    report = rows.run(roles=simulation.Roles(coordinator=Service, party=party, compare=ROLES.compare))
    assert report["state"] == "succeeded", report
    # One window serves all sums.
    assert sorted(overtaken) == sorted(rows.parties)
    assert report["left_out"] == {}
    assert report["missing"] == [0] * 4
    assert report["max_weight_difference"] < 1e-6


def test_too_few_parties_are_named_while_they_are_waited_for_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, contribute = synthetic(tmp_path, deadline=2.0), Follower._contribute
    rows.limits = {"silence": 6, "resend": 1}
    over = threading.Event()

    def silent(self: Follower, order: Assignment) -> None:
        if order.task == "train" and order.number == 2 and self.session.party != "bob":
            # Nothing is heard of it any more: a process that is held would do the same.
            self.session._post._subscription.cancel()  # type: ignore[union-attr]
            over.wait(60)
        contribute(self, order)

    def watch(event: Event) -> None:
        if isinstance(event, StateChanged) and event.state == "failed":
            over.set()

    monkeypatch.setattr(Follower, "_contribute", silent)
    rows.watch = watch
    report = rows.run()
    assert rows.notices == ["waiting for alice, carol: a round takes 2 of the 3 parties"]
    assert report["state"] == "failed"
    assert "alice: gave no sign of life for 6 s (limits.silence); carol: gave no" in report["reason"]
    # What was reached is told all the same.
    assert report["rounds"] == len(report["loss"]) == 2
    assert report["took_part"] == {"bob": 2, "alice": 2, "carol": 2}


def test_another_party_deals_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = synthetic(tmp_path, aggregation="paillier", key_bits=512, insecure_for_tests=True, deadline=0.5)
    deal = Encryption.deal

    def silent(self: Encryption, order: PeerKeys) -> Any:
        return () if self._session.party == "bob" else deal(self, order)

    monkeypatch.setattr(Encryption, "deal", silent)
    report = rows.run()
    assert report["state"] == "succeeded", report
    assert report["test_loss"][-1] < report["test_loss"][0]


def test_training_goes_on_with_a_fraction_of_the_parties(tmp_path: Path) -> None:
    rows = synthetic(tmp_path, parties=5, rounds=6, client_fraction=0.6)
    report = rows.run()
    assert report["state"] == "succeeded", report
    assert report["members"] == [3] * 6
    assert report["missing"] == [0] * 6
    assert sum(report["took_part"].values()) == 3 * 6
    assert rows.notices == []
    assert report["test_loss"][-1] < report["test_loss"][0]
