"""A party's masks hide one vector, its shares are revealed once, and lies of a coordinator are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from summing import NAMES, RULES, FakeSession, Order, peer_keys, trusts

from fedbus.algorithms.sums.messages import Advertise, PeerKeys, PeerShares, RevealRequest
from fedbus.crypto import secure_masks, shares
from fedbus.errors import ProtocolError
from parties.sums.masked import Masking
from parties.sums.trust import Trust


@pytest.fixture
def parties(tmp_path: Path) -> dict[str, Masking]:
    """Three parties with an open window of four sums."""
    made = {name: masking(FakeSession(name), trust, {}) for name, trust in trusts(tmp_path).items()}
    open_window(made, 0)
    return made


def open_window(parties: dict[str, Masking], number: int) -> None:
    given = {name: party.advertise(Advertise(number, 4)) for name, party in parties.items()}
    keys = peer_keys(given)
    dealt = {name: party.deal(keys)[0].sealed for name, party in parties.items()}
    for place, name in enumerate(NAMES):
        parties[name].keep(PeerShares(NAMES, tuple(dealt[other][place] for other in NAMES)))


def order(slot: int, window: int = 0, members: tuple[str, ...] = NAMES) -> Order:
    return Order(window, slot, members)


def masking(session: Any, trust: Trust, state: dict[str, Any]) -> Masking:
    """A party's hiding; its contributor is asked nothing before a vector is sent."""
    return Masking(session, RULES, None, trust, state)  # type: ignore[arg-type]


def vector(value: int, length: int = 50) -> np.ndarray:
    return np.full(length, value, "<u4")


def hidden(party: Masking, order: Order, value: int) -> np.ndarray:
    (message,) = party.answer(order, iter([(0, vector(value))]), 0.0)
    return np.frombuffer(message.residues, "<u4").copy()


def test_masks_of_all_cancel_but_for_their_own(parties: dict[str, Masking]) -> None:
    total = sum(hidden(party, order(0), 7) for party in parties.values())
    request = RevealRequest(0, 0, NAMES, NAMES)
    revealed = {place: list(parties[name].reveal(request).self_masks) for place, name in enumerate(NAMES[:2])}
    for seed in shares.open_all(revealed, 2):
        secure_masks.remove_self(total, secure_masks.self_secret(seed, "job-1/0/0"), 0)
    np.testing.assert_array_equal(total, vector(21))


def test_masks_hide_one_vector_only(parties: dict[str, Masking]) -> None:
    hidden(parties["bob"], order(1), 1)
    for again in (order(1), order(0), order(1, members=("bob", "alice"))):
        with pytest.raises(ProtocolError, match="a second vector behind the same masks"):
            hidden(parties["bob"], again, 2)
    assert len(hidden(parties["bob"], order(2), 2)) == 50


def test_an_order_that_was_passed_over_uses_its_masks_up(parties: dict[str, Masking]) -> None:
    parties["bob"].use_up(order(1))
    with pytest.raises(ProtocolError, match="a second vector"):
        hidden(parties["bob"], order(1), 2)


def test_used_masks_are_known_after_a_restart(parties: dict[str, Masking]) -> None:
    bob = parties["bob"]
    hidden(bob, order(1), 1)
    bob.reveal(RevealRequest(0, 1, NAMES, NAMES))
    bob._session.round += 1  # type: ignore[misc]
    again = masking(bob._session, bob._channels._trust, bob.state)
    with pytest.raises(ProtocolError, match="a second vector"):
        hidden(again, order(1), 2)
    with pytest.raises(ProtocolError, match="whose shares were revealed"):
        again.reveal(RevealRequest(0, 1, NAMES, ("bob", "alice")))


def test_an_order_that_comes_again_after_a_restart_is_answered_again_once(parties: dict[str, Masking]) -> None:
    bob = parties["bob"]
    sent = hidden(bob, order(1), 1)
    again = masking(bob._session, bob._channels._trust, bob.state)
    np.testing.assert_array_equal(hidden(again, order(1), 1), sent)
    with pytest.raises(ProtocolError, match="a second vector"):
        hidden(again, order(1), 2)


def test_both_shares_of_one_party_are_never_revealed(parties: dict[str, Masking]) -> None:
    bob = parties["bob"]
    first = bob.reveal(RevealRequest(0, 0, NAMES, NAMES))
    assert (len(first.self_masks), len(first.mask_keys)) == (3, 0)
    with pytest.raises(ProtocolError, match="whose shares were revealed"):
        bob.reveal(RevealRequest(0, 0, NAMES, ("bob", "alice")))


@pytest.mark.parametrize(
    "request_",
    [
        RevealRequest(0, 0, NAMES, ("bob",)),
        RevealRequest(0, 0, NAMES, ("bob", "bob")),
        RevealRequest(0, 0, ("bob", "alice"), NAMES),
        RevealRequest(0, 0, (*NAMES, "mallory"), NAMES),
    ],
)
def test_shares_that_would_unmask_too_few_or_others(parties: dict[str, Masking], request_: RevealRequest) -> None:
    with pytest.raises(ProtocolError, match="unmask too few parties"):
        parties["alice"].reveal(request_)


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_is_not_opened_again(parties: dict[str, Masking], window: int) -> None:
    with pytest.raises(ProtocolError, match="opens a window of keys anew"):
        parties["bob"].advertise(Advertise(window, 4))
    open_window(parties, 1)
    assert len(hidden(parties["bob"], order(0, window=1), 1)) == 50


def test_keys_that_are_not_a_partys_own(parties: dict[str, Masking]) -> None:
    given = {name: party.advertise(Advertise(1, 4)) for name, party in parties.items()}
    forged = replace(given["carol"], keys=given["alice"].keys)
    sent = [given["bob"], given["alice"], forged]
    keys = PeerKeys(
        NAMES, tuple(m.channel for m in sent), tuple(m.keys for m in sent), tuple(m.signature for m in sent)
    )
    with pytest.raises(ProtocolError, match="carol's are not its own"):
        parties["bob"].deal(keys)
    # This party's own keys are checked by what it sent, not by its signature.
    sent = [given["bob"], given["alice"], given["carol"]]
    with pytest.raises(ProtocolError, match="keys of another number of parties"):
        parties["bob"].deal(PeerKeys(NAMES, tuple(m.channel for m in sent), tuple(m.keys for m in sent), (b"",)))


def test_dealt_shares_stay_the_same_when_they_are_asked_for_again(parties: dict[str, Masking]) -> None:
    given = {name: party.advertise(Advertise(1, 4)) for name, party in parties.items()}
    keys = peer_keys(given)
    bob = parties["bob"]
    first = bob.deal(keys)
    restarted = masking(bob._session, bob._channels._trust, bob.state)
    assert restarted.deal(keys) == first


def test_a_sum_of_too_few_members(parties: dict[str, Masking]) -> None:
    for members in (("bob",), ("alice", "carol"), ("bob", "mallory")):
        with pytest.raises(ProtocolError, match="who have no common keys"):
            hidden(parties["bob"], order(3, members=members), 1)
        parties["bob"]._used = -1
