"""What is held for a reader: by place, and no further ahead than the protocol can be."""

from __future__ import annotations

import pytest

from fedbus.algorithms.vertical.messages import BlindedIds
from fedbus.errors import ProtocolError
from fedbus.messages.envelope import Envelope
from fedbus.session.mailbox import AHEAD, Mailbox

POINTS = BlindedIds("ristretto255", b"points")


def envelope(round_: int, sender: str = "shop") -> Envelope:
    return Envelope("job-1", sender, "bank", POINTS, round_)


def test_a_message_too_far_ahead_fails_the_mailbox_and_is_not_held() -> None:
    mailbox = Mailbox()
    assert mailbox.take(("shop", "blinded_ids", 5, 0), 0, 0) is None
    mailbox.put(envelope(5 + AHEAD))
    mailbox.check()
    mailbox.put(envelope(6 + AHEAD))
    with pytest.raises(ProtocolError, match=f"shop sent a blinded_ids of step {6 + AHEAD}, too far ahead"):
        mailbox.check()
    assert [place[2] for place in mailbox._messages] == [5 + AHEAD]


def test_the_job_goes_on_and_the_bound_with_it() -> None:
    mailbox = Mailbox()
    for round_ in range(100):
        mailbox.put(envelope(round_))
        taken = mailbox.take(("shop", "blinded_ids", round_, 0), 0, 0)
        assert taken is not None
        mailbox.drop_until(round_)
    mailbox.put(envelope(99 + AHEAD))
    mailbox.check()


def test_after_a_restart_the_first_message_tells_where_the_job_is() -> None:
    mailbox = Mailbox()
    for round_ in (70, 72, 70 + AHEAD):
        mailbox.put(envelope(round_, sender=f"party{round_}"))
    mailbox.check()
    mailbox.put(envelope(71 + AHEAD))
    with pytest.raises(ProtocolError, match="too far ahead"):
        mailbox.check()


def test_a_flood_of_rounds_takes_no_memory() -> None:
    mailbox = Mailbox()
    for round_ in range(10_000):
        mailbox.put(envelope(round_))
    assert len(mailbox._messages) == AHEAD + 1
