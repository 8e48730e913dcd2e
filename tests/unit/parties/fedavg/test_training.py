"""Local training against plain loops over torch's own optimisers, and measures against numpy."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedbus.algorithms.fedavg.network import Layer, Model
from fedbus.algorithms.fedavg.spec import AverageParams, Strategy
from fedbus.errors import DataError, JobRefused, TrainingDiverged
from parties.data.table import Table
from parties.fedavg import training
from parties.fedavg.network import build, weights
from parties.fedavg.steps import Stepper
from parties.fedavg.training import check_label, evaluate, predict, stream_of, train

RANDOM = np.random.default_rng(3)
FEATURES = RANDOM.normal(size=(43, 4))
NUMBERS = FEATURES @ [1.0, -2.0, 0.5, 0.0] + RANDOM.normal(size=43) / 10
CLASSES = (FEATURES[:, 0] > 0).astype(float) + (FEATURES[:, 1] > 0)
LABELS = {"mse": NUMBERS, "cross_entropy": CLASSES, "bce": np.minimum(CLASSES, 1)}
OUTPUTS = {"mse": 1, "cross_entropy": 3, "bce": 1}
LOSSES: dict[str, Any] = {"mse": nn.MSELoss, "cross_entropy": nn.CrossEntropyLoss, "bce": nn.BCEWithLogitsLoss}


def network(outputs: int = 1, **more: Any) -> nn.Module:
    layers = [Layer(linear=6), Layer(activation="tanh"), *(Layer(**{name: value}) for name, value in more.items())]
    return build(Model(layers=(*layers, Layer(linear=outputs))), 4, 1)


def orders(params: AverageParams, stream: int) -> list[list[int]]:
    """The order of rows of each epoch, seen as the network sees it: the features are the numbers of the rows."""
    seen: list[int] = []

    class Watch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            seen.extend(rows[:, 0].int().tolist())
            return self.layer(rows / 100)

    train(Watch(), np.arange(43.0)[:, None], np.zeros(43), params, Strategy(), stream)
    return [seen[start : start + 43] for start in range(0, len(seen), 43)]


@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "bce"])
@pytest.mark.parametrize(
    ("optimizer", "settings", "mu"),
    [
        ("sgd", {}, 0.0),
        ("sgd", {"momentum": 0.9, "weight_decay": 0.01}, 0.0),
        ("sgd", {"weight_decay": 0.1}, 0.5),
        ("adam", {}, 0.0),
        ("adam", {"weight_decay": 0.1}, 0.5),
    ],
)
def test_against_a_plain_loop(loss: str, optimizer: str, settings: dict[str, float], mu: float) -> None:
    params = AverageParams(
        local_epochs=3, batch_size=8, learning_rate=0.05, loss=loss, seed=9, optimizer=optimizer, **settings
    )
    mine = network(OUTPUTS[loss])
    plain = copy.deepcopy(mine)
    start = [value.detach().clone() for value in plain.parameters()]
    strategy = Strategy(name="fedprox", mu=mu) if mu else Strategy()
    trained = train(mine, FEATURES, LABELS[loss], params, strategy, 77)

    rows = torch.from_numpy(FEATURES).float()
    label = torch.from_numpy(LABELS[loss])
    target = label.long() if loss == "cross_entropy" else label.float()[:, None]
    kind = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
    steps = kind(plain.parameters(), lr=0.05, **settings)
    for order in orders(params, 77):
        total = 0.0
        for first in range(0, 43, 8):
            batch = order[first : first + 8]
            steps.zero_grad()
            value = LOSSES[loss]()(plain(rows[batch]), target[batch])
            total += value.item() * len(batch)
            proximal = sum(((w - w0) ** 2).sum() for w, w0 in zip(plain.parameters(), start, strict=True))
            (value + mu / 2 * proximal).backward()
            steps.step()
    assert weights(mine).flat == pytest.approx(weights(plain).flat, abs=2e-6)
    assert trained.loss == pytest.approx(total / 43, rel=1e-5)
    assert trained.seconds > 0


def test_the_order_of_rows() -> None:
    params = AverageParams(local_epochs=2, batch_size=10, seed=4)
    first, second = orders(params, 5)
    assert sorted(first) == sorted(second) == list(range(43))
    assert first != second
    assert orders(params, 5) == [first, second]
    assert orders(params, 6)[0] != first
    assert orders(AverageParams(seed=5), 5)[0] != first
    # Gathering in blocks does not show.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_BLOCK_ROWS", 11)
        assert orders(params, 5) == [first, second]


def test_streams() -> None:
    # printf 'fedbus rows 3 shop' | b2sum --length 64, read as a little-endian number.
    assert stream_of("shop", 3) == 17105486107711148473
    pairs = [(party, round_) for party in ("shop", "shop1", "bank") for round_ in range(1, 30)]
    assert len({stream_of(*pair) for pair in pairs}) == len(pairs)


def test_training_repeats_with_dropout_and_leaves_the_random_numbers_of_others_alone() -> None:
    params = AverageParams(local_epochs=2, batch_size=8)
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        module = network(dropout=0.5)
        results.append((train(module, FEATURES, NUMBERS, params, Strategy(), 1).loss, weights(module).flat.tolist()))
        drawn = torch.rand(1)
        torch.manual_seed(seed)
        assert drawn == torch.rand(1)
    assert results[0] == results[1]


def test_fedprox_pulls_towards_the_start() -> None:
    distances = []
    for mu in (0.001, 1.0, 10.0):
        module = network()
        start = weights(module).flat
        params = AverageParams(local_epochs=5, batch_size=8, learning_rate=0.02)
        train(module, FEATURES, NUMBERS, params, Strategy(name="fedprox", mu=mu), 1)
        distances.append(float(np.linalg.norm(weights(module).flat - start)))
    assert distances[0] > 1.1 * distances[1] > 2 * distances[2] > 0


def test_gradients_of_another_layout() -> None:
    # A transposed gradient, which autograd may give, and a parameter that is itself transposed.
    for optimizer in ("sgd", "adam"):
        module = nn.ParameterList([nn.Parameter(torch.zeros(3, 4)), nn.Parameter(torch.zeros(4, 3).t())])
        params = AverageParams(optimizer=optimizer, learning_rate=1.0)
        slope = torch.arange(12.0).reshape(4, 3).t() - 5
        for kept in (slice(0, 1), slice(0, 2)):
            chosen = nn.ParameterList(list(module)[kept])
            before = [value.detach().clone() for value in chosen]
            Stepper(chosen, params).step([slope] * len(chosen))
            expected = slope if optimizer == "sgd" else slope.sign()
            for value, old in zip(chosen, before, strict=True):
                assert torch.allclose(old - value, expected, atol=1e-6)


def test_parameters_that_the_loss_does_not_reach() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle, self.frozen = nn.Linear(4, 1), nn.Linear(4, 1), nn.Linear(4, 4)
            self.frozen.requires_grad_(requires_grad=False)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return self.used(self.frozen(rows))

    for optimizer in ("sgd", "adam"):
        module = Half()
        before = copy.deepcopy(module)
        params = AverageParams(optimizer=optimizer, momentum=0.5, weight_decay=0.1)
        train(module, FEATURES, NUMBERS, params, Strategy(name="fedprox"), 1)
        assert torch.equal(module.idle.weight, before.idle.weight)
        assert torch.equal(module.frozen.weight, before.frozen.weight)
        assert not torch.equal(module.used.weight, before.used.weight)


def test_divergence() -> None:
    params = AverageParams(learning_rate=1e6, batch_size=8, local_epochs=40)
    with pytest.raises(TrainingDiverged, match=r"training diverged: loss is not finite$"):
        train(build(Model(layers=(Layer(linear=1),)), 4, 1), FEATURES, NUMBERS, params, Strategy(), 1)
    # The loss before the only step is finite, the weights after it are not.
    params = AverageParams(learning_rate=1e38, batch_size=64)
    with pytest.raises(TrainingDiverged, match="weight is not finite"):
        train(build(Model(layers=(Layer(linear=1),)), 4, 1), 1e3 * FEATURES, NUMBERS, params, Strategy(), 1)
    with pytest.raises(TrainingDiverged, match="loss on held-out rows is not finite"):
        evaluate(network(), FEATURES, np.full(43, 1e200), "mse")


def test_batch_normalisation_and_a_lonely_row() -> None:
    module = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1))
    with pytest.raises(JobRefused, match=r"43 rows in batches of 7 leave one of a single row.* choose another batch"):
        train(module, FEATURES, NUMBERS, AverageParams(batch_size=7), Strategy(), 1)
    train(module, FEATURES, NUMBERS, AverageParams(batch_size=8), Strategy(), 1)
    train(network(), FEATURES, NUMBERS, AverageParams(batch_size=7), Strategy(), 1)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "bce"])
def test_measures(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, label = network(OUTPUTS[loss], dropout=0.5), LABELS[loss]
    module.train()
    monkeypatch.setattr(training, "_BLOCK_ROWS", 10)
    found = evaluate(module, FEATURES, label, loss)
    assert module.training
    outputs = predict(module, FEATURES)
    assert outputs.shape == (43, OUTPUTS[loss])
    first, last = module[0], module[-1]
    hidden = np.tanh(FEATURES @ first.weight.detach().numpy().T + first.bias.detach().numpy())
    assert outputs == pytest.approx(hidden @ last.weight.detach().numpy().T + last.bias.detach().numpy(), abs=1e-6)
    logits = outputs.astype(float)
    if loss == "mse":
        expected, correct = ((logits[:, 0] - label) ** 2).mean(), 0.0
    elif loss == "bce":
        chance = 1 / (1 + np.exp(-logits[:, 0]))
        expected = -(label * np.log(chance) + (1 - label) * np.log(1 - chance)).mean()
        correct = ((chance > 0.5) == label).mean()
    else:
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        expected = -np.log(chances[np.arange(43), label.astype(int)]).mean()
        correct = (chances.argmax(axis=1) == label).mean()
    assert found.loss == pytest.approx(expected, rel=1e-6)
    assert found.correct == pytest.approx(correct)


def test_tables_that_cannot_be_written() -> None:
    features = FEATURES.copy()
    features.flags.writeable = False
    assert predict(network(), features).tolist() == predict(network(), FEATURES).tolist()
    assert predict(network(), FEATURES[:0]).shape == (0, 1)


def test_no_rows() -> None:
    with pytest.raises(ValueError, match="no rows to train on"):
        train(network(), FEATURES[:0], NUMBERS[:0], AverageParams(), Strategy(), 1)
    with pytest.raises(ValueError, match="no rows to measure"):
        evaluate(network(), FEATURES[:0], NUMBERS[:0], "mse")


def labelled(label: list[float]) -> Table:
    ids = [str(number) for number in range(len(label))]
    return Table("products", ids, ("x",), np.zeros((len(label), 1)), np.array(label, dtype=np.float64))


@pytest.mark.parametrize(
    ("label", "loss", "outputs", "message"),
    [
        ([0, 1, 3, 2], "cross_entropy", 3, r"1 of 4 labels are no class, the first in row 4: .* from 0 on to 2;"),
        ([0, 0.5, -1], "cross_entropy", 3, r"2 of 3 labels are no class, the first in row 3"),
        ([0, 1, 2], "bce", 1, r"1 of 3 labels .* row 4: .* 1 output classes are 0 and 1; number the classes so"),
        ([], "mse", 1, "products: has no rows"),
    ],
)
def test_labels_that_are_no_classes(label: list[float], loss: str, outputs: int, message: str) -> None:
    with pytest.raises(DataError, match=f"products: .*{message}" if label else message):
        check_label(labelled(label), loss, outputs)


def test_labels_that_are() -> None:
    check_label(labelled([0.0, 2.0, 1.0]), "cross_entropy", 3)
    check_label(labelled([0.0, 1.0]), "bce", 1)
    check_label(labelled([-1.5, 1e9]), "mse", 1)
