"""The ways of hiding at a party: what each sends in which order, what it waits for, which orders it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from summing import NAMES, RULES, FakeContributor, FakeSession, Order, peer_keys, trusts

from fedbus.algorithms.sums.layout import SumLayout
from fedbus.algorithms.sums.messages import (
    ORDERS,
    Advertise,
    EncryptedSum,
    PeerKeys,
    PeerShares,
    RevealRequest,
)
from fedbus.algorithms.sums.rules import SumRules
from fedbus.crypto.engine import Engine
from fedbus.crypto.residues import FixedRing
from fedbus.errors import ProtocolError
from parties.sums.homomorphic import Encryption
from parties.sums.masked import Masking
from parties.sums.plain import Plain
from parties.sums.trust import Trust

LAYOUT = SumLayout("number", 3, 0, FixedRing.plan(8.0, 16, len(NAMES)))
OF_KEY = SumRules.of("paillier", NAMES, key_bits=512, deadline=4.0)
ORDER = Order(0, 0, NAMES)


def vector(*values: int) -> Any:
    return iter([(0, np.array(values, LAYOUT.ring.dtype))])


def made(name: str, way: str, trust: Trust | None = None) -> Any:
    """A party's hiding, its session as `_session`."""
    session = FakeSession(name)
    contributor = FakeContributor(session, LAYOUT)
    arguments: Any = (session, RULES if way == "masked" else OF_KEY, contributor, trust)
    if way == "plain":
        contributor.hiding = Plain(session, contributor)  # type: ignore[arg-type]
    elif way == "masked":
        contributor.hiding = Masking(*arguments, {})
    else:
        contributor.hiding = Encryption(*arguments, Engine(0), {})
    return contributor.hiding


@pytest.fixture
def trio(tmp_path: Path) -> Any:
    """Makes all parties of one way, whose shares of a window are on their way, to come in session round 7."""
    known = trusts(tmp_path)

    def parties(way: str) -> dict[str, Any]:
        all_ = {name: made(name, way, known[name]) for name in NAMES}
        given = {name: party.advertise(Advertise(0, 4)) for name, party in all_.items()}
        dealt = {}
        for name, party in all_.items():
            party._session.round = 6
            party._session.give(peer_keys(given))
            party.follow(PeerKeys)
            dealt[name] = [each for kind, each in party._session.done if kind == "sealed_shares"]
        dealers = [name for name in NAMES if dealt[name]]
        for place, party in enumerate(all_.values()):
            sealed = tuple(dealt[name][0].sealed[place] for name in dealers)
            party._session.give(PeerShares(tuple(dealers), sealed), round_=7)
        return all_

    return parties


def opened(trio: Any, way: str) -> dict[str, Any]:
    """The parties with an open window, in session round 8, with nothing remembered."""
    parties: dict[str, Any] = trio(way)
    for party in parties.values():
        party._session.round = 7
        party.follow(PeerShares)
        party._session.round = 8
        party._session.done.clear()
    return parties


def test_nothing_hides_a_plain_vector_and_no_order_belongs_to_it() -> None:
    plain = made("bob", "plain")
    assert plain.has_keys(Order(-1, 0, NAMES))
    plain.send(Order(-1, 0, NAMES), LAYOUT, vector(1, 2, 3), 0.5)
    (kind, (piece,)), ended = plain._session.done
    assert (kind, piece.seconds, ended) == ("plain_update", 0.5, ("checkpoint", 5))
    assert np.frombuffer(piece.residues, LAYOUT.ring.dtype).tolist() == [1, 2, 3]
    for order in ORDERS:
        with pytest.raises(ProtocolError, match=f"sent a {order.kind}, which aggregation 'plain' does not have"):
            plain.follow(order)


@pytest.mark.parametrize(("way", "foreign"), [("masked", EncryptedSum), ("paillier", RevealRequest)])
def test_an_order_of_another_way_is_refused(trio: Any, way: str, foreign: Any) -> None:
    bob = opened(trio, way)["bob"]
    with pytest.raises(ProtocolError, match=f"sent a {foreign.kind}, which aggregation '{way}' does not have"):
        bob.follow(foreign)
    assert bob._session.done == []


@pytest.mark.parametrize(("way", "sent"), [("masked", ["sealed_shares"]), ("paillier", ["sealed_shares", "sum_key"])])
def test_what_is_dealt_is_durable_before_it_is_sent(trio: Any, way: str, sent: list[str]) -> None:
    parties = trio(way)
    # Shares and keys are drawn at random: after a restart others would be sent under the same ids.
    assert parties["bob"]._session.done[0] == ("checkpoint", 5)
    assert [kind for kind, _ in parties["bob"]._session.done] == ["checkpoint", *sent]
    if way == "paillier":
        assert [kind for kind, _ in parties["carol"]._session.done] == ["checkpoint"]


