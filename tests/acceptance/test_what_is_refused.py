"""A participant that sends more, or otherwise, than the protocol says ends the job by its name; nothing is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedbus.algorithms.linear.messages import MaskedGradient
from fedbus.algorithms.vertical.messages import EncryptedLoss, Forward, LossShare, MaskedScores, Opened, Residual
from fedbus.crypto.tensor import CipherTensor
from fedbus.messages.envelope import Message, TensorMessage
from fedbus.session.session import Session
from federation import held_out, synthetic

Change = Callable[[CipherTensor], CipherTensor]


def resized(factor: int) -> Change:
    return lambda tensor: CipherTensor(tensor.fingerprint, tensor.scale, tensor.width, tensor.blob * factor)


def rescaled(tensor: CipherTensor) -> CipherTensor:
    return CipherTensor(tensor.fingerprint, tensor.scale - 1, tensor.width, tensor.blob)


@pytest.fixture
def tamper(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, type[TensorMessage], Change], list[str]]:
    """Make a participant send other tensors of a kind; returns to whom something was opened, in order."""

    def install(sender: str, kind: type[TensorMessage], change: Change) -> list[str]:
        opened: list[str] = []
        send = Session._send

        def changed(self: Session, to: str, message: Message, *place: Any) -> None:
            if isinstance(message, Opened):
                opened.append(to)
            if self.party == sender and isinstance(message, kind):
                message = kind(change(message.tensor))
            send(self, to, message, *place)

        monkeypatch.setattr(Session, "_send", changed)
        return opened

    return install


@pytest.mark.parametrize("party", ["shop", "bank"])
@pytest.mark.parametrize("factor", [2, 0])
def test_the_coordinator_opens_as_many_values_as_a_party_has_columns(
    tmp_path: Path, tamper: Callable[..., list[str]], party: str, factor: int
) -> None:
    opened = tamper(party, MaskedGradient, resized(factor))
    report = synthetic(tmp_path, max_epochs=2).run()
    assert report["state"] == "failed"
    assert report["reason"] == f"{party} sent a masked_gradient of another length than agreed"
    assert party not in opened


@pytest.mark.parametrize(
    ("sender", "kind", "hosts"),
    [
        ("bank", Forward, 1),
        ("bank", LossShare, 1),
        ("credit", LossShare, 2),
        ("shop", Residual, 1),
        ("shop", MaskedGradient, 1),
        ("bank", MaskedGradient, 1),
        ("shop", EncryptedLoss, 1),
        ("shop", MaskedScores, 1),
    ],
)
def test_another_scale_is_refused_by_name(
    tmp_path: Path, tamper: Callable[..., list[str]], sender: str, kind: type[TensorMessage], hosts: int
) -> None:
    tamper(sender, kind, rescaled)
    federation = synthetic(tmp_path, hosts=hosts, max_epochs=1)
    held_out(federation, 12)
    report = federation.run()
    assert report["state"] == "failed"
    assert f"{sender} sent a {kind.kind} of " in report["reason"]
    assert "fraction bits" in report["reason"]
