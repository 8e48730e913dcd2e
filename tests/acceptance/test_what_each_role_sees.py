"""All that the coordinator and the parties receive in a job, recorded and attacked with the private key in hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from fedbus.messages.envelope import TensorMessage
from federation import synthetic
from recording import Recording, record

ROUNDS = 30


@pytest.fixture(scope="module", params=[1, 2], ids=["one host", "two hosts"])
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    folder = tmp_path_factory.mktemp("federation")
    return record(
        synthetic(folder, hosts=request.param, max_epochs=ROUNDS, tolerance=0.0, learning_rate=0.3, momentum=0.2)
    )


def test_the_coordinator_receives_these_kinds_and_no_other(recording: Recording) -> None:
    kinds = {envelope.kind for envelope in recording.received["coordinator"]}
    assert kinds == {"accepted", "aligned", "masked_gradient", "encrypted_loss", "finished"}


def test_what_the_coordinator_decrypts_of_gradients_is_uniform(recording: Recording) -> None:
    n = recording.key.public.n
    values = [value for _, residues in recording.opened("masked_gradient") for value in residues]
    assert len(values) >= ROUNDS * 5
    # A gradient takes some 80 of 512 bits, on either side of zero: no masked one may be anywhere near.
    assert all(1 << 400 < value < n - (1 << 400) for value in values)
    # Chi-square over 16 equal parts of the range; 15 degrees of freedom, 1e-6 beyond 56.5.
    counts = np.bincount([value * 16 // n for value in values], minlength=16)
    assert ((counts - len(values) / 16) ** 2 / (len(values) / 16)).sum() < 56.5


def test_masks_differ_between_rounds_so_that_differences_tell_nothing(recording: Recording) -> None:
    n = recording.key.public.n
    by_party: dict[str, list[list[int]]] = {}
    for envelope, residues in recording.opened("masked_gradient"):
        by_party.setdefault(envelope.sender, []).append(residues)
    assert len(by_party) >= 2
    for rounds in by_party.values():
        for before, after in pairwise(rounds):
            differences = [(a - b) % n for a, b in zip(after, before, strict=True)]
            assert all(1 << 400 < difference < n - (1 << 400) for difference in differences)
        for values in rounds:
            assert len(set(values)) == len(values)


def test_the_coordinator_reads_the_loss_and_only_that(recording: Recording) -> None:
    losses = []
    for envelope in recording.received["coordinator"]:
        if envelope.kind == "encrypted_loss" and isinstance(envelope.payload, TensorMessage):
            (total,) = recording.key.decrypt(envelope.payload.tensor)
            rows = recording.report["aligned_rows"]
            losses.append(int(total) / 2**envelope.payload.tensor.scale / (2 * rows))
    assert losses == pytest.approx([*recording.report["loss"], recording.report["final_loss"]], rel=1e-12)


def test_no_number_of_a_party_is_in_clear_text_at_the_coordinator(recording: Recording) -> None:
    for envelope in recording.received["coordinator"]:
        if envelope.kind == "accepted":
            assert set(envelope.payload.__slots__) == {"rows", "columns", "metrics"}
        if envelope.kind == "finished":
            figures = envelope.payload.figures  # type: ignore[attr-defined]
            assert set(figures) <= {"columns", "train", "metrics", "bytes_sent", "peak_memory_bytes"}


def test_every_ciphertext_on_the_wire_is_obfuscated(recording: Recording) -> None:
    n = recording.key.public.n
    counted = 0
    for recipient in recording.received:
        for kind in ("forward", "loss_share", "residual", "masked_gradient", "encrypted_loss"):
            for _, ciphertexts in recording.tensors(recipient, kind):
                counted += len(ciphertexts)
                # (1 + n m) without obfuscation gives m as (c - 1) / n to anybody.
                assert all((c - 1) % n for c in ciphertexts)
    assert counted > ROUNDS * recording.report["aligned_rows"]


def test_a_host_cannot_divide_its_own_scores_out_of_the_residual(recording: Recording) -> None:
    n = recording.key.public.n
    sent = {(e.round, e.sender): c for e, c in recording.tensors("shop", "forward")}
    hosts = {sender for _, sender in sent}
    for host in hosts:
        residuals = recording.tensors(host, "residual")
        assert len(residuals) >= ROUNDS
        for envelope, ciphertexts in residuals:
            for own, d in zip(sent[envelope.round, host], ciphertexts, strict=True):
                quotient = d * pow(own, -1, n * n) % (n * n)
                assert (quotient - 1) % n


def test_equal_plaintexts_look_different(recording: Recording) -> None:
    for recipient in recording.received:
        seen = [c for kind in ("forward", "residual") for _, cs in recording.tensors(recipient, kind) for c in cs]
        assert len(set(seen)) == len(seen)


def test_a_host_receives_no_values_of_the_guest(recording: Recording) -> None:
    kinds = {envelope.kind for envelope in recording.received["bank"]}
    assert kinds == {"job_key", "alignment_offer", "blinded_ids", "common_rows", "residual", "opened", "verdict"}
    kinds = {envelope.kind for envelope in recording.received["shop"]}
    assert kinds == {
        *("job_key", "alignment_offer", "blinded_ids", "doubly_blinded_ids", "forward", "loss_share"),
        *("opened", "verdict"),
    }


def test_a_scale_does_not_depend_on_the_values(recording: Recording) -> None:
    for recipient in recording.received:
        for kind in ("forward", "residual", "masked_gradient"):
            scales = {
                e.payload.tensor.scale
                for e in recording.received[recipient]
                if e.kind == kind and isinstance(e.payload, TensorMessage)
            }
            assert len(scales) <= 1
