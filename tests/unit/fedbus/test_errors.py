"""Which errors tell others their text, and what is told in place of the rest."""

from __future__ import annotations

import pytest

from fedbus import errors
from fedbus.errors import FedbusError

TEXT = "/home/bank/users.csv: row 7: 4711"
# Their texts are about the job, the protocol, or what somebody else sent.
TOLD = {
    *("JobError", "JobRefused", "JobFailed", "TrainingDiverged"),
    *("ProtocolError", "DecodeError", "WrongKey", "PeerFailed", "PeerSilent"),
    *("CryptoError", "InvalidCiphertext", "InvalidPoint"),
}
ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FedbusError)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_text_leaves_the_process_only_where_its_class_says_so(kind: type[FedbusError]) -> None:
    told = kind(TEXT).told
    assert (told == TEXT) == (kind.__name__ in TOLD)
    assert kind.__name__ in TOLD or (told.endswith("; its log says more") and "4711" not in told)


def test_a_new_class_keeps_its_text_back() -> None:
    class New(FedbusError):
        """Not thought about yet."""

    assert New(TEXT).told == "an error; its log says more"
