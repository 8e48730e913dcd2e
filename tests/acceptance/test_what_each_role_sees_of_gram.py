"""All that coordinator and parties receive in a job of solver `gram`, attacked with the private key in hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from fedbus.algorithms.linear.layout import lay_out
from fedbus.messages.envelope import TensorMessage
from federation import synthetic
from recording import Recording, record

TENSORS = (
    *("packed_rows", "masked_block", "block_rows", "block_columns", "block", "right_side"),
    *("cross_product", "masked_gradient", "scalar_share", "encrypted_scalars"),
    *("packed_scores", "masked_products", "loss_share", "encrypted_loss"),
)


@pytest.fixture(scope="module", params=[1, 2], ids=["one host", "two hosts"])
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    federation = synthetic(tmp_path_factory.mktemp("federation"), hosts=request.param, rows=80)
    federation.params = {"solver": "gram", "key_bits": 512, "insecure_for_tests": True, "tolerance": 1e-9}
    made = record(federation)
    made.layout = lay_out(federation.spec(), made.report["aligned_rows"], made.columns())
    return made


def test_the_coordinator_receives_these_kinds_and_no_other(recording: Recording) -> None:
    kinds = {envelope.kind for envelope in recording.received["coordinator"]}
    solver = {"masked_block", "masked_gradient", "encrypted_scalars", "masked_products", "encrypted_loss"}
    assert kinds == {"accepted", "aligned", "finished"} | solver


def test_what_the_coordinator_decrypts_of_blocks_is_uniform_noise(recording: Recording) -> None:
    layout, values = recording.layout, []
    pairs = {pair.multiplier + str(1 + number): pair for number, pair in enumerate(layout.pairs)}
    for envelope, residues in recording.opened("masked_block"):
        pair = pairs[envelope.sender + str(envelope.batch)]
        for row in range(pair.taken):
            values += layout.slots.unpack(residues[row :: pair.taken], pair.sent)
    assert len(values) >= sum(pair.taken * pair.sent for pair in layout.pairs)
    # Entries are below 2**product_bits; what is seen of them spreads evenly over a range 2**41 times as large.
    scaled = np.sort([(value - 2**layout.product_bits) / 2**layout.mask_bits for value in values])
    assert scaled[0] >= 0
    assert scaled[-1] <= 1
    steps = np.arange(1, len(scaled) + 1) / len(scaled)
    # Kolmogorov and Smirnov: beyond 2.6 / sqrt(values) once in a million.
    assert np.abs(scaled - steps).max() < 2.7 / len(scaled) ** 0.5
    assert len(set(values)) == len(values)
    assert min(abs(value) for value in values) > 2 ** (layout.product_bits + 20)


def test_what_the_coordinator_decrypts_of_products_of_scores_is_noise_but_for_one_sum(recording: Recording) -> None:
    layout, values, doubled = recording.layout, [], 0
    slots = layout.score_slots
    for _, residues in recording.opened("masked_products"):
        rows = [slots.unpack([row], slots.count) for row in residues]
        values += [value for row in rows for value in row]
        doubled += 2 * sum(row[slot] for slot, row in enumerate(rows))
    assert len(values) == len(layout.pairs) * slots.count**2
    # Products are below 2**score_product_bits; what is seen of them is masked by a range 2**41 times as large.
    assert all(2 ** (layout.score_product_bits + 20) < value < 2 ** (layout.score_mask_bits + 1) for value in values)
    assert len(set(values)) == len(values)
    ((envelope, (total,)),) = recording.opened("encrypted_loss")
    assert isinstance(envelope.payload, TensorMessage)
    n = recording.key.public.n
    error = ((total + doubled + n // 2) % n - n // 2) / 2.0**envelope.payload.tensor.scale / layout.rows
    # All that comes out of both is the mean squared error, in the square of the label's unit.
    mse = recording.report["train"]["mse"]
    assert any(error * 4.0**exponent == pytest.approx(mse, rel=1e-9) for exponent in range(-20, 20))


def test_what_the_coordinator_decrypts_of_gradients_is_uniform(recording: Recording) -> None:
    n = recording.key.public.n
    values = [value for _, residues in recording.opened("masked_gradient") for value in residues]
    assert len(values) > recording.report["rounds"]
    # What is packed takes at most 460 bits here: no masked one may be near zero, and no two near each other.
    ordered = sorted(values)
    assert all(1 << 460 < value < n - (1 << 460) for value in values)
    assert all(after - before > 1 << 460 for before, after in pairwise(ordered))


def test_the_coordinator_reads_sums_over_all_parties_only(recording: Recording) -> None:
    sums = [
        recording.key.decrypt(envelope.payload.tensor)
        for envelope in recording.received["coordinator"]
        if envelope.kind == "encrypted_scalars" and isinstance(envelope.payload, TensorMessage)
    ]
    # The first gain and the label's square, two sums a round, and three of the check at the end; of a probe, which is
    # of more than two parties here, the first gain and two sums a round.
    probed = recording.report["probe_rounds"]
    assert (probed > 0) == (len(recording.layout.columns) > 2)
    pattern = [2, *[1] * (2 * recording.report["rounds"]), 3, *[1] * (2 * probed + (probed > 0))]
    assert [len(each) for each in sums] == pattern
    assert {e.sender for e in recording.received["coordinator"] if e.kind == "encrypted_scalars"} == {"shop"}


def test_every_ciphertext_on_the_wire_is_obfuscated(recording: Recording) -> None:
    n, counted = recording.key.public.n, 0
    for recipient in recording.received:
        for kind in TENSORS:
            for _, ciphertexts in recording.tensors(recipient, kind):
                counted += len(ciphertexts)
                assert all((c - 1) % n for c in ciphertexts)
                assert len(set(ciphertexts)) == len(ciphertexts)
    assert counted > 2 * recording.report["aligned_rows"] / 2


def test_what_leaves_the_multiplier_is_not_what_the_coordinator_made(recording: Recording) -> None:
    n = recording.key.public.n
    made = [
        c
        for r in recording.received
        for k in ("block_rows", "block_columns")
        for _, cs in recording.tensors(r, k)
        for c in cs
    ]
    left = [
        c for r in recording.received for k in ("block", "right_side") for _, cs in recording.tensors(r, k) for c in cs
    ]
    assert left
    for c in left:
        for other in made:
            # A quotient of 1 + n m would say that only a plaintext was added.
            assert (c * pow(other, -1, n * n) % (n * n) - 1) % n


def test_parties_receive_no_values_of_each_other(recording: Recording) -> None:
    common = {"job_key", "alignment_offer", "blinded_ids", "cross_product", "opened", "step", "turn", "verdict"}
    pass_kinds = {"packed_rows", "block_rows", "block_columns", "block", "right_side", "packed_scores"}
    for party in recording.layout.columns:
        kinds = {envelope.kind for envelope in recording.received[party]}
        alignment = {"doubly_blinded_ids"} if party == "shop" else {"common_rows"}
        assert kinds <= common | pass_kinds | alignment | ({"scalar_share", "loss_share"} if party == "shop" else set())


def test_a_scale_does_not_depend_on_the_values(recording: Recording) -> None:
    layout = recording.layout
    expected = {"packed_rows": layout.bits, "cross_product": layout.gradient_bits, "block": layout.sum_bits}
    for recipient in recording.received:
        for envelope in recording.received[recipient]:
            if envelope.kind in expected and isinstance(envelope.payload, TensorMessage):
                assert envelope.payload.tensor.scale == expected[envelope.kind]
