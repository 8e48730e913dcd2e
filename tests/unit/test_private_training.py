"""DP-SGD: what a single row can change, what noise is added, and what that spends."""

from __future__ import annotations

import hashlib
from itertools import count

import numpy as np
import pytest
import torch
from torch import nn

from fedbus.budget import Budget, sample_rate, steps
from fedbus.errors import JobRefused
from fedbus.jobs.average import AverageParams, Layer, Model, Privacy
from parties import network
from parties.private_training import Random, clipped_sum, normal, train_private, uniform
from parties.training import LOSSES, as_inputs, as_target

MODEL = Model(layers=(Layer(linear=4), Layer(activation="tanh"), Layer(linear=1)))
PARAMS = AverageParams(batch_size=8, learning_rate=0.05)


def stream(seed: bytes = b"seed") -> Random:
    """Bytes that a test can repeat."""
    blocks = (hashlib.blake2b(seed + number.to_bytes(8, "big")).digest() for number in count())
    held = bytearray()

    def read(size: int) -> bytes:
        while len(held) < size:
            held.extend(next(blocks))
        found = bytes(held[:size])
        del held[:size]
        return found

    return read


def rows(number: int = 24) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    features = random.normal(size=(number, 3))
    return features, features @ [1.0, -2.0, 0.5]


def flat(gradients: dict[str, torch.Tensor]) -> np.ndarray:
    return np.concatenate([gradient.numpy().ravel() for gradient in gradients.values()])


def test_the_sum_is_that_of_the_rows_clipped_one_by_one() -> None:
    module, (features, label) = network.build(MODEL, 3, 1), rows()
    inputs, targets = as_inputs(features), as_target(label, "mse")
    expected = np.zeros(sum(p.numel() for p in module.parameters()))
    for row in range(len(label)):
        loss = LOSSES["mse"](module(inputs[row : row + 1]), targets[row : row + 1])
        own = np.concatenate([g.numpy().ravel() for g in torch.autograd.grad(loss, list(module.parameters()))])
        expected += own * min(1.0, 0.5 / np.linalg.norm(own))
    np.testing.assert_allclose(flat(clipped_sum(module, inputs, targets, "mse", 0.5)), expected, atol=1e-5)


def test_one_row_changes_the_sum_by_no_more_than_the_norm() -> None:
    module, (features, label) = network.build(MODEL, 3, 1), rows()
    # The others are as nothing beside this row.
    features[0], label[0] = 100.0, 1e6
    inputs, targets = as_inputs(features), as_target(label, "mse")
    whole = flat(clipped_sum(module, inputs, targets, "mse", 0.5))
    without = flat(clipped_sum(module, inputs[1:], targets[1:], "mse", 0.5))
    assert np.linalg.norm(whole - without) == pytest.approx(0.5, rel=1e-4)


def test_a_row_without_a_finite_gradient_counts_for_nothing() -> None:
    module, (features, label) = network.build(MODEL, 3, 1), rows()
    label[0] = 1e39
    inputs, targets = as_inputs(features), as_target(label, "mse")
    whole = flat(clipped_sum(module, inputs, targets, "mse", 0.5))
    np.testing.assert_array_equal(whole, flat(clipped_sum(module, inputs[1:], targets[1:], "mse", 0.5)))


def test_slices_do_not_change_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    module, (features, label) = network.build(MODEL, 3, 1), rows()
    inputs, targets = as_inputs(features), as_target(label, "mse")
    whole = flat(clipped_sum(module, inputs, targets, "mse", 0.5))
    monkeypatch.setattr("parties.private_training._SLICE_BYTES", 4 * 21 * 5)
    np.testing.assert_allclose(flat(clipped_sum(module, inputs, targets, "mse", 0.5)), whole, atol=1e-6)


def test_the_noise_has_the_deviation_that_the_job_says() -> None:
    # All rows have a gradient of nothing, so a step goes along the noise alone.
    module = network.build(Model(layers=(Layer(linear=40), Layer(linear=1))), 50, 1)
    features, label = np.zeros((16, 50)), np.zeros(16)
    with torch.no_grad():
        for value in module.parameters():
            value.zero_()
    privacy = Privacy(noise_multiplier=3.0, epsilon=10.0, delta=1e-3, max_grad_norm=0.5)
    params = AverageParams(batch_size=16, learning_rate=1.0)
    train_private(module, features, label, params, privacy, stream())
    moved = np.concatenate([value.detach().numpy().ravel() for value in module.parameters()])
    # 2,081 of them: the deviation of the deviation is 1.5 %.
    assert moved.std() == pytest.approx(3.0 * 0.5 / 16, rel=0.06)
    assert abs(moved.mean()) < 4 * 3.0 * 0.5 / 16 / len(moved) ** 0.5


