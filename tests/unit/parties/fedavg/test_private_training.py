"""DP-SGD: what one row can change, where its randomness comes from, and that it is plain SGD without noise."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedbus.algorithms.fedavg.network import Layer, Model
from fedbus.algorithms.fedavg.spec import AverageParams, Privacy
from fedbus.crypto.masking import SecretStream
from fedbus.errors import JobRefused, TrainingDiverged
from parties.fedavg import private_training
from parties.fedavg.network import build, weights
from parties.fedavg.private_training import add_noise, clipped_sum, draw, normal, train_private
from parties.fedavg.training import as_inputs, as_target

RANDOM = np.random.default_rng(8)
FEATURES = RANDOM.normal(size=(30, 4))
NUMBERS = 3 * FEATURES @ [1.0, -2.0, 0.5, 0.0] + RANDOM.normal(size=30)
CLASSES = (FEATURES[:, 0] > 0).astype(float) + (FEATURES[:, 1] > 0)
SILENT = 1e-12


def network(outputs: int = 1, **more: Any) -> nn.Module:
    layers = [Layer(linear=6), Layer(activation="tanh"), *(Layer(**{name: value}) for name, value in more.items())]
    return build(Model(layers=(*layers, Layer(linear=outputs))), 4, 1)


def stream(label: str = "test") -> Callable[[int], bytes]:
    return SecretStream(b"a secret of this test", label).read


def privacy(noise: float = SILENT, bound: float = 1.0) -> Privacy:
    return Privacy(noise_multiplier=noise, epsilon=1.0, delta=1e-5, max_grad_norm=bound)


def norm(gradients: list[torch.Tensor]) -> float:
    return math.sqrt(sum(float((gradient.double() ** 2).sum()) for gradient in gradients))


def plain_sum(module: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, bound: float) -> list[torch.Tensor]:
    """Row by row with autograd."""
    parameters = list(module.parameters())
    total = [torch.zeros_like(value) for value in parameters]
    for row, target in zip(inputs, targets, strict=True):
        if targets.dtype == torch.int64:
            value = nn.functional.cross_entropy(module(row[None]), target[None])
        else:
            value = nn.functional.mse_loss(module(row[None]), target[None])
        gradients = torch.autograd.grad(value, parameters)
        share = min(1.0, bound / norm(list(gradients)))
        total = [old + share * gradient for old, gradient in zip(total, gradients, strict=True)]
    return total


@pytest.mark.parametrize("slice_bytes", [64 << 20, 1000, 1])
@pytest.mark.parametrize(("loss", "label", "outputs"), [("mse", NUMBERS, 1), ("cross_entropy", CLASSES, 3)])
def test_the_clipped_sum(
    loss: str, label: np.ndarray, outputs: int, slice_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_training, "SLICE_BYTES", slice_bytes)
    module, inputs, targets = network(outputs, layer_norm=True), as_inputs(FEATURES), as_target(label, loss)
    norms = [norm(clipped_sum(module, inputs[row : row + 1], targets[row : row + 1], loss, 1e9)) for row in range(30)]
    # It cuts half of the rows.
    bound = statistics.median(norms)
    found = clipped_sum(module, inputs, targets, loss, bound)
    for mine, plain in zip(found, plain_sum(module, inputs, targets, bound), strict=True):
        assert torch.allclose(mine, plain, atol=1e-5)


@pytest.mark.parametrize("bound", [0.01, 1.0])
def test_one_row_changes_the_sum_by_no_more_than_the_bound(bound: float) -> None:
    module = network()
    features, label = FEATURES.copy(), NUMBERS.copy()
    # Among them a row that would outweigh all others, and one whose gradient overflows.
    features[3], label[4] = 1e6, 1e30
    features[5] = 1e30
    inputs, targets = as_inputs(features), as_target(label, "mse")
    whole = clipped_sum(module, inputs, targets, "mse", bound)
    changes = []
    for row in range(30):
        rest = [number for number in range(30) if number != row]
        without = clipped_sum(module, inputs[rest], targets[rest], "mse", bound)
        changes.append(norm([a - b for a, b in zip(whole, without, strict=True)]))
    assert max(changes) <= bound * (1 + 1e-4)
    # The bound is met, not merely kept.
    assert max(changes) >= bound * (1 - 1e-4)


def test_a_gradient_that_is_not_finite_counts_as_nothing() -> None:
    module = nn.Linear(4, 1)
    inputs, targets = as_inputs(FEATURES), as_target(NUMBERS, "mse")
    inputs[7] = math.inf
    rest = [number for number in range(30) if number != 7]
    found, expected = (clipped_sum(module, inputs[r], targets[r], "mse", 1.0) for r in (list(range(30)), rest))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_no_rows_drawn() -> None:
    found = clipped_sum(network(), torch.zeros(0, 4), torch.zeros(0, 1), "mse", 1.0)
    assert norm(found) == 0


def test_without_noise_it_is_plain_sgd_on_the_drawn_rows() -> None:
    params = AverageParams(local_epochs=2, batch_size=8, learning_rate=0.1, momentum=0.5)
    module, plain = network(), network()
    random, same = stream(), stream()
    trained = train_private(module, FEATURES, NUMBERS, params, privacy(bound=2.0), random)
    assert trained.loss == 0
    assert trained.seconds > 0

    same(8)
    steps = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.5)
    inputs, targets = as_inputs(FEATURES), as_target(NUMBERS, "mse")
    sizes = []
    for _ in range(2 * 4):
        drawn = draw(30, 8 / 30, same)
        sizes.append(len(drawn))
        total = plain_sum(plain, inputs[drawn], targets[drawn], 2.0)
        for value, gradient in zip(plain.parameters(), total, strict=True):
            # Twice a uniform number of 8 bytes for two normal ones.
            same(16 * ((value.numel() + 1) // 2))
            value.grad = gradient / 8
        steps.step()
    assert len(set(sizes)) > 1
    assert weights(module).flat == pytest.approx(weights(plain).flat, abs=1e-5)


def test_a_party_with_fewer_rows_than_a_batch_takes_them_all() -> None:
    params = AverageParams(batch_size=100, learning_rate=0.1)
    module, plain = network(), network()
    train_private(module, FEATURES, NUMBERS, params, privacy(bound=1e6), stream())
    value = nn.functional.mse_loss(plain(as_inputs(FEATURES)), as_target(NUMBERS, "mse"))
    value.backward()
    torch.optim.SGD(plain.parameters(), lr=0.1).step()
    assert weights(module).flat == pytest.approx(weights(plain).flat, abs=1e-5)


def test_the_noise_is_what_the_job_says() -> None:
    # A step of learning rate 1 from gradients of zero: the weights move by the noise alone, over the batch size.
    module = nn.Linear(20_000, 1, bias=False)
    before = weights(module).flat
    params = AverageParams(batch_size=4, learning_rate=1.0)
    features = np.zeros((4, 20_000))
    train_private(module, features, np.zeros(4), params, privacy(noise=3.0, bound=0.5), stream())
    moved = weights(module).flat - before
    deviation = 3.0 * 0.5 / 4
    # Five standard errors.
    assert abs(moved.mean()) < 5 * deviation / math.sqrt(20_000)
    assert moved.std() == pytest.approx(deviation, rel=5 / math.sqrt(2 * 20_000))


def test_all_randomness_comes_from_the_source() -> None:
    params = AverageParams(local_epochs=2, batch_size=8)
    flats = []
    for label, seed in (("a", 1), ("a", 2), ("b", 1)):
        torch.manual_seed(seed)
        module = network(dropout=0.5)
        train_private(module, FEATURES, NUMBERS, params, privacy(noise=1.0), stream(label))
        flats.append(weights(module).flat.tolist())
        drawn = torch.rand(1)
        torch.manual_seed(seed)
        assert drawn == torch.rand(1)
    assert flats[0] == flats[1]
    assert flats[0] != flats[2]


def test_normal_numbers() -> None:
    count = 40_001
    found = np.sort(normal(count, stream()))
    expected = np.array([statistics.NormalDist().cdf(float(value)) for value in found])
    # Kolmogorov and Smirnov: beyond 1.95 / sqrt(n) by chance once in a thousand; the stream is always the same.
    assert np.abs(expected - (np.arange(count) + 0.5) / count).max() < 1.95 / math.sqrt(count)
    halves = normal(count - 1, stream("pairs")).reshape(2, -1)
    assert abs(np.corrcoef(halves)[0, 1]) < 5 / math.sqrt(count / 2)
    # The extremes of the source: no infinity.
    assert np.isfinite(normal(2, lambda size: b"\xff" * size)).all()
    assert normal(2, lambda size: b"\x00" * size).tolist() == [0.0, 0.0]


def test_noise_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_training, "_NOISE_BLOCK", 10)
    values = torch.ones(5, 7)
    add_noise(values, 2.0, stream())
    same = stream()
    expected = np.concatenate([normal(size, same) for size in (10, 10, 10, 5)])
    assert values.flatten().tolist() == pytest.approx((1 + 2 * expected).tolist(), rel=1e-5)


def test_rows_are_drawn_each_on_its_own() -> None:
    random, rounds, rows, rate = stream(), 4000, 20, 0.3
    member = np.zeros((rounds, rows))
    for number in range(rounds):
        member[number, draw(rows, rate, random)] = 1
    deviation = math.sqrt(rate * (1 - rate) / rounds)
    assert np.abs(member.mean(axis=0) - rate).max() < 5 * deviation
    # The number of rows varies as that of independent draws does; a fixed batch size would have no variance.
    assert member.sum(axis=1).var() == pytest.approx(rows * rate * (1 - rate), rel=0.12)
    assert draw(rows, 1.0, random).tolist() == list(range(rows))


def test_networks_that_mix_rows() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    with pytest.raises(JobRefused, match=r"1 \(BatchNorm1d\) mixes the rows of a batch.* use layer_norm, or leave out"):
        train_private(module, FEATURES, NUMBERS, AverageParams(), privacy(), stream())

    class Running(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)
            self.register_buffer("mean", torch.zeros(4))

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            self.mean += rows.mean(dim=0)
            return self.layer(rows - self.mean)

    with pytest.raises(JobRefused, match=r"row by row, which .privacy. needs; use layers that treat each row alone"):
        train_private(Running(), FEATURES, NUMBERS, AverageParams(), privacy(), stream())


def test_frozen_parameters_and_fedprox() -> None:
    params = AverageParams(batch_size=8, learning_rate=0.1, local_epochs=5)
    moved = []
    for mu in (0.0, 9.0):
        module = network()
        module[0].requires_grad_(requires_grad=False)
        before = weights(module).tensors()
        train_private(module, FEATURES, NUMBERS, params, privacy(), stream(), mu=mu)
        after = weights(module).tensors()
        assert after["0.weight"].tolist() == before["0.weight"].tolist()
        moved.append(float(np.abs(after["2.weight"] - before["2.weight"]).max()))
    assert moved[0] > 1.5 * moved[1] > 0


def test_divergence() -> None:
    params = AverageParams(batch_size=30, learning_rate=3e38)
    with pytest.raises(TrainingDiverged, match=r"training diverged: .* is not finite$"):
        train_private(nn.Linear(4, 1), FEATURES, NUMBERS, params, privacy(noise=1e4), stream())


def test_no_rows() -> None:
    with pytest.raises(ValueError, match="no rows"):
        train_private(network(), FEATURES[:0], NUMBERS[:0], AverageParams(), privacy(), stream())