def test_masks_are_used_up_for_good_before_a_vector_is_sent(trio: Any) -> None:
    bob = opened(trio, "masked")["bob"]
    bob.send(ORDER, LAYOUT, vector(1, 2, 3), 0.5)
    assert [kind for kind, _ in bob._session.done] == ["checkpoint", "masked_update"]
    assert bob._session.done[0] == ("checkpoint", 7)
    assert bob.state["used"] == 0


def test_shares_are_revealed_together_with_the_state_that_says_so(trio: Any) -> None:
    bob = opened(trio, "masked")["bob"]
    bob._session.give(RevealRequest(0, 0, NAMES, NAMES))
    bob.follow(RevealRequest)
    ((kind, (message, ends)),) = bob._session.done
    assert (kind, len(message.self_masks), ends["revealed"], ends["own"]) == ("revealed_shares", 3, 0, 1)


def test_a_party_without_the_keys_reveals_nothing(tmp_path: Path) -> None:
    bob = made("bob", "masked", trusts(tmp_path)["bob"])
    bob._session.give(RevealRequest(0, 0, NAMES, NAMES))
    bob.follow(RevealRequest)
    assert bob._session.done == []


@pytest.mark.parametrize(("way", "patience"), [("masked", 30.0), ("paillier", 2.0)])
def test_an_order_that_overtakes_the_last_message_of_the_keys_waits_for_it(
    trio: Any, way: str, patience: float
) -> None:
    carol = trio(way)["carol"]
    carol._session.round = 8
    carol._session.done.clear()
    assert carol.has_keys(ORDER)
    # Half of the deadline, so that the coordinator does not go on without this party.
    assert carol._session.done == [("patience", patience)]
    assert carol.has_keys(ORDER)
    assert len(carol._session.done) == 1


@pytest.mark.parametrize("way", ["masked", "paillier"])
def test_a_last_message_that_does_not_come_is_waited_for_once(trio: Any, way: str) -> None:
    carol = trio(way)["carol"]
    carol._session.given.clear()
    carol._session.round = 8
    carol._session.done.clear()
    assert not carol.has_keys(ORDER)
    assert not carol.has_keys(ORDER)
    assert len(carol._session.done) == 1


def test_an_order_that_is_passed_over_uses_up_masks_that_are_there_and_no_key(trio: Any) -> None:
    masked = opened(trio, "masked")["bob"]
    masked.pass_over(Order(1, 3, NAMES))
    assert masked.state["used"] == -1
    masked.pass_over(Order(0, 1, NAMES))
    assert masked.state["used"] == 1
    with pytest.raises(ProtocolError, match="a second vector behind the same masks"):
        masked.send(Order(0, 1, NAMES), LAYOUT, vector(1, 2, 3), 0.0)
    of_key = opened(trio, "paillier")["bob"]
    of_key.pass_over(ORDER)
    of_key.send(ORDER, LAYOUT, vector(1, 2, 3), 0.0)


def encrypted(party: Any, task: str = "number", **changes: Any) -> EncryptedSum:
    """The sum of one vector, as the coordinator has a party open it."""
    (message,) = party.answer(LAYOUT, vector(1, 2, 2**32 - 3), 0.0)
    said = {"numbers": LAYOUT.length, "bits": LAYOUT.ring.bits, "survivors": NAMES, **changes}
    return EncryptedSum(message.tensor, task, **said)


def test_a_sum_is_opened_by_its_task(trio: Any) -> None:
    alice = opened(trio, "paillier")["alice"]
    alice._session.give(encrypted(alice))
    alice.follow(EncryptedSum)
    (kind, (piece,)), ended = alice._session.done
    assert (kind, ended) == ("opened_sum", ("checkpoint", 8))
    assert np.frombuffer(piece.residues, LAYOUT.ring.dtype).tolist() == [1, 2, 2**32 - 3]


@pytest.mark.parametrize(
    ("task", "changes", "words"),
    [
        # What is opened is what the task has, whatever else has the same length.
        ("other", {}, "no task other"),
        ("number", {"numbers": 4}, "another length than agreed"),
        ("number", {"bits": LAYOUT.ring.bits - 1}, "another length than agreed"),
        ("number", {"survivors": ("bob",)}, "over too few parties"),
        ("number", {"survivors": ("bob", "mallory")}, "over too few parties"),
    ],
)
def test_what_is_no_sum_of_a_task_is_not_opened(trio: Any, task: str, changes: Any, words: str) -> None:
    alice = opened(trio, "paillier")["alice"]
    alice._session.give(encrypted(alice, task, **changes))
    with pytest.raises(ProtocolError, match=words):
        alice.follow(EncryptedSum)
    assert alice._session.done == []