def test_little_noise_learns_and_the_same_bytes_give_the_same_model() -> None:
    privacy = Privacy(noise_multiplier=1e-3, epsilon=1e9, delta=1e-3, max_grad_norm=10.0)
    models = []
    for _ in range(2):
        module, (features, label) = network.build(MODEL, 3, 1), rows(200)
        random = stream()
        for _ in range(20):
            assert train_private(module, features, label, PARAMS, privacy, random).loss == 0.0
        models.append(network.weights(module).flat.copy())
        left = LOSSES["mse"](module(as_inputs(features)), as_target(label, "mse")).detach()
        assert left.item() < 0.2 * np.var(label)
    np.testing.assert_array_equal(models[0], models[1])


def test_uniform_and_normal_numbers() -> None:
    random = stream()
    drawn = uniform(random, 100_000)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert drawn.mean() == pytest.approx(0.5, abs=0.005)
    gaussian = normal(random, 100_001)
    assert len(gaussian) == 100_001
    # Moments of the standard normal distribution: 0, 1, 0, 3.
    moments = [float(np.mean(gaussian**power)) for power in (1, 2, 3, 4)]
    np.testing.assert_allclose(moments, [0, 1, 0, 3], atol=0.12)
    assert np.isfinite(normal(lambda size: bytes(size), 4)).all()


def test_a_network_that_mixes_rows_is_refused() -> None:
    privacy = Privacy(noise_multiplier=1.0, epsilon=1.0, delta=1e-3)
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    with pytest.raises(JobRefused, match="batch normalisation mixes rows"):
        train_private(module, *rows(), PARAMS, privacy, stream())


def test_what_is_spent_grows_with_rounds_and_is_that_of_the_smallest_party() -> None:
    privacy = Privacy(noise_multiplier=1.1, epsilon=2.0, delta=1e-5)
    budget = Budget(privacy, 256, [60_000, 600_000], 1)
    assert budget.epsilon_after(0) == 0.0
    assert budget.epsilon_after(1) < budget.epsilon_after(2)
    assert budget.epsilon_after(5) == Budget(privacy, 256, [60_000], 1).epsilon_after(5)
    allowed = [rounds for rounds in range(1, 60) if budget.allows(rounds)]
    assert allowed == list(range(1, len(allowed) + 1))
    assert budget.epsilon_after(len(allowed)) <= 2.0 < budget.epsilon_after(len(allowed) + 1)


def test_accountants_agree_with_what_is_known() -> None:
    # Abadi et al. give 3.0 for sigma 1.1 and 60 epochs of 60,000 rows in lots of 256; later conversions are tighter.
    rdp = Budget(Privacy(noise_multiplier=1.1, epsilon=3.0, delta=1e-5), 256, [60_000], 1).epsilon_after(60)
    prv = Budget(
        Privacy(noise_multiplier=1.1, epsilon=3.0, delta=1e-5, accountant="prv"), 256, [60_000], 1
    ).epsilon_after(60)
    assert 2.0 < prv < rdp < 3.0
    # One step over all rows is the Gaussian mechanism: delta(eps) by Balle and Wang, ICML 2018, theorem 8.
    whole = Budget(Privacy(noise_multiplier=4.0, epsilon=3.0, delta=1e-5, accountant="prv"), 10, [10], 1)
    assert whole.epsilon_after(1) == pytest.approx(_gaussian_epsilon(4.0, 1e-5), rel=0.03)


def _gaussian_epsilon(sigma: float, delta: float) -> float:
    from scipy.optimize import brentq
    from scipy.stats import norm

    def excess(epsilon: float) -> float:
        first = norm.cdf(0.5 / sigma - epsilon * sigma)
        return float(first - np.exp(epsilon) * norm.cdf(-0.5 / sigma - epsilon * sigma) - delta)

    return float(brentq(excess, 1e-6, 20.0))


def test_rates_and_steps() -> None:
    assert sample_rate(100, 8) == 0.08
    assert sample_rate(5, 8) == 1.0
    assert steps(100, 8, 2) == 26
    assert steps(5, 8, 1) == 1
