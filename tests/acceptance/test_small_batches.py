"""No batch and no held-out table is so small that one message about it tells of single rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedbus.messages.envelope import Message
from fedbus.session.session import Session
from federation import Federation, add_party, held_out, synthetic


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of all messages of a run."""
    kinds: list[str] = []
    send = Session._send

    def noted(self: Session, to: str, message: Message, *place: Any) -> None:
        kinds.append(message.kind)
        send(self, to, message, *place)

    monkeypatch.setattr(Session, "_send", noted)
    return kinds


def with_policy(federation: Federation, parties: tuple[str, ...], policy: str) -> Federation:
    for party in parties:
        source = federation.folder / f"{party}.csv"
        add_party(federation.folder, party, source, "id", extra=f"[policy]\ninsecure_for_tests = true\n{policy}\n")
    return federation


def test_a_lowered_policy_does_not_lower_what_a_round_needs(tmp_path: Path, sent: list[str]) -> None:
    federation = with_policy(synthetic(tmp_path, batch_size=4), ("shop", "bank"), "min_batch_rows = 1")
    report = federation.run()
    assert report["state"] == "failed"
    # Two columns and the intercept: four equations with the loss, so four rows are one too few.
    assert "a batch has 4 rows, and shop trains 3 columns" in report["reason"]
    assert "at least 5 rows" in report["reason"]
    assert "aligned" in sent
    assert not {"forward", "residual", "masked_gradient", "encrypted_loss", "loss_share"} & set(sent)


def test_one_row_more_is_trained(tmp_path: Path) -> None:
    federation = with_policy(synthetic(tmp_path, batch_size=5, max_epochs=1), ("shop", "bank"), "min_batch_rows = 1")
    report = federation.run()
    assert report["state"] == "succeeded", report
    assert (report["aligned_rows"], report["rounds"]) == (36, 7)


@pytest.mark.parametrize("party", ["shop", "bank"])
def test_each_party_holds_the_batches_against_its_own_policy(tmp_path: Path, sent: list[str], party: str) -> None:
    federation = with_policy(synthetic(tmp_path, batch_size=12), (party,), "min_batch_rows = 13")
    report = federation.run()
    assert report["state"] == "failed"
    assert report["reason"].startswith(f"{party}: a batch has 12 rows")
    assert "`min_batch_rows`" in report["reason"]
    assert not {"residual", "masked_gradient", "encrypted_loss"} & set(sent)


@pytest.mark.parametrize(("rows", "state"), [(9, "failed"), (10, "succeeded")])
def test_held_out_rows_count_against_the_policy_too(tmp_path: Path, rows: int, state: str) -> None:
    federation = synthetic(tmp_path, max_epochs=1)
    held_out(federation, rows)
    report = federation.run()
    assert report["state"] == state, report
    if state == "failed":
        assert "9 held-out rows in common" in report["reason"]
    else:
        assert report["aligned_test_rows"] == 10
