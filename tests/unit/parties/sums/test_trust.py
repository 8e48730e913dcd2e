"""Whose mask keys a party believes: those of parties on its roster, by their own keys."""

from __future__ import annotations

import datetime

import pytest

from fedbus.errors import ProtocolError
from fedbus.identity import Identity, Role, Roster
from parties.sums.trust import Trust

ALICE, BOB, OLDER = Identity(b"a" * 32), Identity(b"b" * 32), Identity(b"o" * 32)
DAY = datetime.date(2026, 12, 31)


def trust(role: Role, today: datetime.date = DAY) -> Trust:
    bob = [{"key": BOB.public, "role": role}, {"key": OLDER.public, "role": role, "until": DAY}]
    return Trust("alice", ALICE, Roster.of({"alice": ALICE.public, "bob": bob}, lambda: today))


def test_keys_of_a_party_are_believed_by_either_of_its_identities_keys() -> None:
    for own in (BOB, OLDER):
        signature = Trust("bob", own, trust(Role.PARTY).roster).sign("job-1", 1, b"channel", b"keys")
        trust(Role.PARTY).verify("bob", signature, "job-1", 1, b"channel", b"keys")
        with pytest.raises(ProtocolError, match="the mask keys that came as bob's are not its own"):
            trust(Role.PARTY).verify("bob", signature, "job-2", 1, b"channel", b"keys")
    over = trust(Role.PARTY, DAY + datetime.timedelta(1))
    with pytest.raises(ProtocolError, match="not signed by the key"):
        over.verify("bob", signature, "job-1", 1, b"channel", b"keys")


@pytest.mark.parametrize("role", [Role.CLIENT, Role.COORDINATOR])
def test_who_is_no_party_has_no_mask_keys(role: Role) -> None:
    signature = Trust("bob", BOB, trust(role).roster).sign("job-1", 1, b"channel", b"keys")
    with pytest.raises(ProtocolError, match=f"is signed by a {role}, where only a party may sign it"):
        trust(role).verify("bob", signature, "job-1", 1, b"channel", b"keys")
